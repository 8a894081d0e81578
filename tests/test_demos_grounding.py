"""Grounding: the right item for near-miss names, never a blocked one, always the same one."""

from __future__ import annotations

import numpy as np
import pytest

from minirec._io import UserError
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
