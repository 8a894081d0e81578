"""Memory: exact search, committed in order, never more than it may hold."""

from __future__ import annotations

import numpy as np

from minirec.demos.memory import Memory, Note
from minirec.demos.vectors import NgramVectors

WORDS = ["ghost", "train", "harbour", "kite", "orbit", "saddle", "waltz", "rune"]


def notes(n: int, seed: int = 0) -> list[Note]:
    rng = np.random.default_rng(seed)
    return [Note("; ".join(rng.choice(WORDS, 4)), f"note {i}", 0, i) for i in range(n)]


def test_recall_equals_brute_force() -> None:
    vectors, stored = NgramVectors(), notes(200)
    memory = Memory(vectors)
    memory.commit(stored[:70])
    memory.commit(stored[70:])
    for query in notes(30, seed=1):
        asked = vectors.vectors([query.situation])[0]
        near = [float(vectors.vectors([n.situation])[0] @ asked) for n in stored]
        best = sorted(range(200), key=lambda i: (-round(near[i], 5), i))[:5]
        assert memory.recall(query.situation, 5) == [stored[i] for i in best]


def test_how_notes_are_batched_does_not_matter() -> None:
    one, many = Memory(NgramVectors()), Memory(NgramVectors())
    one.commit(notes(40))
    for note in notes(40):
        many.commit([note])
    assert all(one.recall(w, 3) == many.recall(w, 3) for w in WORDS)
    assert one.log == many.log


def test_the_oldest_are_forgotten_and_the_log_says_so() -> None:
    memory, stored = Memory(NgramVectors(), capacity=25), notes(40)
    for first in range(0, 40, 8):
        memory.commit(stored[first : first + 8])
    assert memory.notes == stored[15:]
    assert set(memory.recall("ghost", 99)) == set(stored[15:])
    gone = [row["text"] for row in memory.log if row["event"] == "forgotten"]
    assert gone == [note.text for note in stored[:15]]
    assert sum(row["event"] == "stored" for row in memory.log) == 40


def test_an_empty_memory_recalls_nothing() -> None:
    memory = Memory(NgramVectors())
    memory.commit([])
    assert memory.recall("ghost", 3) == [] and memory.log == []
