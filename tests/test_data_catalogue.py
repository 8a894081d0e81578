"""The catalogue: what is read, what is refused, what the genre shares sum to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from minirec._io import UserError
from minirec.data.catalogue import Catalogue


def read(**columns: Any) -> Catalogue:
    return Catalogue.from_frame(pd.DataFrame(columns))


def test_ids_stay_text() -> None:
    assert read(item_id=["007", " 7"], title=["Bond", "Seven"]).item_ids == ("007", "7")
    assert read(item_id=[7, 8], title=["Seven", "Eight"]).item_ids == ("7", "8")


def test_genres_are_split_and_repeats_dropped() -> None:
    cells = ["Drama|Comedy", " Drama | Drama |", "", None]
    catalogue = read(item_id=list("abcd"), title=list("ABCD"), genres=cells)
    assert catalogue.genres == (("Drama", "Comedy"), ("Drama",), (), ())
    assert catalogue.genre_names == ("Comedy", "Drama")
    np.testing.assert_array_equal(catalogue.genre_matrix(), [[0.5, 0.5], [0, 1], [0, 0], [0, 0]])
    assert catalogue.genre_matrix().dtype == np.float32


@pytest.mark.parametrize("genres", [[(), ()], [("x", "y", "z"), ()]])
def test_genre_shares_sum_to_one_or_zero(genres: list[tuple[str, ...]]) -> None:
    catalogue = Catalogue(("a", "b"), ("A", "B"), tuple(genres), np.zeros(2, dtype=int))
    shares = catalogue.genre_matrix()
    assert shares.shape == (2, len(catalogue.genre_names))
    np.testing.assert_allclose(shares.sum(1), [float(bool(names)) for names in genres])


def test_no_genre_column_is_no_genres() -> None:
    catalogue = read(item_id=["a"], title=["A"])
    assert catalogue.genres == ((),)
    assert catalogue.genre_matrix().shape == (1, 0)


def test_years_come_from_the_column_then_from_the_title() -> None:
    titles = ["Heat (1995)", "Heat (1995) ", "1984", "(500) Days (of Summer)", "Iliad"]
    years = ["", "1996", "", "2009.0", "-750"]
    columns = {"item_id": list("abcde"), "title": titles}
    assert read(**columns, year=years).years.tolist() == [1995, 1996, 0, 2009, -750]
    assert read(**columns).years.tolist() == [1995, 1995, 0, 0, 0]


def test_a_subset_keeps_the_order_asked_for() -> None:
    catalogue = read(item_id=list("abc"), title=list("ABC"), genres=list("xyz"), year=[1, 2, 3])
    part = catalogue.subset(np.array([2, 0]))
    assert (part.item_ids, part.titles) == (("c", "a"), ("C", "A"))
    assert part.genre_names == ("x", "z")
    assert part.years.tolist() == [3, 1]
    assert part.n_items == 2


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"item": ["a"], "title": ["A"]}, "no column 'item_id', only item, title. Did you mean"),
        ({"item_id": ["a"]}, "no column 'title'"),
        ({"item_id": ["a", " "], "title": ["A", "B"]}, "row 1: item_id ' ' is blank"),
        ({"item_id": ["a", "b"], "title": ["A", None]}, "row 1: title .* is blank"),
        ({"item_id": list("aba"), "title": list("ABC")}, "row 2: item_id 'a' has a row already"),
        ({"item_id": ["a"], "title": ["A"], "year": ["MX"]}, "row 0: year 'MX' is not a number"),
    ],
)
def test_bad_tables_are_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(**columns)
