"""Serve a trained policy: titles in, titles out, no language model anywhere near it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict, Unpack

import numpy as np

from minirec._io import FloatArray, IntArray, UserError
from minirec.demos.grounding import Grounder
from minirec.export import ABOUT, BUNDLED, freeze, load_export, load_run, matched
from minirec.forward import Forward, State, best, chances
from minirec.world.sources import Distances, MatrixSource

if TYPE_CHECKING:
    from minirec.rl.policy import RecPolicy

LIKED = 5.0  # the rating of a title that is given without one
SURE = 85.0  # of 100: a title whose nearest catalogue title scores less is refused
ROWS = 64  # users who are served at once: few enough to stay in a processor's cache

History = Sequence[str | tuple[str, float]]
"""Titles, oldest first, each alone (then it was liked) or with a rating from 1 to 5."""


class Recommendation(NamedTuple):
    """One recommended item: its title and the policy's probability for it."""

    title: str
    probability: float


class Choice(TypedDict, total=False):
    """How to choose, all of it optional.

    Attributes:
        exclude: Titles or item numbers that nobody gets, beside what is in each history.
        min_distance: Skip items nearer than this to one of the last ``window`` of the history, as
            the quit rule of the same name does. The distance is Euclidean between the item
            features that the policy knows, the world model's item vectors, and in their unit.
        window: How many of the last items keep others away; 4 if unset.
        rng: Draw the list from the probabilities, without repeats, each title from what the
            ones before it leave; without a generator, the list is the likeliest titles.
        temperature: Divides the logits: above 1 the probabilities are more even, below 1 less.
    """

    exclude: Collection[str | int]
    min_distance: float | None
    window: int
    rng: np.random.Generator | None
    temperature: float


class Recommender:
    """A trained policy and the catalogue it recommends from. It serves without torch.

    Args:
        policy: The trained network, or its forward pass in NumPy.
        titles: The N titles of the catalogue.

    Raises:
        UserError: If the policy cannot be frozen or has another number of items.
    """

    def __init__(self, policy: RecPolicy | Forward, titles: Sequence[str]) -> None:
        self.forward = policy if isinstance(policy, Forward) else freeze(policy)
        self.titles = matched(self.forward, titles)
        self.grounder = Grounder(self.titles)

    @classmethod
    def load(cls, run: str | Path | None = None) -> Recommender:
        """Load what ``minirec export`` wrote, a run folder (with torch), or the bundled policy.

        Raises:
            UserError: If the folder holds no finished policy, or one that is damaged.
        """
        folder = BUNDLED / "serve" if run is None else Path(run)
        return cls(*(load_export if (folder / ABOUT).is_file() else load_run)(folder))

    def recommend(
        self, history: History, k: int = 10, **choice: Unpack[Choice]
    ) -> list[Recommendation]:
        """Recommend ``k`` titles to somebody with this history, best first.

        Args:
            history: Titles, oldest first, each alone (then it was liked) or with a rating in
                1..5. Titles are grounded: spelling and case may differ a little. It may be empty.
            k: How many titles; none of the history is among them.
            choice: See :class:`Choice`.

        Raises:
            UserError: If a title is unknown, a rating is not in 1..5, or ``k`` is out of range.
        """
        return self.recommend_batch([history], k, **choice)[0]

    def recommend_batch(
        self, histories: Sequence[History], k: int = 10, **choice: Unpack[Choice]
    ) -> list[list[Recommendation]]:
        """Recommend ``k`` titles to each of many, as :meth:`recommend` does but for rounding."""
        known = [self._known(history) for history in histories]
        found = self.recommend_items([one[0] for one in known], [one[1] for one in known],
                                     k, **choice)  # fmt: skip
        return self._titled(*found)

    def recommend_items(
        self, items: Sequence[Sequence[int]], ratings: Sequence[Sequence[float]], k: int = 10,
        **choice: Unpack[Choice],
    ) -> tuple[IntArray, FloatArray]:  # fmt: skip
        """Recommend to B users by item numbers instead of titles.

        Args:
            items: Each user's history, oldest first, of any length; numbers 0..N-1.
            ratings: Their ratings, 1 to 5.
            k: How many items.
            choice: See :class:`Choice`.

        Returns:
            Items and their probabilities, both (B, k).

        Raises:
            UserError: As :meth:`recommend`.
        """
        past, rated = self._window(items, ratings)
        choice["exclude"] = self._numbers(choice.get("exclude", ())).tolist()
        parts = []
        for first in range(0, max(1, len(past)), ROWS):
            seen, scores = past[first : first + ROWS], rated[first : first + ROWS]
            state = self.forward.read(self.forward.start(len(seen)), seen, scores)
            parts.append(self._choose(state, seen, k, **choice))
        found, probabilities = map(np.concatenate, zip(*parts, strict=True))
        return found, probabilities

    def _choose(
        self, state: State, past: IntArray, k: int, *, exclude: Collection[str | int] = (),
        min_distance: float | None = None, window: int = 4,
        rng: np.random.Generator | None = None, temperature: float = 1.0,
    ) -> tuple[IntArray, FloatArray]:  # fmt: skip
        """Choose for each of B states; ``past`` (B, K) is what was seen, N is padding."""
        if not 0 < temperature < np.inf:
            raise UserError(f"temperature is {temperature}; use a number above 0")
        if window < 1 or (min_distance is not None and not min_distance >= 0):
            found = f"window is {window} and min_distance {min_distance}"
            raise UserError(f"{found}; use 1 or more and a number from 0")
        logits, n_items = self.forward.logits(state), self.forward.n_items
        if temperature != 1:
            logits /= temperature
        row, column = np.nonzero(past < n_items)
        logits[row, past[row, column]] = -np.inf
        logits[:, self._numbers(exclude)] = -np.inf
        if min_distance is not None:
            for one, recent in zip(logits, past[:, -window:], strict=True):
                near = self._distances.near(recent[recent < n_items], min_distance)
                one[near.any(0)] = -np.inf
        keys = logits
        if rng is not None:  # the order of noisy logits is a draw without repeats
            keys = logits - np.log(rng.standard_exponential(logits.shape))
        items = best(keys, min(max(k, 1), n_items))
        if items.shape[1] != k or np.isinf(np.take_along_axis(keys, items[:, -1:], 1)).any():
            free = np.isfinite(logits).sum(1).min(initial=n_items)
            left = f"1 to {free} titles" if free else "no title"
            raise UserError(f"k is {k}; this catalogue, history and choice leave {left}")
        return items, chances(logits, items)

    def _titled(self, items: IntArray, probabilities: FloatArray) -> list[list[Recommendation]]:
        """Return items and probabilities, both (B, k), as one list a row."""
        titles = [[self.titles[item] for item in row] for row in items.tolist()]
        rows = zip(titles, probabilities.tolist(), strict=True)
        return [list(map(Recommendation, *row)) for row in rows]

    def _window(
        self, items: Sequence[Sequence[int]], ratings: Sequence[Sequence[float]]
    ) -> tuple[IntArray, FloatArray]:
        """Return histories of any lengths as arrays (B, K), padded on the left with item N."""
        lengths = [len(row) for row in items]
        if lengths != [len(row) for row in ratings]:
            raise UserError("items and ratings differ in length; give one rating for each item")
        flat = self._numbers(chain.from_iterable(items))
        try:
            rated = np.array(list(chain.from_iterable(ratings)), np.float32)
        except (TypeError, ValueError) as error:
            raise UserError(f"a rating is no number ({error}); ratings go from 1 to 5") from None
        if (bad := np.flatnonzero(~((rated >= 1) & (rated <= 5)))).size:
            title = self.titles[flat[bad[0]]]
            raise UserError(f"the rating of {title!r} is {rated[bad[0]]}; ratings go from 1 to 5")
        longest = max(lengths, default=0)
        known = np.arange(longest) >= longest - np.array(lengths, int)[:, None]
        past, scores = np.full(known.shape, len(self.titles)), np.full(known.shape, 3, np.float32)
        past[known], scores[known] = flat, rated
        return past, scores

    def _known(self, history: History) -> tuple[list[int], list[float]]:
        """Ground each title of a history; return items and ratings."""
        if isinstance(history, str):
            raise UserError(f"the history is one text, {history!r}; give a list of titles")
        items, ratings = [], []
        for entry in history:
            match entry:
                case str(title):
                    rating = LIKED
                case (str(title), rating):
                    pass
                case _:
                    raise UserError(f"{entry!r} is neither a title nor a pair of title and rating")
            items.append(self._ground(title))
            ratings.append(rating)
        return items, ratings

    def _numbers(self, entries: Iterable[str | int]) -> IntArray:
        """Return the items that titles or item numbers stand for, all of the catalogue."""
        items = [self._ground(one) if isinstance(one, str) else one for one in entries]
        found = np.array(items or np.zeros(0, int))
        whole = found.dtype.kind in "iu"
        wrong = found[(found < 0) | (found >= len(self.titles))] if whole else found[:1]
        if wrong.size:
            last = len(self.titles) - 1
            raise UserError(f"no item {wrong[0]}; items are whole numbers from 0 to {last}")
        return found

    def _ground(self, title: str) -> int:
        """Return the item of a title."""
        found = self.grounder.ground(title)
        if found.how == "fuzzy" and found.score < SURE:
            near = ", ".join(repr(name) for name, _ in self.grounder.nearest(title))
            raise UserError(f"no title like {title!r} in the catalogue; the nearest are {near}")
        return found.item

    @cached_property
    def _distances(self) -> Distances:
        """How far apart the items are, by their features."""
        features = self.forward.weights.features
        return Distances(MatrixSource(np.zeros((0, len(features))), features))


