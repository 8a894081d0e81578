"""The log: merging, rating maps, the k-core against brute force, and what is refused."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest

from minirec._io import UserError
from minirec.data.catalogue import Catalogue
from minirec.data.interactions import Interactions

NAMES = tuple("abcdefgh")
ITEMS = Catalogue(NAMES, NAMES, ((),) * 8, np.zeros(8, dtype=int))


def table(seed: int, rows: int = 80, timed: bool = True) -> pd.DataFrame:
    """Draw a table with repeats; repeats never share a time."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "user_id": rng.integers(9, size=rows).astype(str),
            "item_id": rng.choice(list(NAMES), size=rows),
            "rating": rng.integers(1, 6, size=rows),
        }
    )
    return frame.assign(timestamp=rng.permutation(rows)) if timed else frame


def read(frame: pd.DataFrame, **options: Any) -> Interactions:
    return Interactions.from_frame(frame, ITEMS, **options)


def log_of(ratings: list[Any], **options: Any) -> Interactions:
    """Read ratings of one user, the first of item a, the second of item b, ..."""
    frame = pd.DataFrame({"user_id": "u", "item_id": NAMES[: len(ratings)], "rating": ratings})
    return read(frame, **options)


def ratings_of(log: Interactions) -> dict[tuple[str, str], float]:
    """Return {(user id, item id): rating}; no pair may occur twice."""
    pairs = [(log.user_ids[u], NAMES[i]) for u, i in zip(log.users, log.items, strict=True)]
    assert len(set(pairs)) == len(pairs)
    return dict(zip(pairs, log.ratings.tolist(), strict=True))


def frame_of(log: Interactions) -> pd.DataFrame:
    """Return the table that a log would have come from."""
    frame = pd.DataFrame(
        {
            "user_id": [log.user_ids[user] for user in log.users],
            "item_id": [NAMES[item] for item in log.items],
            "rating": log.ratings,
        }
    )
    return frame if log.times is None else frame.assign(timestamp=log.times)


@pytest.mark.parametrize("seed", range(5))
def test_the_last_rating_counts_whatever_the_order_of_the_file(seed: int) -> None:
    frame = table(seed)
    last = frame.sort_values("timestamp").groupby(["user_id", "item_id"])["rating"].last()
    for order in (frame, frame.iloc[::-1], frame.sample(frac=1, random_state=seed)):
        log = read(order)
        assert ratings_of(log) == last.to_dict()
        assert log.merged == len(frame) - len(last) > 0


def test_ratings_at_one_time_are_averaged() -> None:
    frame = pd.DataFrame({"user_id": "u", "item_id": ["a", "a", "a", "b"], "rating": [1, 2, 5, 3]})
    times = [3, 7, 7, 5]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        log = read(frame.assign(timestamp=times).iloc[order])
        assert ratings_of(log) == {("u", "b"): 3, ("u", "a"): 3.5}
        assert log.times is not None
        assert log.times.tolist() == [5, 7]


@pytest.mark.parametrize("seed", range(3))
def test_without_times_repeats_are_averaged_and_the_file_orders(seed: int) -> None:
    frame = table(seed, timed=False)
    log = read(frame)
    means = frame.groupby(["user_id", "item_id"])["rating"].mean()
    assert ratings_of(log) == pytest.approx(means.to_dict())
    assert log.times is None
    for user, name in enumerate(log.user_ids):
        first = frame[frame["user_id"] == name].drop_duplicates("item_id")["item_id"]
        assert [NAMES[item] for item in log.of(user)[0]] == first.tolist()


@pytest.mark.parametrize("timed", [True, False])
def test_a_log_survives_the_way_through_a_table(timed: bool) -> None:
    log = read(table(0, timed=timed))
    again = read(frame_of(log))
    assert again.merged == 0
    assert again.user_ids == tuple(log.user_ids[user] for user in np.unique(log.users))
    for name in ("users", "items", "ratings", "times"):
        np.testing.assert_array_equal(getattr(again, name), getattr(log, name))


