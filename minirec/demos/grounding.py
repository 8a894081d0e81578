"""Grounding: from a title as somebody wrote it to an item of the catalogue."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from rapidfuzz import fuzz, process

from minirec._io import FloatArray, UserError

if TYPE_CHECKING:
    from minirec.demos.vectors import TextVectors

ARTICLES = frozenset({"the", "a", "an"})
_YEAR = re.compile(r"\s*\((?:18|19|20)\d\d\)\s*$")


@dataclass(frozen=True)
class Grounding:
    """Which item a text was taken for, and how.

    Attributes:
        item: The item's index.
        how: ``exact``: letter for letter; ``normalised``: equal without case, accents,
            punctuation, articles and perhaps the year; ``fuzzy``: the most similar one allowed;
            ``vector``: the one allowed with the nearest text vector.
        score: Similarity of the normalised texts, 0 to 100; with ``vector`` 100 times the cosine.
        literal: Whether the text is a title of the catalogue letter for letter. With ``fuzzy``
            and ``vector`` this means that the item asked for was blocked.
    """

    item: int
    how: Literal["exact", "normalised", "fuzzy", "vector"]
    score: float
    literal: bool


class Grounder:
    """Finds the catalogue's item for a text; ties go to the lower index. Built in chapter 5.

    It takes the first rung that holds: letter for letter, normalised, similar in spelling and, if
    there are ``vectors``, near as text vectors. The default of ``fuzzy_from`` is where titles of
    two real catalogues, spoilt in known ways, came back to their items most often with n-grams:
    below it many a long wrong title is a little like every text (``benchmarks/grounding.py``).

    >>> grounder = Grounder(["Silver Harbor (1994)", "Silver Harbour Nights (2001)"])
    >>> grounder.ground("the silver harbor")
    Grounding(item=0, how='normalised', score=100.0, literal=False)
    >>> grounder.ground("Silver Harbor (1994)", blocked={0}).item
    1

    Args:
        titles: The catalogue's titles; equal titles are told apart only by what is blocked.
        vectors: Places texts; None takes the most similar spelling however unlike it is.
        fuzzy_from: With ``vectors``, the least similarity of spelling that is trusted, 0 to 100.

    Raises:
        UserError: If there are no titles.
    """

    def __init__(
        self, titles: Sequence[str], vectors: TextVectors | None = None, fuzzy_from: float = 80.0
    ) -> None:
        if not titles:
            raise UserError("there are no titles to ground in; the catalogue is empty")
        self.titles, self.vectors, self.fuzzy_from = tuple(titles), vectors, fuzzy_from
        self._forms = [normalise(title) for title in titles]
        self._undated = [normalise(_YEAR.sub("", title)) for title in titles]
        self._exact = _owners(map(one_line, titles))
        self._normal = _owners(self._forms, self._undated)

    def ground(self, text: str, blocked: Collection[int] = ()) -> Grounding:
        """Return the item nearest to ``text`` that is not blocked.

        Raises:
            UserError: If every item is blocked.
        """
        closed = frozenset(blocked)
        exact, alike = self._exact.get(one_line(text), []), self._normal.get(normalise(text), [])
        literal, free = bool(exact), [item for item in exact + alike if item not in closed]
        if free:
            return Grounding(free[0], "exact" if free[0] in exact else "normalised", 100.0, literal)
        scores = self._scores(text)
        scores[list(closed)] = -1
        item = int(scores.argmax())
        if scores[item] < 0:
            raise UserError(f"all {len(self.titles)} titles are blocked; nothing left to recommend")
        if self.vectors is None or scores[item] >= self.fuzzy_from:
            return Grounding(item, "fuzzy", round(float(scores[item]), 2), literal)
        cosines = (self._items @ self.vectors.vectors([text])[0]).round(5)  # so that ties are ties
        cosines[list(closed)] = -2
        item = int(cosines.argmax())
        return Grounding(item, "vector", round(100 * float(cosines[item]), 2), literal)

    def nearest(self, text: str, k: int = 3) -> list[tuple[str, float]]:
        """Return the ``k`` most similar titles and their scores (0 to 100), best first."""
        scores = self._scores(text)
        best = np.argsort(-scores, kind="stable")[:k]
        return [(self.titles[item], round(float(scores[item]), 2)) for item in best]

    @cached_property
    def _items(self) -> FloatArray:
        """The titles' text vectors, shape (N, d)."""
        assert self.vectors is not None
        return self.vectors.vectors(self.titles)

    def _scores(self, text: str) -> FloatArray:
        """Return how similar each title is, shape (N,), 0 to 100; the better of its two forms."""
        forms = self._forms + self._undated
        every = process.cdist([normalise(text)], forms, scorer=fuzz.ratio, dtype=np.float32)
        return np.asarray(every.reshape(2, -1).max(0))


def _owners(*columns: Iterable[str]) -> dict[str, list[int]]:
    """Return which items have each text, in ascending order."""
    owners = defaultdict[str, list[int]](list)
    for item, texts in enumerate(zip(*columns, strict=True)):
        for text in set(texts):
            owners[text].append(item)
    return owners


def one_line(text: str) -> str:
    """Return a text with every run of white space as one blank."""
    return " ".join(text.split())


def normalise(title: str) -> str:
    """Return a title without case, accents, punctuation and English articles.

    >>> normalise("Amélie, The (2001)")
    'amelie 2001'
    """
    letters = unicodedata.normalize("NFKD", title.casefold())
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    words = re.sub(r"[^\w\s]|_", " ", re.sub("['\u2019]", "", bare)).split()
    return " ".join([word for word in words if word not in ARTICLES] or words) or title.casefold()