class Session:
    """Somebody who is there: what is rated is read once, and the state carried on.

    Args:
        recommender: Recommends.
        history: What is known beforehand.
    """

    def __init__(self, recommender: Recommender, history: History = ()) -> None:
        self.recommender, self.state = recommender, recommender.forward.start(1)
        self.past = np.zeros((1, 0), int)
        self.saw(*history)

    def saw(self, *history: str | tuple[str, float]) -> None:
        """Read titles that have been seen since, each alone (then it was liked) or with a rating.

        Raises:
            UserError: If a title is unknown or a rating is not in 1..5; then nothing is read.
        """
        items, ratings = self.recommender._known(history)
        past, rated = self.recommender._window([items], [ratings])
        self.state = self.recommender.forward.read(self.state, past, rated)
        self.past = np.concatenate([self.past, past], 1)

    def recommend(self, k: int = 10, **choice: Unpack[Choice]) -> list[Recommendation]:
        """Recommend ``k`` titles as :meth:`Recommender.recommend` does for all that was seen."""
        found = self.recommender._choose(self.state, self.past, k, **choice)
        return self.recommender._titled(*found)[0]


def parse_history(text: str) -> list[str | tuple[str, float]]:
    """Read ``"title; title = 2.5"``: titles apart by semicolons, a rating after an equals sign.

    >>> parse_history("Silent Harbour; Iron Rain = 2")
    ['Silent Harbour', ('Iron Rain', 2.0)]
    """
    history: list[str | tuple[str, float]] = []
    for entry in filter(None, (part.strip() for part in text.split(";"))):
        title, _, rating = entry.rpartition(" = ")
        try:
            history.append((title.strip(), float(rating)) if title else entry)
        except ValueError:
            history.append(entry)
    return history
