"""Real data, found through MINIREC_DATA: published counts, and the time that loading takes."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirec.data.folder import load_folder
from minirec.data.split import split

COUNTS = [
    ("movielens-latest-small", {}, (90_274, 610, 3_650), "0.5..5 -> 1..5, linearly", "timestamp"),
    ("movielens-100k", {"k_core": 10}, (97_953, 943, 1_152), "1..5 kept", "timestamp"),
    ("steam-playtime", {"min_rating": 0}, (53_782, 2_386, 1_515), "1..5 kept", "no time"),
    ("amazon-books", {}, (91_390, 1_038, 5_896), "positives only -> 5", "position"),
    ("anime", {}, (409_547, 4_143, 4_330), "1..10 -> 1..5, linearly", "no time"),
]


def folder(name: str) -> Path:
    """Return the path of a data set; skip the test where there is none."""
    root = os.environ.get("MINIREC_DATA")
    if not root:
        pytest.skip("MINIREC_DATA is not set: no real data to test with")
    path = Path(root) / name
    if not path.is_dir():
        pytest.skip(f"MINIREC_DATA has no folder {name}")
    return path


@pytest.mark.parametrize(("name", "options", "sizes", "words", "when"), COUNTS)
def test_counts_agree_with_the_published_ones(
    name: str, options: dict[str, Any], sizes: tuple[int, int, int], words: str, when: str
) -> None:
    data = load_folder(folder(name), **options)
    log, card = data.log, data.card
    assert (len(log.users), log.n_users, data.catalogue.n_items) == sizes
    assert (card["rows"], card["users"], card["items"]) == sizes
    assert (card["rating_map"], card["time"]) == (words, when)
    assert log.ratings.min() >= 1
    assert log.ratings.max() == 5
    fewest = min(np.bincount(log.users).min(), np.bincount(log.items).min())
    assert fewest >= options.get("k_core", 5)


def test_repeats_of_books_are_merged() -> None:
    data = load_folder(folder("amazon-books"), k_core=0)
    assert data.card["rows"] == 106_699
    assert data.card["merged"] == 9_308


def test_logs_with_some_undated_rows_have_no_time_and_say_so() -> None:
    data = load_folder(folder("steam-reviews"), k_core=0)
    assert data.log.times is None
    assert data.card["time"] == "no time: timestamp is blank in 9926 of 58034 rows"


def test_loading_movielens_takes_about_a_second() -> None:
    import pandas  # noqa: F401  (its import is not what is measured)

    path = folder("movielens-latest-small")
    start = time.perf_counter()
    load_folder(path)
    assert time.perf_counter() - start < 4  # a busy machine gets some slack


def test_movielens_splits_by_time() -> None:
    log = load_folder(folder("movielens-latest-small")).log
    parts = split(log, rng=np.random.default_rng(0), judge_needs_log=True)
    assert len(parts.test_users) == 122
    assert parts.start.times is not None
    assert parts.hidden.times is not None
    last = parts.start.times[parts.start.offsets[1:] - 1]
    first = parts.hidden.times[parts.hidden.offsets[:-1]]
    assert np.all(last <= first)
