"""The split: what is cut, that nothing is lost, that the past comes before the future."""

from __future__ import annotations

import numpy as np
import pytest

from minirec._io import UserError
from minirec.data.interactions import Interactions
from minirec.data.split import Split, split

N_USERS = 25


def make(timed: bool, n_users: int = N_USERS) -> Interactions:
    """Return a log in which user u has u rows (user 0 none) of distinct items."""
    rng = np.random.default_rng(7)
    users = np.repeat(np.arange(n_users), np.arange(n_users))
    items = np.concatenate([rng.permutation(40)[:count] for count in range(n_users)])
    times = np.arange(len(users)) // 2 * 1.0 if timed else None
    ratings = rng.uniform(1, 5, len(users)).astype(np.float32)
    return Interactions(users, items, ratings, times, tuple(map(str, range(n_users))), 40)


def cut(timed: bool, judge_needs_log: bool, seed: int = 0) -> tuple[Interactions, Split]:
    log = make(timed)
    rng = np.random.default_rng(seed)
    return log, split(log, test_share=0.2, rng=rng, judge_needs_log=judge_needs_log)


def rows_of(log: Interactions) -> list[tuple[int, int, float]]:
    return list(zip(log.users.tolist(), log.items.tolist(), log.ratings.tolist(), strict=True))


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("judge_needs_log", [True, False])
def test_users_and_rows_are_partitioned(timed: bool, judge_needs_log: bool) -> None:
    log, parts = cut(timed, judge_needs_log)
    assert sorted([*parts.train_users, *parts.test_users]) == list(range(N_USERS))
    assert len(parts.test_users) == 5
    assert set(parts.train.users) <= set(parts.train_users)
    assert set(parts.visible.users) <= set(parts.test_users)
    learnt = rows_of(parts.train) + rows_of(parts.visible)
    assert sorted(learnt + rows_of(parts.hidden)) == sorted(rows_of(log))
    shown = {row for row in rows_of(parts.start) if row[0] in parts.test_users}
    assert shown == set(rows_of(parts.visible))
    for part in (parts.train, parts.visible, parts.hidden, parts.start):
        assert (part.n_users, part.n_items) == (N_USERS, 40)


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("judge_needs_log", [True, False])
def test_episodes_start_with_half_of_what_everybody_rated(
    timed: bool, judge_needs_log: bool
) -> None:
    """Training users too, also where the world model learns from all their rows."""
    _, parts = cut(timed, judge_needs_log)
    np.testing.assert_array_equal(np.diff(parts.start.offsets), (np.arange(N_USERS) + 1) // 2)


@pytest.mark.parametrize("timed", [True, False])
def test_halves_are_halves(timed: bool) -> None:
    log, parts = cut(timed, judge_needs_log=True)
    assert sorted(rows_of(parts.start) + rows_of(parts.hidden)) == sorted(rows_of(log))


def test_training_users_keep_all_rows_where_the_truth_is_known() -> None:
    log, parts = cut(timed=True, judge_needs_log=False)
    for user in parts.train_users:
        np.testing.assert_array_equal(parts.train.of(user)[0], log.of(user)[0])
    assert set(parts.hidden.users) <= set(parts.test_users)


@pytest.mark.parametrize("judge_needs_log", [True, False])
def test_what_is_visible_precedes_what_is_hidden(judge_needs_log: bool) -> None:
    _, parts = cut(True, judge_needs_log)
    assert parts.start.times is not None
    assert parts.hidden.times is not None
    for user in set(parts.hidden.users) & set(parts.start.users):
        seen = parts.start.times[parts.start.users == user]
        assert seen.max() <= parts.hidden.times[parts.hidden.users == user].min()


def test_without_times_halves_are_drawn_and_keep_their_order() -> None:
    log, parts = cut(False, judge_needs_log=True)
    other = cut(False, judge_needs_log=True, seed=1)[1]
    assert any(
        set(parts.start.of(user)[0]) != set(other.start.of(user)[0]) for user in range(N_USERS)
    )
    for user in range(N_USERS):
        place = {item: row for row, item in enumerate(log.of(user)[0].tolist())}
        rows = [place[item] for item in parts.start.of(user)[0].tolist()]
        assert rows == sorted(rows)


def test_one_seed_one_split() -> None:
    first, again = cut(False, True)[1], cut(False, True)[1]
    assert rows_of(first.hidden) == rows_of(again.hidden)
    np.testing.assert_array_equal(first.test_users, again.test_users)
    assert cut(True, True, seed=5)[1].test_users.tolist() != first.test_users.tolist()


def test_someone_is_on_either_side() -> None:
    for share in (0.01, 0.99):
        rng = np.random.default_rng(0)
        parts = split(make(True, 3), test_share=share, rng=rng, judge_needs_log=False)
        assert len(parts.train_users) >= 1
        assert len(parts.test_users) >= 1


@pytest.mark.parametrize("share", [0, 1, -0.1, 20])
def test_shares_outside_zero_and_one_are_refused(share: float) -> None:
    with pytest.raises(UserError, match=f"test_share={share} must be"):
        split(make(True), test_share=share, rng=np.random.default_rng(0), judge_needs_log=True)


def test_one_user_cannot_be_split() -> None:
    with pytest.raises(UserError, match="1 user cannot be split"):
        split(make(True, 1), rng=np.random.default_rng(0), judge_needs_log=True)
