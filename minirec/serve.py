"""Serve a trained policy: titles in, titles out, no language model anywhere near it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import torch

from minirec._io import UserError, read_json
from minirec.demos.grounding import Grounder
from minirec.rl.policy import RecPolicy, load_policy

LIKED = 5.0  # the rating of a title that is given without one
SURE = 85.0  # of 100: a title whose nearest catalogue title scores less is refused


class Recommendation(NamedTuple):
    """One recommended item: its title and the policy's probability for it."""

    title: str
    probability: float


class Recommender:
    """A trained policy and the catalogue it recommends from.

    Args:
        policy: The trained network.
        titles: The N titles of the catalogue.
    """

    def __init__(self, policy: RecPolicy, titles: Sequence[str]) -> None:
        self.policy, self.titles = policy, tuple(titles)
        self.grounder = Grounder(self.titles)
        with torch.no_grad():
            self.table = policy.table()

    @classmethod
    def load(cls, run: str | Path | None = None) -> Recommender:
        """Load the policy of a run folder, or the one that comes with the package.

        Raises:
            UserError: If the folder holds no finished policy.
        """
        folder = Path(str(resources.files("minirec") / "_bundled")) if run is None else Path(run)
        found = sorted(folder.glob("seed-*/serve-il-rec.pt"))
        if not found:
            raise UserError(
                f"{folder} holds no trained policy; train one with `minirec run --out {folder}`, "
                "or leave --run away to use the one that comes with the package"
            )
        state = torch.load(found[0], weights_only=True, map_location="cpu")
        return cls(load_policy(state), read_json(found[0].with_name("titles.json")))

    @torch.no_grad()
    def recommend(
        self, history: Sequence[str | tuple[str, float]], k: int = 10
    ) -> list[Recommendation]:
        """Recommend ``k`` titles to somebody with this history, best first.

        Args:
            history: Titles, oldest first, each alone (then it was liked) or with a rating in
                1..5. Titles are grounded: spelling and case may differ a little.
            k: How many titles; none of the history is among them.

        Raises:
            UserError: If a title is unknown, a rating is not in 1..5, or ``k`` is out of range.
        """
        items, ratings = self._known(history)
        free = len(self.titles) - len(set(items))
        if not 1 <= k <= free:
            raise UserError(f"k is {k}; this catalogue and history leave 1 to {free} titles")
        window = torch.tensor([items], dtype=torch.int64), torch.tensor([ratings])
        state = self.policy.start(self.table, *window)
        mask = torch.ones(1, len(self.titles), dtype=torch.bool)
        mask[0, items] = False
        best = self.policy.act(self.table, state, mask)[0].softmax(1)[0].topk(k)
        found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [Recommendation(self.titles[item], probability) for item, probability in found]

    def _known(self, history: Sequence[str | tuple[str, float]]) -> tuple[list[int], list[float]]:
        """Ground each title of a history."""
        items, ratings = [], []
        for entry in history:
            title, rating = (entry, LIKED) if isinstance(entry, str) else entry
            if not 1 <= rating <= 5:
                raise UserError(f"the rating of {title!r} is {rating}; ratings go from 1 to 5")
            found = self.grounder.ground(title)
            if found.how == "fuzzy" and found.score < SURE:
                near = ", ".join(repr(name) for name, _ in self.grounder.nearest(title))
                raise UserError(f"no title like {title!r} in the catalogue; the nearest are {near}")
            items.append(found.item)
            ratings.append(float(rating))
        return items, ratings


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
