"""The items: ids, titles, genres, years. Chapter: 02-data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from minirec._io import FloatArray, IntArray
from minirec.data.frames import ids, numbers, refuse

if TYPE_CHECKING:
    import pandas as pd

YEAR_IN_TITLE = r"\((\d{4})\)\s*$"


@dataclass(frozen=True)
class Catalogue:
    """N items; an item's index in these tuples is its number everywhere in the package.

    Attributes:
        item_ids: The ids of the source, distinct, N of them.
        titles: Titles, N of them; two items may share one.
        genres: The distinct genres of each item, N tuples, possibly empty.
        years: Year of each item, 0 = unknown, shape (N,).
    """

    item_ids: tuple[str, ...]
    titles: tuple[str, ...]
    genres: tuple[tuple[str, ...], ...]
    years: IntArray

    @property
    def n_items(self) -> int:
        """The number N of items; also the number that stands for "no item"."""
        return len(self.item_ids)

    @cached_property
    def genre_names(self) -> tuple[str, ...]:
        """The G distinct genres, sorted."""
        return tuple(sorted({name for genres in self.genres for name in genres}))

    def genre_matrix(self) -> FloatArray:
        """Return each item's share of each genre: (N, G) float32, rows sum to 1, or 0 if blank."""
        has = [[name in genres for name in self.genre_names] for genres in self.genres]
        shares = np.array(has, dtype=np.float32)
        return np.asarray(shares / np.maximum(1, shares.sum(1, keepdims=True)))

    def subset(self, items: IntArray) -> Catalogue:
        """Return the catalogue of these items only, shape (n,), in this order."""
        return Catalogue(
            tuple(self.item_ids[i] for i in items), tuple(self.titles[i] for i in items),
            tuple(self.genres[i] for i in items), self.years[items],
        )  # fmt: skip

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Catalogue:
        """Read a table with one row an item.

        Args:
            frame: Columns ``item_id`` and ``title``; optionally ``genres``, separated by ``|``,
                and ``year``. Where the year is blank or missing, a title that ends in
                ``(1999)`` gives it.

        Raises:
            UserError: If a needed column is missing, an id or a title is blank, an id is there
                twice, or a year is not a number.
        """
        item_ids, titles = ids(frame, "item_id"), ids(frame, "title")
        refuse(item_ids, item_ids.duplicated(), "has a row already; keep one")
        years = titles.str.extract(YEAR_IN_TITLE)[0].fillna("0").to_numpy(dtype=int)
        if "year" in frame:
            given = numbers(frame, "year")
            years = np.where(np.isnan(given), years, given).astype(int)
        cells = frame["genres"].fillna("") if "genres" in frame else [""] * len(frame)
        genres = (filter(None, map(str.strip, cell.split("|"))) for cell in cells)
        distinct = tuple(tuple(dict.fromkeys(names)) for names in genres)
        return cls(tuple(item_ids), tuple(titles), distinct, years)
