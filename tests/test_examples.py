"""The page *Swap one part*: its examples print what it says, its messages are those given."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from minirec import UserError
from minirec.demos.actor import demonstrate
from minirec.demos.chat import Reply
from minirec.demos.grounding import Grounder
from minirec.demos.transcript import Transcript
from minirec.export import freeze
from minirec.rl.policy import build_policy, load_policy
from minirec.rl.trackers import TRACKERS, AverageTracker, Tracker, build_tracker
from minirec.world.env import RecEnv
from minirec.world.histories import Histories
from minirec.world.rules import QuitRules
from minirec.world.sources import MatrixSource, check_source
from minirec.world.trajectory import Trajectory, from_imitation, to_imitation
from test_agents import make
from test_repository import code_lines

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book/extend.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PEER = ROOT / ".venv-peers/imitation/bin/python"
TRAINED = "A2C"  # a line that begins so has numbers out of training, a little different elsewhere
INCLUDED = (
    r"```\{literalinclude\} \.\./examples/(\w+)\.py\n:language: python\n```\n+```text\n(.*?)```"
)
QUOTED = dict(re.findall(INCLUDED, PAGE, re.DOTALL))
NUMBER = r"\d+(?:\.\d+)?"


def python_for(path):
    """Return the interpreter that an example needs, or skip."""
    if "from imitation" not in path.read_text(encoding="utf-8"):
        return sys.executable
    if importlib.util.find_spec("imitation"):
        return sys.executable
    if not PEER.is_file():
        pytest.skip("the imitation library is not there; `make peers` installs it")
    return str(PEER)


def agree(told, quoted):
    """Say whether two lines are equal, but for what training does: its numbers within a tenth."""
    tolerance = 0.1 if quoted.startswith(TRAINED) else 1e-12
    values = [np.array(re.findall(NUMBER, line), float) for line in (told, quoted)]
    words = [re.sub(NUMBER, "#", line) for line in (told, quoted)]
    return words[0] == words[1] and np.allclose(*values, rtol=tolerance, atol=0)


def test_every_example_is_on_the_page():
    assert [path.stem for path in EXAMPLES] == sorted(QUOTED)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_the_page_quotes(path):
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    call = [python_for(path), str(path)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=300, env=env, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    told, quoted = done.stdout.splitlines(), QUOTED[path.stem].splitlines()
    assert len(told) == len(quoted) and all(map(agree, told, quoted)), done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short(path):
    source = path.read_text(encoding="utf-8")
    imports = (n for n in ast.parse(source).body if isinstance(n, ast.Import | ast.ImportFrom))
    assert code_lines(source) - sum(n.end_lineno - n.lineno + 1 for n in imports) <= 27


def test_a_planted_lie_is_caught():
    assert agree("A2C: 92% of the oracle", "A2C: 89% of the oracle")
    assert not agree("A2C: 60% of the oracle", "A2C: 89% of the oracle")
    assert not agree("A2C: 89% of the random", "A2C: 89% of the oracle")
    assert not agree("random: 29% of the oracle", "random: 28% of the oracle")


N, RIGHT = 6, np.full((3, 6), 3, np.float32)
RULES = QuitRules(min_reward=1, max_turns=3)


def source(**changed):
    """Return a right source of 3 users and 6 items, some members of which are changed."""
    right = MatrixSource(RIGHT, np.eye(N, dtype=np.float32))
    members = {"n_users": 3, "n_items": N, "rewards": right.rewards}
    return SimpleNamespace(**members | {"item_vectors": right.item_vectors} | changed)


def fresh_noise(users, items):
    return 3 + noise.random(len(users))


def by_place(users, items):
    return 3 + np.linspace(0, 1, len(users))


noise = np.random.default_rng(0)


class TooLong(Tracker):
    """Says that its memory has two numbers, and returns three."""

    size = 2

    def step(self, memory, vectors, liking):
        return torch.cat([memory, liking], 1)

    def read(self, memory):
        return memory


class InPlace(AverageTracker):
    """Changes the memory that it was given."""

    def __init__(self, dim, width):
        super().__init__(dim, width)
        self.mix = nn.Linear(self.size, self.size)

    def step(self, memory, vectors, liking):
        mixed = torch.sigmoid(self.mix(memory))
        mixed += super().step(memory, vectors, liking)
        return mixed


class Alike(AverageTracker):
    """Has the same weights as the average."""


def train(name):
    """Train a tracker for one update."""
    make("A2C, no foresight", tracker=name).update()


def too_long():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TRACKERS, "too long", TooLong)  # it would stop the loading of any other
        build_tracker("too long", 4, 8)


def load(names):
    """Load the weights of an average, with what is registered under ``names``."""
    policy = build_policy(torch.eye(N), 0, dim=4, hidden=8, tracker="average")
    with pytest.MonkeyPatch.context() as patch:
        left = {name: TRACKERS[name] for name in TRACKERS if name in names}
        patch.setattr("minirec.rl.policy.TRACKERS", left)  # the registry itself keeps its order
        load_policy(policy.state_dict())


class Echo:
    """A chat model whose parts can be spoilt."""

    name = "echo"

    def __init__(self, answer=None, **settings):
        self.answer = answer or Reply("Action: recommend[title 1]")
        self.settings = {"model": "echo"} | settings

    def reply(self, messages, *, seed, schema=None):
        return self.answer


def ask(chat, seed=0):
    """Play one episode with a chat model."""
    titles = [f"title {item}" for item in range(N)]
    given = source(), RULES, Histories.empty(3, N), [0], chat, Grounder(titles)
    return list(demonstrate(*given, seed=seed, history="none"))


def replay_another(path):
    ask(Transcript(path, Echo(), "record"))
    ask(Transcript(path), seed=1)


def record_another(path):
    ask(Transcript(path, Echo(), "record"))
    Transcript(path, Echo(options={"warm": True}), "record")


def episode(steps=2, turn=None):
    """Return an episode of user 1 in the environment of ``SPACE``."""
    obs = {"items": np.full((steps + 1, 4), N), "rewards": np.zeros((steps + 1, 4), np.float32)}
    obs["turn"] = np.arange(steps + 1) if turn is None else turn
    rews = np.full(steps, 3, np.float32)
    return Trajectory(1, obs, np.arange(steps), rews, (), True, "low_reward")


SPACE = RecEnv(source(), RULES, Histories.empty(3, N), K=4).observation_space
FOREIGN = SimpleNamespace(obs=np.zeros((2, 3)), infos=None, acts=[0], rews=[0.0], terminal=True)

MISTAKES = {
    "a column": lambda path: check_source(source(rewards=lambda u, i: RIGHT[u, i][:, None])),
    "clicks": lambda path: check_source(source(rewards=lambda u, i: RIGHT[u, i] / 5)),
    "unknown": lambda path: check_source(source(rewards=lambda u, i: RIGHT[u, i] * np.nan)),
    "noise": lambda path: check_source(source(rewards=fresh_noise)),
    "batch": lambda path: check_source(source(rewards=by_place)),
    "padding": lambda path: check_source(source(item_vectors=lambda: np.eye(N + 1))),
    "rows": lambda path: check_source(source(reward_rows=lambda users: RIGHT[users] + 1)),
    "one of two": lambda path: RecEnv(source()),
    "misspelt": lambda path: build_tracker("grue", 4, 8),
    "too long": lambda path: too_long(),
    "unregistered": lambda path: load(["gru", "none"]),
    "ambiguous": lambda path: load(["average", "alike"]),
    "no export": lambda path: freeze(build_policy(torch.eye(N), 0, tracker="average")),
    "in place": lambda path: train("in place"),
    "bare": lambda path: ask(Echo("Action: recommend[title 1]")),
    "bare, recorded": lambda path: ask(Transcript(path, Echo("Action: x"), "record")),
    "not JSON": lambda path: ask(Transcript(path, Echo(options=np.zeros(3)), "record")),
    "another seed": replay_another,
    "another model": record_another,
    "no model": lambda path: Transcript(path, mode="record"),
    "empty": lambda path: to_imitation(episode(0)),
    "another space": lambda path: to_imitation(episode(2, np.array([0, 1, 9])), SPACE),
    "no infos": lambda path: from_imitation(FOREIGN),
    "flat": lambda path: from_imitation(FOREIGN, user=1, reason="low_reward"),
}
LISTED = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
MISSING = "the imitation library is missing; ..."


@pytest.fixture
def registered(monkeypatch):
    for name, own in (("in place", InPlace), ("alike", Alike)):
        monkeypatch.setitem(TRACKERS, name, own)


@pytest.fixture
def imitation(monkeypatch):
    """Put a stand-in where the library is missing; test_imitation.py uses the real one."""
    if importlib.util.find_spec("imitation") is None:
        types = ModuleType("imitation.data.types")
        types.DictObs, types.TrajectoryWithRew = dict, SimpleNamespace
        for name in ("imitation", "imitation.data"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        monkeypatch.setitem(sys.modules, "imitation.data.types", types)


def listed_as(message):
    """Return the messages of the page that a real one matches; ``...`` may be anything."""
    patterns = {text: ".*".join(map(re.escape, text.split("..."))) for text in LISTED}
    return [text for text, pattern in patterns.items() if re.fullmatch(pattern, message, re.DOTALL)]


def told_by(mistake, path):
    try:
        mistake(path)
    except (UserError, RuntimeError, TypeError, AttributeError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gives_the_message_on_the_page(name, registered, imitation, tmp_path):
    message = told_by(MISTAKES[name], tmp_path / "calls.jsonl")
    assert len(listed_as(message)) == 1, message


def test_every_message_on_the_page_has_its_mistake(registered, imitation, tmp_path):
    given = [told_by(m, tmp_path / f"{k}.jsonl") for k, m in enumerate(MISTAKES.values())]
    found = {text for message in given for text in listed_as(message)}
    assert found == set(LISTED) - {MISSING} and len(LISTED) == len(set(LISTED))


def test_without_the_library_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "imitation.data.types", None)
    with pytest.raises(UserError) as caught:
        to_imitation(episode())
    assert listed_as(str(caught.value)) == [MISSING]


def test_right_parts_pass(registered):
    check_source(source())
    check_source(source(reward_rows=lambda users: RIGHT[users]))
    for name in ("gru", "average", "attention", "none", "alike"):
        build_tracker(name, 4, 8)
    ask(Echo())


def test_a_named_tracker_is_loaded_although_another_has_such_weights(registered):
    policy = build_policy(torch.eye(N), 0, dim=4, hidden=8, tracker="alike")
    assert type(load_policy(policy.state_dict(), "alike").tracker) is Alike
    assert type(load_policy(policy.state_dict(), "average").tracker) is AverageTracker


def test_settings_with_tuples_are_recorded_and_replayed(tmp_path):
    path, tuples = tmp_path / "calls.jsonl", {"hosts": ("a", "b")}
    first = ask(Transcript(path, Echo(options=tuples), "record"))
    once_more = Transcript(path, Echo(options=tuples), "record")
    assert [t.to_json()["reason"] for t in ask(once_more)] == [t.reason for t in first]
    assert once_more.calls == 0
