"""Demonstrations: what is kept, what is counted, and the small world's ranges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirec._io import generator
from minirec.data.smallworld import SmallWorld, small_world
from minirec.demos.actor import audit, demonstrate
from minirec.demos.chat import Message
from minirec.demos.grounding import Grounder
from minirec.demos.simulated import SimulatedChat, SimulatedDials
from minirec.world.batched import BatchedRecEnv
from minirec.world.histories import Histories
from minirec.world.rules import RULES, QuitRules
from minirec.world.sources import MatrixSource, TruthSource
from minirec.world.trajectory import Trajectory, load_trajectories, save_trajectories

HISTORY = {"ilrec": "none", "no_repeat": "log"}


@pytest.fixture(scope="module")
def world() -> SmallWorld:
    return small_world()


def play(
    world: SmallWorld,
    users: Iterable[int],
    chat: Any = None,
    preset: str = "no_repeat",
    source: Any = None,
    rules: QuitRules | None = None,
    **options: Any,
) -> list[Trajectory]:
    return list(
        demonstrate(
            source or TruthSource(world),
            rules or RULES[preset],
            Histories.from_log(world.log),
            users,
            chat or simulated(world),
            Grounder(world.catalogue.titles),
            history=HISTORY[preset],
            **options,
        )
    )


def simulated(world: SmallWorld, **dials: float) -> SimulatedChat:
    items = world.catalogue
    return SimulatedChat(
        items.titles, items.genres, world.item_factors, world.quality, SimulatedDials(**dials)
    )


def sample(seed: int, size: int) -> list[int]:
    return generator(seed, "test users").choice(2000, size, replace=False).tolist()


class Scripted:
    """Gives the replies of a script in turn and keeps the prompts."""

    name = "scripted"

    def __init__(self, *script: str) -> None:
        self.script, self.asked = list(script), list[Sequence[Message]]()

    def reply(self, messages: Sequence[Message], *, seed: int) -> str:
        self.asked.append(messages)
        return self.script[(len(self.asked) - 1) % len(self.script)]


def same(left: Trajectory, right: Trajectory) -> bool:
    return left.infos == right.infos and all(
        np.array_equal(a, b)
        for a, b in (
            (left.acts, right.acts),
            (left.rews, right.rews),
            (left.obs["items"], right.obs["items"]),
            (left.obs["rewards"], right.obs["rewards"]),
        )
    )


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("preset", ["no_repeat", "ilrec"])
def test_default_dials_lie_in_the_recorded_range(number: int, preset: str) -> None:
    summary = audit(play(small_world(number), sample(0, 250), preset=preset))
    assert 0.36 <= summary["invented_share"] <= 0.82
    assert 3.5 <= summary["mean_length"] <= 17
    assert (summary["repeats"] == 0) == (preset == "no_repeat")
    assert summary["unreadable_replies"] > 0 and summary["blocked"] >= 0


def test_more_knowledge_noise_earns_less(world: SmallWorld) -> None:
    returns = [
        audit(play(world, sample(1, 80), simulated(world, knowledge_noise=noise)))["mean_return"]
        for noise in (0.0, 1.2, 8.0)
    ]
    assert returns == sorted(returns, reverse=True) and returns[0] > 1.5 * returns[-1]


def test_without_hallucination_every_title_is_exact(world: SmallWorld) -> None:
    dials = {"hallucination": 0.0, "forgetting": 0.0}
    played = play(world, sample(2, 20), simulated(world, **dials), log_items=1000)
    summary = audit(played)
    assert summary["grounding"] == {"exact": summary["steps"]} and summary["invented_share"] == 0


def test_an_episode_depends_on_its_user_alone_so_a_stopped_run_resumes(
    world: SmallWorld, tmp_path: Path
) -> None:
    users = sample(3, 12)
    whole = play(world, users)
    save_trajectories(tmp_path / "demos.jsonl", whole[:5])
    rest = play(world, users, done=load_trajectories(tmp_path / "demos.jsonl"))
    assert [t.user for t in rest] == users[5:]
    assert all(same(a, b) for a, b in zip(whole[5:], rest, strict=True))
    backwards = play(world, users[::-1])
    assert all(same(a, b) for a, b in zip(whole, backwards[::-1], strict=True))
    assert not all(same(a, b) for a, b in zip(whole, play(world, users, seed=1), strict=True))


def test_stored_and_read_back_unchanged(world: SmallWorld, tmp_path: Path) -> None:
    played = play(world, sample(4, 10))
    save_trajectories(tmp_path / "demos.jsonl", played)
    for before, after in zip(played, load_trajectories(tmp_path / "demos.jsonl"), strict=True):
        assert before.infos == after.infos and np.array_equal(before.acts, after.acts)
        assert np.allclose(before.obs["rewards"], after.obs["rewards"], atol=1e-4)


@pytest.mark.parametrize("preset", ["no_repeat", "ilrec"])
def test_the_batched_environment_pays_the_same(world: SmallWorld, preset: str) -> None:
    for trajectory in play(world, sample(5, 15), preset=preset):
        env = BatchedRecEnv(
            TruthSource(world),
            RULES[preset],
            Histories.from_log(world.log),
            history=HISTORY[preset],
        )
        obs = env.reset(np.array([trajectory.user]))
        for turn, act in enumerate(trajectory.acts):
            assert np.array_equal(obs["items"][0], trajectory.obs["items"][turn])
            obs, rewards, _, _ = env.step(np.array([act]))
            assert rewards[0] == trajectory.rews[turn]
        assert trajectory.reason in ("invalid", env.reasons[0])


def test_the_prompt_is_all_that_the_truth_can_act_through(world: SmallWorld) -> None:
    """Two users with one log and one reward for all: different truths, the same first reply."""
    users, items = 2, world.catalogue.n_items
    log = replace(
        world.log,
        users=np.repeat(np.arange(users), 3),
        items=np.tile([1, 2, 3], users),
        ratings=np.tile(np.float32([5, 1, 4]), users),
        times=None,
        user_ids=("a", "b"),
    )
    chat, grounder = simulated(world), Grounder(world.catalogue.titles)
    paid = np.full((users, items), 3.0, np.float32)
    paid[1, 300:] = 1.0  # another truth, seen only once it has been paid
    first = []
    for matrix in (paid, paid[::-1]):
        source = MatrixSource(matrix, world.item_factors)
        histories = Histories.from_log(log)
        (played,) = demonstrate(source, RULES["no_repeat"], histories, [0], chat, grounder)
        first.append(played.infos)
    assert first[0][0] == first[1][0]
    assert len(first[0]) == 100 > len(first[1])


def test_prompts_hold_titles_and_rewards_but_no_ids(world: SmallWorld) -> None:
    chat = Scripted(*(f"Action: recommend[{title}]" for title in world.catalogue.titles[:50]))
    (played,) = play(world, [7], chat, rules=replace(RULES["no_repeat"], min_reward=0, max_turns=5))
    last = chat.asked[-1][1]["content"]
    for item, reward in zip(played.acts[:-1], played.rews, strict=False):
        assert f"- {world.catalogue.titles[item]}: {reward:.1f} of 5" in last
    logged = Histories.from_log(world.log).of(7)[0][-15:]
    assert last.count(" of 5") == len(logged) + 4
    assert not any(item_id in last for item_id in world.catalogue.item_ids)
    assert len(chat.asked) == len(played) == 5 and played.reason == "max_turn"


def test_the_prompt_shows_as_much_of_the_log_as_asked(world: SmallWorld) -> None:
    for shown in (0, 2):
        chat = Scripted("Action: recommend[Kite]")
        play(world, [7], chat, log_items=shown)
        assert chat.asked[0][1]["content"].count(" of 5") == shown


def test_an_unreadable_reply_is_mended_once_and_counted(world: SmallWorld) -> None:
    title = world.catalogue.titles[0]
    chat = Scripted("Hm.", f"Action: recommend[{title}]")
    played = play(world, [7], chat, rules=replace(RULES["no_repeat"], min_reward=9))
    assert played[0].infos[0]["rejected"] == "Hm." and len(played[0]) == 1
    assert chat.asked[1][2]["content"] == "Hm." and "could not read" in chat.asked[1][3]["content"]
    assert audit(played)["unreadable_replies"] == 1


def test_a_reply_that_stays_unreadable_ends_the_episode(world: SmallWorld) -> None:
    title = world.catalogue.titles[0]
    lenient = replace(RULES["no_repeat"], min_reward=0)
    played = play(world, [7, 8], Scripted(f"Action: recommend[{title}]", "", ""), rules=lenient)
    played += play(world, [9], Scripted("No."))
    assert [(len(t), t.reason, t.terminal) for t in played] == [
        (1, "invalid", False),
        (1, "invalid", False),
        (0, "invalid", False),
    ]
    summary = audit(played)
    assert (summary["invalid_episodes"], summary["unreadable_replies"]) == (3, 6)
    assert summary["steps"] == 2


def test_blocked_titles_are_replaced_and_counted(world: SmallWorld) -> None:
    chat = Scripted(f"Action: recommend[{world.catalogue.titles[0]}]")
    lenient = replace(RULES["no_repeat"], min_reward=0, max_turns=6)
    (played,) = play(world, [7], chat, rules=lenient)
    logged = Histories.from_log(world.log).of(7)[0]
    assert len(set(played.acts.tolist())) == 6 and not set(played.acts) & set(logged)
    assert audit([played])["blocked"] == 5 + (0 in logged)


def test_the_audit_of_nothing_is_all_zero() -> None:
    assert not any(audit([]).values())
