"""Folders of CSV files: what is read and counted, and one clear error for each bad file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minirec._io import UserError
from minirec.data.folder import Dataset, load_folder

ITEMS = "item_id,title,genres,year\n007,Bond,Action|Spy,1962\n7,Seven (1995),Crime,\n8,Eight,,\n"
LOG = (
    "user_id,item_id,rating,timestamp\n"
    "ann,007,4,20\n"
    "ann,7,2,10\n"
    "bob,007,5,30\n"
    "bob,7,,40\n"
    "bob,8,1,50\n"
    "bob,007,3,60\n"
)
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Return a function that writes a folder; a text of None writes no file."""

    def write(log: str | bytes | None = LOG, items: str | bytes | None = ITEMS) -> Path:
        for name, content in (("interactions.csv", log), ("items.csv", items)):
            if content is not None:
                raw = content.encode() if isinstance(content, str) else content
                (tmp_path / name).write_bytes(raw)
        return tmp_path

    return write


def triples(data: Dataset) -> list[tuple[str, str, float]]:
    log, names = data.log, data.catalogue.item_ids
    rows = zip(log.users, log.items, log.ratings, strict=True)
    return [(log.user_ids[user], names[item], float(rating)) for user, item, rating in rows]


def test_a_folder_is_read_and_counted(make: Make) -> None:
    folder = make()
    data = load_folder(folder, k_core=0)
    rows = [("ann", "7", 2), ("ann", "007", 4), ("bob", "8", 1), ("bob", "007", 3)]
    assert triples(data) == rows
    assert data.name == folder.name
    assert data.catalogue.titles == ("Bond", "Seven (1995)", "Eight")
    assert data.catalogue.years.tolist() == [1962, 1995, 0]
    final = {"rows": 4, "users": 2, "items": 3}
    assert data.card == {
        **final,
        "step": "0-core",
        "steps": [
            {"step": "read", "rows": 6, "users": 2, "items": 3},
            {"step": "rated, repeats merged", **final},
            {"step": "0-core", **final},
        ],
        "merged": 1,
        "unrated": 1,
        "rating_map": "1..5 kept",
        "time": "timestamp",
        "repeated_titles": 0,
    }
    json.dumps(data.card)


def test_the_catalogue_shrinks_to_the_items_kept(make: Make) -> None:
    log = "user_id,item_id,rating\nann,7,2\nann,8,4\nbob,7,3\nbob,8,5\nbob,007,1\n"
    data = load_folder(make(log), k_core=2)
    assert data.catalogue.item_ids == ("7", "8")
    assert triples(data) == [("ann", "7", 2), ("ann", "8", 4), ("bob", "7", 3), ("bob", "8", 5)]
    assert data.log.n_items == data.catalogue.n_items == 2