def test_rows_are_sorted_by_user_and_time() -> None:
    log = read(table(1))
    assert log.times is not None
    assert np.all(np.lexsort((log.times, log.users)) == np.arange(len(log.users)))
    assert log.offsets.tolist() == [0, *np.cumsum(np.bincount(log.users))]
    np.testing.assert_array_equal(np.concatenate([log.of(u)[0] for u in range(9)]), log.items)


def test_dates_say_what_came_first() -> None:
    frame = pd.DataFrame({"user_id": "u", "item_id": ["a", "b"], "rating": 4})
    dates = pd.to_datetime(["1970-01-02 00:00:00", "1970-01-01 00:00:01"])
    for zone in (None, "UTC"):
        log = read(frame.assign(timestamp=dates.tz_localize(zone)))
        assert (log.items.tolist(), log.time_from) == ([1, 0], "timestamp")


@pytest.mark.parametrize(
    ("ratings", "mapped", "words"),
    [
        ([1, 3, 5], [1, 3, 5], "1..5 kept"),
        ([1, 3.7, 5], [1, 3.7, 5], "1..5 kept"),
        ([4, 5], [4, 5], "1..5 kept"),
        ([0.5, 2.75, 5], [1, 3, 5], "0.5..5 -> 1..5, linearly"),
        ([3.5, 4, 5], [1 + 12 / 4.5, 1 + 14 / 4.5, 5], "0.5..5 -> 1..5, linearly"),
        ([0, 2.5, 5], [1, 3, 5], "0..5 -> 1..5, linearly"),
        ([0, 5, 10], [1, 3, 5], "0..10 -> 1..5, linearly"),
        ([1, 5.5, 10], [1, 3, 5], "1..10 -> 1..5, linearly"),
        ([0, 1], [1, 5], "0..1 -> 1..5, linearly"),
        ([False, True], [1, 5], "0..1 -> 1..5, linearly"),
        ([1, 1], [5, 5], "positives only -> 5"),
        (["4", " 2.5 "], [1 + 14 / 4.5, 1 + 8 / 4.5], "0.5..5 -> 1..5, linearly"),
    ],
)
def test_usual_scales_are_recognised(ratings: list[Any], mapped: list[float], words: str) -> None:
    log = log_of(ratings)
    np.testing.assert_allclose(log.ratings, mapped, rtol=1e-6)
    assert log.ratings.dtype == np.float32
    assert log.rating_map == words


def test_scales_can_be_named() -> None:
    assert log_of([0, 50, 100], scale=(0, 100)).ratings.tolist() == [1, 3, 5]
    positives = read(pd.DataFrame({"user_id": "u", "item_id": ["a", "b"]}))
    assert positives.ratings.tolist() == [5, 5]
    assert positives.rating_map == "positives only -> 5"


def test_blank_ratings_are_dropped_and_counted() -> None:
    log = log_of(["3", "", " ", None, float("nan"), "4"])
    assert ratings_of(log) == {("u", "a"): 3, ("u", "f"): 4}
    assert (log.unrated, log.merged) == (4, 0)


