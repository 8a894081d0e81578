"""Grounding: the right item for near-miss names, never a blocked one, always the same one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from minirec._io import FloatArray, UserError
from minirec.demos.grounding import Grounder, normalise

TITLES = [
    "Silver Harbor",
    "Silver Harbour Nights",
    "The Ashen Crypt",
    "Ashen Crypt II",
    "Ashen Crypt III: The Quiet Rose",
    "Matrix, The (1999)",
    "Sabrina (1954)",
    "Sabrina (1995)",
    "Amélie",
    "Dark Matter",
    "Dark Matter",
]


@pytest.fixture(scope="module")
def grounder() -> Grounder:
    return Grounder(TITLES)


def test_every_title_finds_itself(grounder: Grounder) -> None:
    for item, title in enumerate(TITLES):
        found = grounder.ground(title)
        assert TITLES[found.item] == title and (found.how, found.score) == ("exact", 100)
        assert found.literal and (found.item == item or title == "Dark Matter")


@pytest.mark.parametrize(
    ("text", "title", "how"),
    [
        ("silver harbor", "Silver Harbor", "normalised"),
        ("Ashen Crypt", "The Ashen Crypt", "normalised"),
        ("The Matrix", "Matrix, The (1999)", "normalised"),
        ("sabrina 1995", "Sabrina (1995)", "normalised"),
        ("SABRINA", "Sabrina (1954)", "normalised"),
        ("Amelie!", "Amélie", "normalised"),
        ("Silver Harbour", "Silver Harbor", "fuzzy"),
        ("Silver Harbor Nights", "Silver Harbour Nights", "fuzzy"),
        ("Ashen Crypt IV", "Ashen Crypt II", "fuzzy"),
        ("Ashen Crypt III: The Silent Rose", "Ashen Crypt III: The Quiet Rose", "fuzzy"),
        ("The Matrix (1998)", "Matrix, The (1999)", "fuzzy"),
    ],
)
def test_near_misses(grounder: Grounder, text: str, title: str, how: str) -> None:
    found = grounder.ground(text)
    assert (TITLES[found.item], found.how, found.literal) == (title, how, False)
    assert (found.score == 100) == (how == "normalised")


def test_blocked_items_never_come_back(grounder: Grounder) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        blocked = rng.choice(len(TITLES), rng.integers(len(TITLES)), replace=False).tolist()
        title = TITLES[rng.integers(len(TITLES))]
        found = grounder.ground(title.swapcase() if rng.random() < 0.5 else title, blocked)
        assert found.item not in blocked
    assert grounder.ground("Dark Matter", {9}).item == 10
    moved = grounder.ground("Dark Matter", {9, 10})
    assert (moved.how, moved.literal) == ("fuzzy", True)


def test_nothing_left_and_nothing_at_all(grounder: Grounder) -> None:
    with pytest.raises(UserError, match="all 11 titles are blocked"):
        grounder.ground("Silver Harbor", range(len(TITLES)))
    with pytest.raises(UserError, match="no titles"):
        Grounder([])


def test_any_text_grounds_the_same_way_twice(grounder: Grounder) -> None:
    for text in ["", "???", "千と千尋の神隠し", "x" * 500, "recommend[", "Silver Harbor\n(1994)"]:
        assert grounder.ground(text) == Grounder(TITLES).ground(text)


def test_nearest_are_sorted_and_lead_with_the_grounding(grounder: Grounder) -> None:
    near = grounder.nearest("Ashen Crypt IV", k=3)
    scores = [score for _, score in near]
    assert scores == sorted(scores, reverse=True)
    assert near[0][0] == TITLES[grounder.ground("Ashen Crypt IV").item]


def test_normalising_twice_changes_nothing() -> None:
    for title in [*TITLES, "The A", "!!!", "千と千尋"]:
        assert normalise(normalise(title)) == normalise(title) != ""


class Letters:
    """Text vectors that anyone can count: how often each letter comes."""

    name = "letters"

    def __init__(self) -> None:
        self.asked = 0

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        self.asked += len(texts)
        letters = "abcdefghijklmnopqrstuvwxyz"
        rows = np.array([[float(text.casefold().count(a)) for a in letters] for text in texts])
        return np.float32(rows / np.maximum(1e-9, np.linalg.norm(rows, axis=1, keepdims=True)))


def test_the_vector_rung_equals_brute_force() -> None:
    rng, by_vector = np.random.default_rng(1), Grounder(TITLES, Letters(), fuzzy_from=101)
    for _ in range(200):
        blocked = rng.choice(len(TITLES), rng.integers(len(TITLES)), replace=False).tolist()
        text = "".join(rng.choice(list("abcdehilnorst "), 12))
        found = by_vector.ground(text, blocked)
        cosines = (Letters().vectors(TITLES) @ Letters().vectors([text])[0]).round(5)
        free = [item for item in range(len(TITLES)) if item not in blocked]
        assert found.item == max(free, key=lambda item: (cosines[item], -item))
        assert (found.how, found.literal) == ("vector", False)
        assert found.score == pytest.approx(100 * cosines[found.item], abs=0.01)
    with pytest.raises(UserError, match="all 11 titles are blocked"):
        by_vector.ground("x", range(len(TITLES)))


def test_the_rungs_come_in_order() -> None:
    letters = Letters()
    ladder, plain = Grounder(TITLES, letters, fuzzy_from=80), Grounder(TITLES)
    for text in ("Silver Harbor", "silver harbor", "Silver Harbour"):
        assert ladder.ground(text) == plain.ground(text)
    assert letters.asked == 0  # no rung is climbed in vain
    assert plain.ground("Rosy Crypts of Ash").how == "fuzzy"
    assert ladder.ground("tarmrakdet").how == "vector"
    assert ladder.ground("Dark Matter", {9, 10}).literal
    ladder.ground("xyz")
    assert letters.asked == len(TITLES) + 3


@pytest.mark.parametrize("fuzzy_from", [0, 60, 80, 101])
def test_a_fuzzy_score_decides_the_rung(fuzzy_from: float, grounder: Grounder) -> None:
    ladder = Grounder(TITLES, Letters(), fuzzy_from)
    for text in ("Silver Harbour", "Ashen Crypt IV", "Dark Horse", "q"):
        fuzzy, found = grounder.ground(text), ladder.ground(text)
        assert found == fuzzy if fuzzy.score >= fuzzy_from else found.how == "vector"
