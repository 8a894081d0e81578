"""A simulated chat model: knows the titles as a language model might, and reads only its prompt.

It stands in for a language model where none can run. It is given neither users nor item numbers:
titles and ratings are parsed out of the prompt's text, the answer is text, and prompt, parser and
grounding are those of a real model. Results name it *simulated*. Built in chapters 5 and 6.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from minirec._io import FloatArray, IntArray, UserError, generator
from minirec.demos.chat import Message, Reply
from minirec.demos.grounding import one_line
from minirec.demos.simulated_text import Told, malformed, read_prompt, reflection, words, written

MIDDLE = 3.0  # of the ratings, in rating points
RIDGE = 1.0  # variance of what the factors leave unexplained over variance of the taste
FAME_FROM_QUALITY = 0.5  # correlation of the two
_YEAR = re.compile(r"\s*\(\d{4}\)$")
_ROMAN = ("", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")
_DRESSED = ("{}, please", "{} (Deutsche Fassung)", "la saga {}", "{}: Definitive Edition", "My {}")


@dataclass(frozen=True)
class SimulatedDials:
    """How the simulated chat model errs.

    The defaults were set by auditing recorded GPT-3.5 demonstrations of BiLLP (chapter 7), not by
    what a policy learns from them: two thirds of the titles are not in the catalogue, the ten
    items shown most take 30 % of the recommendations, and sessions are as short.

    Attributes:
        knowledge_noise: Noise on each known factor and quality, in their standard deviations.
        temperature: Spread of its choice among the titles, in rating points.
        popularity_bias: What one standard deviation of fame adds on top, in rating points; it
            has heard more of some titles than of others, and only partly of the better ones.
        hallucination: How often the chosen title is written down wrongly, 0 to 1.
        format_error: How often a reply breaks the form that was asked for, 0 to 1.
        forgetting: How often a title listed in the prompt is overlooked, 0 to 1.
        trust: How much it minds what its prompt tells it besides ratings, in rating points: by a
            plan for the kinds it names, by reflections and experiences for each title.

    Raises:
        UserError: If a dial is out of range.
    """

    knowledge_noise: float = 1.2
    temperature: float = 0.2
    popularity_bias: float = 0.8
    hallucination: float = 0.7
    format_error: float = 0.02
    forgetting: float = 0.05
    trust: float = 0.5

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            top = 1.0 if name in ("hallucination", "format_error", "forgetting") else np.inf
            if name != "popularity_bias" and not 0 <= value <= top:
                raise UserError(f"{name} is {value}; use a number from 0 to {top}")


class SimulatedChat:
    """Infers a taste from the ratings in its prompt and names a title that fits, imperfectly.

    Args:
        titles: The titles it knows.
        genres: The genres of each; it talks about them in its thoughts.
        vectors: True (or fitted) item factors, shape (N, d), any scale; it keeps a noisy copy.
        quality: What everybody thinks of each item, shape (N,), rating points; likewise.
        dials: How it errs.
        seed: Decides what it knows wrongly.

    Raises:
        UserError: If the arguments do not describe the same N titles.
    """

    name = "simulated chat model"

    def __init__(
        self, titles: Sequence[str], genres: Sequence[Sequence[str]], vectors: FloatArray,
        quality: FloatArray, dials: SimulatedDials | None = None, seed: int = 0,
    ) -> None:  # fmt: skip
        sizes = {len(titles), len(genres), len(vectors), len(quality)}
        if len(sizes) > 1:
            raise UserError(f"titles, genres, vectors, quality differ in length: {sorted(sizes)}")
        self.titles, self.genres, self.seed = tuple(titles), tuple(genres), seed
        self.dials = dials or SimulatedDials()
        rng = generator(seed, "simulated knowledge")
        unit = vectors - vectors.mean(0)
        unit = unit / max(float(np.sqrt((unit**2).sum(1).mean())), 1e-12)  # mean square length 1
        self._vectors = self._half_known(unit, rng)
        self._quality = self._half_known(quality - quality.mean(), rng)
        heard = rng.normal(size=len(titles))  # fame is only partly earned
        earned = self._quality / max(float(self._quality.std()), 1e-12)
        fame = FAME_FROM_QUALITY * earned + np.sqrt(1 - FAME_FROM_QUALITY**2) * heard
        self._appeal = self._quality + self.dials.popularity_bias * fame
        self._index = {one_line(title): item for item, title in enumerate(self.titles)}

    @property
    def settings(self) -> dict[str, Any]:
        """Return its name, a hash of all that it knows, and its dials."""
        known = np.column_stack([self._vectors, self._quality, self._appeal]).round(5)
        titles = "\n".join(self.titles).encode()
        digest = hashlib.sha256(known.tobytes() + titles + str(self.seed).encode()).hexdigest()
        return {"model": self.name, "digest": digest, "options": asdict(self.dials)}

    def reply(
        self, messages: Sequence[Message], *, seed: int, schema: dict[str, Any] | None = None
    ) -> Reply:
        """Answer in the role and form that are asked for; deterministic per messages and seed."""
        rng = np.random.default_rng([self.seed, seed])
        asked, told = read_prompt(messages)
        listed = [(t, r) for t, r in asked.rated if t in self._index]
        items = np.array([self._index[title] for title, _ in listed], np.int64)
        ratings = np.array([rating for _, rating in listed])
        fields = dict[str, str | int]()
        if asked.field == "action":
            item = self._choose(items, ratings, told, rng)
            title = self.titles[item]
            if rng.random() < self.dials.hallucination:
                title = self._misremembered(title, rng)
            liked = self.genres[items[ratings.argmax()] if len(items) else item]
            if asked.think:
                praise = " and ".join(liked) or "many things"
                fields["thought"] = f"This person seems to like {praise}."
            fields["action"] = title
        elif asked.field == "plan":
            fields["plan"] = self._plan(items, ratings, told)
        elif asked.field == "value":
            mean = float(np.mean([r for _, r in asked.session[-3:]] or [MIDDLE]))
            fields["value"] = int(np.clip(np.rint(2 * (mean - MIDDLE)), -5, 5))
        else:
            fields["reflection"] = reflection(asked.session)
        other = ""
        if rng.random() < self.dials.format_error:
            other = self.titles[rng.integers(len(self.titles))]
            text = malformed(fields, other, int(rng.integers(3)), schema is not None)
        else:
            text = written(fields, schema is not None)
        read = sum(words(message["content"]) for message in messages)
        return Reply(text, prompt_tokens=read, reply_tokens=words(text))

    def _half_known(self, truth: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Return ``truth`` with noise in proportion to the spread of each of its columns."""
        noise = self.dials.knowledge_noise * truth.std(0) * rng.normal(size=truth.shape)
        return np.asarray(truth + noise)

    def _plan(self, items: IntArray, ratings: FloatArray, told: Told) -> str:
        """Name the two genres that were rated best, each mean drawn to the middle by one rating.

        A good or bad word on a title counts like a rating that is ``trust`` from the middle.
        """
        found = defaultdict[str, list[float]](list)
        rated = list(zip(items.tolist(), (ratings - MIDDLE).tolist(), strict=True))
        heard = [(self._index[t], self.dials.trust * s) for t, s in told.titles if t in self._index]
        for item, above in rated + heard:
            for genre in self.genres[item]:
                found[genre].append(above)
        best = sorted(found, key=lambda g: (-sum(found[g]) / (1 + len(found[g])), g))[:2]
        return f"More {' and '.join(best) or 'of everything'}, since these were rated best so far."

    def _choose(
        self, items: IntArray, ratings: FloatArray, told: Told, rng: np.random.Generator
    ) -> int:
        """Draw a title from the softmax of its expected ratings, leaving out the listed ones.

        The taste is the posterior mean under a normal prior: ridge regression of the ratings, less
        quality, on the noisy factors of the titles in the prompt, with a free intercept.
        """
        score = self._appeal
        if len(items):
            seen = self._vectors[items] - self._vectors[items].mean(0)
            gram = seen.T @ seen + RIDGE * np.eye(seen.shape[1])
            taste = np.linalg.solve(gram, seen.T @ (ratings - self._quality[items]))
            score = score + self._vectors @ taste
        if told.titles or told.plan:
            score = score + self.dials.trust * self._hearsay(told)
        score = score + self.dials.temperature * rng.gumbel(size=len(score))
        remembered = items[rng.random(len(items)) >= self.dials.forgetting]
        if len(np.unique(remembered)) < len(score):
            score[remembered] = -np.inf
        return int(score.argmax())

    def _hearsay(self, told: Told) -> FloatArray:
        """Return what the prompt says of each item besides ratings, shape (N,), -1 to 1 or so."""
        heard = np.zeros(len(self.titles))
        for title, sign in told.titles:
            if title in self._index:
                heard[self._index[title]] += sign
        planned = [any(genre in told.plan for genre in genres) for genres in self.genres]
        return np.asarray(np.clip(heard, -2, 2) + planned)

    def _misremembered(self, title: str, rng: np.random.Generator) -> str:
        """Write a title wrongly: a sequel, another subtitle, another word, or dressed up."""
        another = self.titles[rng.integers(len(self.titles))]
        name, other = (_YEAR.sub("", text) or text for text in (title, another))
        year, kind = title[len(name) :], rng.integers(4)
        if kind == 0:
            name = _sequel(name, int(rng.integers(1, 3)))
        elif kind == 1:
            name = f"{name.partition(':')[0]}: {other.partition(': ')[2] or other}"
        elif kind == 2:
            words, others = name.split(), other.split()
            words[rng.integers(len(words))] = others[rng.integers(len(others))]
            name = " ".join(words)
        else:
            name = _DRESSED[rng.integers(len(_DRESSED))].format(name)
        return name + year


def _sequel(name: str, later: int) -> str:
    """Return the name of a part ``later`` parts after this one, whether or not there is one.

    >>> _sequel("Ashen Crypt II: The Quiet Rose", 2), _sequel("Toy Train 2", 1), _sequel("Kite", 1)
    ('Ashen Crypt IV', 'Toy Train 3', 'Kite II')
    """
    head = name.partition(":")[0]
    start, _, last = head.rpartition(" ")
    if start and last.isdecimal() and len(last) < 3:
        return f"{start} {int(last) + later}"
    part = _ROMAN.index(last) if start and last in _ROMAN else 0
    return f"{start if part else head} {_ROMAN[min(part + later, len(_ROMAN) - 1)]}"
