"""Recorded sessions replayed: made by hand, every verdict known, and as BiLLP published them."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from minirec.world.rules import RULES
from test_data_real import folder

ROOT = Path(__file__).parents[1]
RULES_HERE = replace(RULES["billp"], max_turns=8)
REWARDS = [5, 4, 3, 2, 1, 5, 5, 3, 5]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import replay_recorded

    return replay_recorded


def log(script: Any, session: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the steps and samples of two earlier sessions and of ``session``, in a run "new".

    A session is a string of items, with a ! at its end if the user quit. The earlier ones show what
    user 7 thinks of items 0 to 6, and that most of these are far from each other, as are 0 and 7.
    """
    rows = []
    for run, user, text in [("old", 7, "4012356"), ("old", 8, "07"), ("new", 7, session)]:
        items = [int(item) for item in text.rstrip("!")]
        for turn, item in enumerate(items):
            quits = text.endswith("!") and turn == len(items) - 1
            reward = math.nan if quits else REWARDS[item]
            rows.append(("amazon", "test", run, user, item, reward, int(quits)))
    steps = pd.DataFrame(rows, columns=script.COLUMNS)
    samples = steps.assign(matrix="int").dropna()
    samples = samples[["domain", "matrix", "user_id", "item_id", "reward"]].drop_duplicates()
    return steps, samples


@pytest.mark.parametrize(
    ("session", "verdict", "kind"),
    [
        ("0123", "continued", "agreeing"),
        ("40", "continued", "agreeing"),  # a low reward does no harm at first
        ("012350", "continued", "agreeing"),  # five steps back is outside of the window
        ("01230!", "exact repeat", "agreeing"),
        ("88!", "exact repeat", "agreeing"),
        ("04!", "low reward", "agreeing"),
        ("01235012", "turn limit", "agreeing"),
        ("06!", "near item", "explained"),
        ("18!", "low reward or near item", "undecided"),
        ("07!", "low reward by elimination", "undecided"),
        ("01!", "recorded quit, ours continue", "disagreeing"),
        ("0!", "recorded quit, ours continue", "disagreeing"),
        ("8!", "recorded quit, ours continue", "disagreeing"),  # whatever the reward is
        ("04", "recorded continue, ours low_reward", "disagreeing"),
        ("00", "recorded continue, ours distance", "disagreeing"),
        ("01235010", "recorded capped, ours distance", "disagreeing"),
    ],
)
def test_the_last_step_is_judged(script: Any, session: str, verdict: str, kind: str) -> None:
    steps, samples = log(script, session)
    old, new = script.replay(steps, samples, RULES_HERE)
    before = len(session.rstrip("!")) - 1
    assert Counter(new["verdicts"]) == Counter({"continued": before}) + Counter([verdict])
    assert new[kind] == 1 + (before if kind == "agreeing" else 0)
    end = "quit" if session.endswith("!") else "capped" if len(session) == 8 else "invalid"
    assert {name: new[name] for name in ("quit", "capped", "invalid") if new[name]} == {end: 1}
    assert old["verdicts"] == {"continued": 9}
    assert (old["sessions"], old["invalid"]) == (2, 2)


@pytest.mark.parametrize(
    ("name", "session"),
    [
        ("no rule of distance", "00!"),
        ("a window of 3", "01230!"),
        ("a window of 5", "012350"),
        ("a threshold of 1", "04!"),
        ("a threshold of 2.5", "03"),
        ("quitting at the first recommendation", "40"),
    ],
)
def test_wrong_rules_are_found_out(script: Any, name: str, session: str) -> None:
    steps, samples = log(script, session)
    for wrong, disagreeing in [({}, 0), (script.WRONG[name], 1)]:
        _, new = script.replay(steps, samples, replace(RULES_HERE, **wrong))
        assert new["disagreeing"] == disagreeing


def test_every_wrong_rule_has_its_session(script: Any) -> None:
    (mark,) = test_wrong_rules_are_found_out.pytestmark
    assert [name for name, _ in mark.args[1]] == list(script.WRONG)


def test_a_reward_that_changes_is_noticed(script: Any) -> None:
    steps, samples = log(script, "01")
    samples.loc[samples.item_id == 1, "reward"] = 3
    _, new = script.replay(steps, samples, RULES_HERE)
    assert new["verdicts"] == {"another reward": 1, "continued": 1}
    assert new["disagreeing"] == 1


def call(out: Path) -> subprocess.CompletedProcess[str]:
    """Run the command of the book."""
    command = [sys.executable, ROOT / "benchmarks/replay_recorded.py", "--out", out]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("data", "words"), [("", "MINIREC_DATA is not set"), ("/no/such", "no such file: /no/such")]
)
def test_without_data_it_says_so(
    data: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIREC_DATA", data)
    done = call(tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"replay_recorded: {words}")


def test_the_recorded_sessions_agree_with_our_rules(tmp_path: Path) -> None:
    folder("llm-demos")
    done = call(tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "recorded-sessions.json").read_text("utf-8"))
    ours, *wrong = found["total"].values()
    assert ours["disagreeing"] == 0
    assert ours["decided"] == ours["agreeing"] + ours["explained"]
    assert ours["explained"] < 0.05 * sum(run["quit"] for run in found["runs"])
    assert ours["decided"] > 0.9 * ours["steps"]
    assert all(total["disagreeing"] > 0 for total in wrong)
    stored = json.loads((ROOT / "book/_results/recorded-sessions.json").read_text("utf-8"))
    for name in ("sha256", "rules", "runs", "total"):
        assert found[name] == stored[name], "run benchmarks/replay_recorded.py"
