"""The audit: every number of a tiny example by hand, chance that is chance, nothing is zero."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from minirec.data.catalogue import Catalogue
from minirec.demos.audit import audit
from minirec.demos.roles import ATTEMPTS
from minirec.world.trajectory import Trajectory

GENRES = (("Action",), ("Mystery, Thriller & Suspense", "Drama"), (), ("Children's Books",))
CATALOGUE = Catalogue(tuple("0123"), tuple("ABCD"), GENRES, np.zeros(4, int))
COUNTS = np.array([10, 3, 3, 0])  # shares below, ties half: 7/8, 1/2, 1/2, 1/8


def played(acts: list[int], reason: str, *infos: dict[str, Any]) -> Trajectory:
    """Return an episode that pays 3 a step."""
    said = {"how": "exact", "score": 100.0, "literal": True}
    start = {"start_items": [4], "start_rewards": [0.0], "rews": [3.0] * len(acts)}
    full = [said | (infos[k] if k < len(infos) else {}) for k in range(len(acts))]
    rest = {"infos": full, "terminal": reason == "low_reward", "reason": reason}
    return Trajectory.from_json({"user": 0, "acts": acts, **start, **rest})


def tiny() -> list[Trajectory]:
    """Return three episodes of six steps."""
    cost, twice = {"calls": 2, "prompt_tokens": 100}, {"calls": 4, "prompt_tokens": 300}
    return [
        played(
            [0, 1, 0], "low_reward",
            {"thought": "Two actions.", "cost": cost},
            {"thought": "A mystery? Action!", "how": "fuzzy", "score": 70.0, "literal": False},
            {"thought": "Transaction, melodrama.", "hidden": True, "cost": twice},
        ),
        played(
            [3, 3], "max_turn",
            {"thought": "BOOKS", "how": "vector", "score": None, "literal": False},
            {"thought": "For a children's\nbook.", "how": "vector", "score": 40.0, "rejected": "?"},
        ),
        played([1], "invalid", {"thought": ""}),
    ]  # fmt: skip


def test_a_tiny_example_by_hand() -> None:
    trajectories = tiny()
    trajectories[0].rews[2] = 0
    found = audit(trajectories, CATALOGUE, COUNTS)
    chance = found.pop("coherence_by_chance")
    assert json.loads(json.dumps(found)) == found
    entropy = -3 * (1 / 3) * np.log(1 / 3)
    assert found == {
        "episodes": 3, "steps": 6, "mean_length": 2.0,
        "mean_return": 5.0, "r_traj": 5.0, "r_each": 3.0,
        "invented_share": pytest.approx(2 / 6), "grounding": {"exact": 3, "fuzzy": 1, "vector": 2},
        "score_by_kind": {"exact": 100.0, "fuzzy": 70.0, "vector": 40.0},
        "blocked": 1, "unreadable_replies": 1 + ATTEMPTS, "invalid_episodes": 1,
        "repeats": 2, "window_repeats": 2, "repeat_quits": 1,
        "ends": pytest.approx({"invalid": 1 / 3, "low_reward": 1 / 3, "max_turn": 1 / 3}),
        "distinct_items": 3, "distinct_share": 0.5, "top10_share": pytest.approx(1.0),
        "effective_items": pytest.approx(np.exp(entropy)),
        "genres_an_episode": pytest.approx((3 + 1 + 2) / 3),
        "popularity": pytest.approx((7 + 4 + 7 + 1 + 1 + 4) / 48),
        "coherence": pytest.approx(3 / 5),  # "Books" is not all of "Children's Books"
        "cost": {"calls": 6.0, "prompt_tokens": 400.0},  # the last step tells the sum
    }  # fmt: skip
    # thought 1 names action: 2 of 5 items; 2 both: 3 of 5; 3 and 4 nothing; 5 children's books: 2
    assert chance == pytest.approx((2 + 3 + 0 + 0 + 2) / 25, abs=0.04)


def test_the_window_counts_back_so_many_items() -> None:
    episode = [played([0, 1, 2, 3, 0], "low_reward")]
    assert [audit(episode, window=w)["window_repeats"] for w in (0, 3, 4)] == [0, 0, 1]
    assert [audit(episode, window=w)["repeat_quits"] for w in (0, 3, 4)] == [0, 0, 1]
    assert audit([played([0, 0], "repeat")])["repeat_quits"] == 0  # no user quit


def test_chance_is_what_thoughts_earn_that_say_nothing_of_the_item() -> None:
    rng = np.random.default_rng(0)
    acts = rng.integers(4, size=400).tolist()
    blind = [{"thought": ("action", "drama", "books")[n]} for n in rng.integers(3, size=400)]
    wise = [{"thought": " ".join(GENRES[act])} for act in acts]
    apart, close = (audit([played(acts, "max_turn", *i)], CATALOGUE) for i in (blind, wise))
    assert apart["coherence"] == pytest.approx(apart["coherence_by_chance"], abs=0.05)
    assert close["coherence"] > close["coherence_by_chance"] + 0.3
    assert audit([played(acts, "max_turn", *wise)], CATALOGUE) == close  # the same each time


def test_items_drawn_evenly_show_no_bias() -> None:
    even, odd = played([0, 1, 2, 3], "max_turn"), played([0], "max_turn")
    for counts in (COUNTS, np.arange(4), np.ones(4, int)):
        assert audit([even], popularity=counts)["popularity"] == 0.5
    assert audit([odd], popularity=COUNTS)["popularity"] == 7 / 8


def test_steps_without_infos_and_nothing_at_all() -> None:
    bare = Trajectory.from_json(tiny()[0].to_json() | {"infos": []})
    found = audit([bare], CATALOGUE, COUNTS)
    assert (found["steps"], found["r_each"], found["coherence"]) == (3, 3, None)
    assert not any(audit([]).values()) and not any(audit([], CATALOGUE, COUNTS).values())
    asked = "genres_an_episode", "popularity", "coherence", "coherence_by_chance"
    assert all(audit(tiny())[name] is None for name in asked)
