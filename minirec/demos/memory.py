"""What a demonstrator remembers: notes, found again by the text of the situation they are from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from minirec.demos.vectors import TextVectors


@dataclass(frozen=True)
class Note:
    """One thing to remember.

    Attributes:
        situation: The text by which it is found.
        text: A reflection, or a title.
        sign: For a title, whether it did better (1) or worse (-1) than expected; else 0.
        user: Whose episode it is from.
    """

    situation: str
    text: str
    sign: int
    user: int


class Memory:
    """Exact search for the notes whose situations are nearest. Built in chapter 6.

    Notes are committed in the order of the episodes, between two batches of them; so what is
    recalled does not depend on which of several episodes at a time was faster.

    Args:
        vectors: Turns situations into vectors of length 1.
        capacity: How many notes are kept; the oldest are forgotten.
    """

    def __init__(self, vectors: TextVectors, capacity: int = 10_000) -> None:
        self.vectors, self.capacity, self.notes = vectors, capacity, list[Note]()
        self.log: list[dict[str, Any]] = []
        self._matrix = np.zeros((0, 0), np.float32)

    def commit(self, notes: Sequence[Note]) -> None:
        """Remember notes; forget the oldest where there are too many."""
        if not notes:
            return
        fresh = self.vectors.vectors([note.situation for note in notes])
        matrix = np.concatenate([self._matrix, fresh]) if self.notes else fresh
        everything = self.notes + list(notes)
        gone = max(len(everything) - self.capacity, 0)
        self.log += [{"event": "stored", **asdict(note)} for note in notes]
        self.log += [{"event": "forgotten", **asdict(note)} for note in everything[:gone]]
        self.notes, self._matrix = everything[gone:], matrix[gone:]

    def recall(self, situation: str, k: int) -> list[Note]:
        """Return the ``k`` notes nearest by cosine, best first; ties go to the older one."""
        if not self.notes or k < 1:
            return []
        nearness = (self._matrix @ self.vectors.vectors([situation])[0]).round(5)
        return [self.notes[i] for i in np.argsort(-nearness, kind="stable")[:k]]


@dataclass(frozen=True)
class Memories:
    """The two memories of BiLLP: paragraphs on whole sessions, and titles tried in situations."""

    reflections: Memory
    experiences: Memory

    @classmethod
    def of(cls, vectors: TextVectors, capacity: int = 10_000) -> Memories:
        """Start with nothing in either."""
        return cls(Memory(vectors, capacity), Memory(vectors, capacity))