@pytest.mark.parametrize("times", [["", ""], ["7", " "], [None, 7], [pd.Timestamp(7), pd.NaT]])
def test_a_time_column_with_blanks_is_not_used_and_this_is_said(times: list[Any]) -> None:
    frame = pd.DataFrame({"user_id": "u", "item_id": ["a", "a"], "rating": [1, 4]})
    log = read(frame.assign(timestamp=times))
    blank = sum(time not in ("7", 7, pd.Timestamp(7)) for time in times)
    assert log.times is None
    assert log.time_from == f"no time: timestamp is blank in {blank} of 2 rows"
    assert log.ratings.tolist() == [2.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user_id": ["u", ""]}, "row 1: user_id '' is blank"),
        ({"item_id": ["a", None]}, "row 1: item_id .* is blank"),
        ({"item_id": ["a", "z"]}, "row 1: item_id 'z' has no row among the items"),
        ({"rating": [4, "good"]}, "row 1: rating 'good' is not a number"),
        ({"rating": [4, "nan"]}, "row 1: rating 'nan' is not a number"),
        ({"rating": [4, "inf"]}, "row 1: rating 'inf' is not a number"),
        ({"rating": [5, 11]}, r"row 1: rating '11' is off the scale 0..10"),
        ({"rating": [-1, 4]}, r"row 0: rating '-1' is off the scale 0..10"),
        ({"rating": ["", ""]}, "no row has a rating"),
        ({"item_id": ["y", "z"]}, r"row 0: item_id 'y' .* \(2 of 2 rows are wrong\)"),
        ({"timestamp": [1, "2011-04-21"]}, "row 1: timestamp '2011-04-21' is not a number"),
    ],
)
def test_bad_rows_are_refused_by_name(change: dict[str, Any], message: str) -> None:
    good = {"user_id": ["u", "v"], "item_id": ["a", "b"], "rating": [4, 5], "timestamp": [1, 2]}
    assert len(read(pd.DataFrame(good)).users) == 2
    with pytest.raises(UserError, match=message):
        read(pd.DataFrame(good | change))


@pytest.mark.parametrize("missing", ["user_id", "item_id", "rating", "timestamp"])
def test_missing_columns_are_refused(missing: str) -> None:
    with pytest.raises(UserError, match=f"no column '{missing}'.*Did you mean '{missing}s'"):
        read(table(0).rename(columns={missing: missing + "s"}))


def test_a_scale_upside_down_is_refused() -> None:
    with pytest.raises(UserError, match=r"off the scale 5..1; .* name another scale"):
        log_of([1, 2], scale=(5, 1))


def test_unsorted_rows_are_a_mistake_of_the_caller() -> None:
    numbers = np.array([1, 0])
    with pytest.raises(ValueError, match="sorted by user"):
        Interactions(numbers, numbers, numbers.astype(np.float32), None, ("a", "b"), 2)


def test_a_subset_keeps_the_numbers_of_users() -> None:
    log = read(table(2))
    kept = log.subset(log.users % 2 == 1)
    assert kept.n_users == 9
    assert len(kept.of(0)[0]) == 0
    np.testing.assert_array_equal(kept.of(3)[0], log.of(3)[0])


def core_by_hand(pairs: list[tuple[int, int]], k: int) -> list[tuple[int, int]]:
    """Drop one poor user or item at a time."""
    while True:
        users, items = Counter(u for u, _ in pairs), Counter(i for _, i in pairs)
        poor = next((pair for pair in pairs if users[pair[0]] < k or items[pair[1]] < k), None)
        if poor is None:
            return pairs
        side = 0 if users[poor[0]] < k else 1
        pairs = [pair for pair in pairs if pair[side] != poor[side]]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_k_core_equals_brute_force(seed: int, k: int) -> None:
    log = read(table(seed, rows=45))
    pairs = list(zip(log.users.tolist(), log.items.tolist(), strict=True))
    expected = core_by_hand(pairs, k)
    if not expected:
        with pytest.raises(UserError, match=f"k_core={k} leaves nothing of {len(pairs)} rows"):
            log.k_core(k)
        return
    core, kept = log.k_core(k)
    assert core.n_items == len(kept)
    assert core.n_users == len(set(core.users.tolist()))
    found = [(core.user_ids[u], int(kept[i])) for u, i in zip(core.users, core.items, strict=True)]
    assert found == [(log.user_ids[u], i) for u, i in expected]
    assert np.bincount(core.users).min() >= k
    assert np.bincount(core.items).min() >= k


def test_zero_core_keeps_items_that_nobody_rated() -> None:
    log, kept = log_of([3, 4]).k_core(0)
    assert log.n_items == len(kept) == 8
    assert log_of([3, 4]).k_core(1)[0].n_items == 2