def test_gzip_byte_order_mark_and_blank_lines_are_read(make: Make) -> None:
    plain = load_folder(make(), k_core=0)
    folder = make(LOG.replace("bob,8", "\n\nbob,8") + "\n\n", "\ufeff" + ITEMS)
    assert triples(load_folder(folder, k_core=0)) == triples(plain)
    for name in ("interactions.csv", "items.csv"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    assert triples(load_folder(folder, k_core=0)) == triples(plain)


def test_windows_line_ends_and_quoted_titles_are_read(make: Make) -> None:
    items = ITEMS.replace("Bond", '"Bond, ""James"""').replace("\n", "\r\n")
    data = load_folder(make(LOG.replace("\n", "\r\n"), items), k_core=0)
    assert data.catalogue.titles[0] == 'Bond, "James"'
    assert len(data.log.users) == 4


def test_min_rating_is_exclusive_and_on_the_scale_of_the_source(make: Make) -> None:
    log = "user_id,item_id,rating\nann,007,0\nann,7,1\nann,8,5\nbob,8,\n"
    data = load_folder(make(log), k_core=0, min_rating=0)
    assert triples(data) == [("ann", "7", 1), ("ann", "8", 5)]
    assert data.card["steps"][1] == {"step": "rating > 0", "rows": 3, "users": 2, "items": 2}
    assert data.card["unrated"] == 1
    everything = load_folder(make(log), k_core=0)
    assert everything.card["rating_map"] == "0..5 -> 1..5, linearly"


def test_position_counts_as_time_where_there_is_no_timestamp(make: Make) -> None:
    log = "user_id,item_id,rating,position\nann,8,1,2\nann,007,1,0\nann,7,1,1\n"
    data = load_folder(make(log), k_core=0)
    assert data.card["time"] == "position"
    assert [item for _, item, _ in triples(data)] == ["007", "7", "8"]


def test_no_rating_column_is_positives_only(make: Make) -> None:
    data = load_folder(make("user_id,item_id\nann,8\nann,7\n"), k_core=0)
    assert data.log.ratings.tolist() == [5, 5]
    assert data.card["rating_map"] == "positives only -> 5"
    assert data.card["time"] == "no time"


def test_a_partly_blank_time_is_no_time_and_the_card_says_so(make: Make) -> None:
    data = load_folder(make(LOG + "cyd,7,3,\n"), k_core=0)
    assert data.log.times is None
    assert data.card["time"] == "no time: timestamp is blank in 1 of 6 rows"


def test_titles_may_repeat_and_are_counted(make: Make) -> None:
    data = load_folder(make(items=ITEMS.replace("Eight", "Bond")), k_core=0)
    assert data.card["repeated_titles"] == 1


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (None, "no interactions.csv or interactions.csv.gz in"),
        ("", "interactions.csv: the file is empty"),
        (" \n\n", "interactions.csv: the file has column names but no rows"),
        ("user_id,item_id\n", "interactions.csv: the file has column names but no rows"),
        ("user_id,item_id\n\n\n", "interactions.csv: the file has column names but no rows"),
        ("user;item_id\nann;7\n", "no column 'user_id', only user;item_id"),
        ("user_id,item\nann,7\n", "no column 'item_id'.*Did you mean 'item'"),
        ("user_id,item_id,ratings\nann,7,3\n", "no column 'rating'. Did you mean 'ratings'"),
        (LOG + "cyd,9,3,70\n", "interactions.csv: line 8: item_id '9' has no row among the items"),
        (LOG + "cyd,07,3,70\n", "line 8: item_id '07' has no row"),
        (LOG + "\n\ncyd,7,good,70\n", "line 10: rating 'good' is not a number; correct it or"),
        (LOG + "cyd,7,1000,70\n", r"line 8: rating '1000' is off the scale 0..10"),
        (LOG + "cyd,7,3,soon\n", "line 8: timestamp 'soon' is not a number"),
        (LOG + ",7,3,70\n", "line 8: user_id '' is blank"),
        (LOG + "cyd,7,3,70,80\n", "interactions.csv: not a table .*line 8"),
        (LOG.replace("20\n", "20,30\n"), "interactions.csv: not a table"),
        (LOG + '"cyd,7,3,70\n', "interactions.csv: not a table"),
        (LOG.encode("utf-16"), "interactions.csv: not UTF-8 .*byte 0xff"),
        (LOG.encode() + b"Ren\xe9,7,3,70\n", "not UTF-8 .*byte 0xe9 .*; save the file"),
    ],
)
def test_bad_logs_are_refused_by_name(make: Make, log: str | bytes | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as refusal:
        load_folder(make(log), k_core=0)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (None, "no items.csv or items.csv.gz in"),
        ("", "items.csv: the file is empty"),
        ("item_id,name\n7,Seven\n", "items.csv: no column 'title'"),
        (ITEMS + "9,,,\n", "items.csv: line 5: title '' is blank"),
        (ITEMS + "7,Again,,\n", "items.csv: line 5: item_id '7' has a row already"),
        (ITEMS + "9,Nine,,soon\n", "items.csv: line 5: year 'soon' is not a number"),
        (b"item_id,title\n7,\xff\n", "items.csv: not UTF-8 .*byte 0xff"),
    ],
)
def test_bad_items_are_refused_by_name(make: Make, items: str | bytes | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_folder(make(items=items), k_core=0)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such folder: .*nowhere"):
        load_folder(tmp_path / "nowhere")


def test_damaged_gzip_is_refused(make: Make) -> None:
    folder = make(log=None)
    packed = gzip.compress(LOG.encode())
    for raw in (LOG.encode(), packed[:-9], packed[:20] + b"\x00" * 9 + packed[29:]):
        (folder / "interactions.csv.gz").write_bytes(raw)
        with pytest.raises(UserError, match=r"interactions.csv.gz: damaged or not gzip"):
            load_folder(folder)


def test_filters_that_leave_nothing_are_refused(make: Make) -> None:
    folder = make()
    with pytest.raises(UserError, match="k_core=5 leaves nothing of 4 rows; choose a smaller one"):
        load_folder(folder)
    with pytest.raises(UserError, match="min_rating=5 leaves nothing; choose a lower one"):
        load_folder(folder, k_core=0, min_rating=5)
    with pytest.raises(UserError, match="no column 'rating'"):
        load_folder(make("user_id,item_id\nann,8\n"), k_core=0, min_rating=1)


def test_a_scale_can_be_named(make: Make) -> None:
    log = "user_id,item_id,rating\nann,007,0\nann,7,50\nann,8,100\n"
    data = load_folder(make(log), k_core=0, scale=(0, 100))
    np.testing.assert_allclose(data.log.ratings, [1, 3, 5])
