"""The title grammar of the small world: invented works whose names tell what they are like.

Five hidden factors have two poles each. A genre has a place on all five; an adjective in the title
pushes one of them; works of one series share almost everything. So whoever reads *Ashen Crypt II*
(Horror, 1979) can guess much, but not all, of who will like it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from minirec._io import FloatArray

FACTORS = ("dark", "fast", "wonder", "heart", "classic")

GENRES: dict[str, tuple[tuple[float, ...], str]] = {
    "Adventure": ((-0.2, 0.9, 0.4, 0.1, 0.4), "Compass Jungle Summit Caravan Island Expedition"),
    "Comedy": ((-1.0, 0.3, -0.3, 0.3, -0.4), "Pancake Nephew Parrot Wedding Landlord Trousers"),
    "Drama": ((0.4, -0.8, -0.6, 0.7, 0.0), "Inheritance Verdict Kitchen Daughter Staircase Letter"),
    "Family": ((-0.9, 0.0, 0.6, 0.6, 0.1), "Treehouse Puppy Lantern Birthday Kite Snowman"),
    "Fantasy": ((0.2, 0.2, 1.0, 0.2, 0.6), "Dragon Crown Wizard Rune Griffin Sorceress"),
    "History": ((0.5, 0.0, -0.7, 0.2, 0.9), "Regiment Empress Trench Galleon Treaty Musket"),
    "Horror": ((1.0, 0.2, 0.5, -0.4, 0.0), "Crypt Scream Cellar Coffin Werewolf Ghost"),
    "Mystery": ((0.6, -0.4, -0.4, -0.7, 0.5), "Alibi Detective Poison Manor Witness Cipher"),
    "Puzzle": ((-0.4, -0.8, 0.2, -1.0, -0.2), "Labyrinth Clockwork Mosaic Gambit Riddle Mirror"),
    "Romance": ((-0.4, -0.5, -0.4, 1.0, 0.2), "Rose Kiss Promise Harbor Waltz Bride"),
    "Science Fiction": ((0.2, 0.3, 0.9, -0.5, -0.9), "Orbit Android Nebula Colony Reactor Comet"),
    "Sport": ((-0.5, 0.9, -0.8, 0.1, -0.4), "League Sprint Penalty Champion Circuit Goalkeeper"),
    "Thriller": ((0.7, 0.8, -0.5, -0.4, -0.5), "Hostage Assassin Countdown Informer Getaway Spy"),
    "Western": ((0.3, 0.5, -0.6, -0.1, 1.0), "Saddle Sheriff Canyon Outlaw Prairie Revolver"),
}
"""Genre: its place on the five factors, and the nouns of its titles."""

ADJECTIVES = (  # for each factor the words of its high pole, then those of its low pole
    ("Ashen Cursed Bleak Bloodstained Grim", "Merry Sunny Cosy Gentle Golden"),
    ("Furious Rapid Burning Reckless Roaring", "Quiet Patient Drowsy Still Slow"),
    ("Enchanted Starlit Floating Impossible Dreaming", "Ordinary Honest Dusty Plain Iron"),
    ("Beloved Tender Faithful Longing Silver", "Clever Secret Logical Crooked Cold"),
    ("Ancient Bygone Forgotten Old Royal", "Neon Digital Modern Chrome Electric"),
)
WORDS = " ".join(f"{high} {low}" for high, low in ADJECTIVES)
TAILS = ("Nights", "Diaries", "Stories", "Blues", "Club", "Rising")
RESPELT = {"Harbor": "Harbour", "Rune": "Runes", "Ghost": "Ghosts", "Rose": "Roses"}
NUMERALS = ("II", "III", "IV", "V")


@dataclass(frozen=True)
class Work:
    """One invented work.

    Attributes:
        title: Its name, unique in its catalogue even without case, articles and punctuation.
        genres: One genre or two, the main one first.
        year: When it came out.
        factors: Its place on the five factors, shape (5,), dimensionless.
        series: Works of one series share this number.
    """

    title: str
    genres: tuple[str, ...]
    year: int
    factors: FloatArray
    series: int


def invent_works(n_items: int, rng: np.random.Generator) -> list[Work]:
    """Invent ``n_items`` works: about half stand alone, the rest come in series of up to five.

    One first work in six comes with a stranger of nearly its name (``Silver Harbor``, ``Silver
    Harbour Nights``) but of its own genres. The order is shuffled, so an index tells nothing.
    """
    works: dict[str, Work] = {}
    series = 0
    while len(works) < n_items:
        first = _first_work(series, rng)
        family, n_sequels = [first], rng.choice(5, p=[0.68, 0.12, 0.1, 0.06, 0.04])
        for numeral in NUMERALS[:n_sequels]:
            family.append(_sequel(first, numeral, family[-1].year, rng))
        if rng.random() < 1 / 6:
            family.append(_near_miss(first, series + 1, rng))
        if not any(plain(work.title) in works for work in family):
            works |= {plain(work.title): work for work in family}
            series += 2
    kept = list(works.values())[:n_items]
    return [kept[index] for index in rng.permutation(n_items)]


def plain(title: str) -> str:
    """Return a title without case, articles and punctuation.

    >>> plain("The Ashen Crypt II: The Quiet Rose")
    'ashen crypt ii quiet rose'
    """
    words = title.casefold().replace(":", "").split()
    return " ".join(word for word in words if word != "the")


def _first_work(series: int, rng: np.random.Generator) -> Work:
    """Invent a work that stands alone or opens a series."""
    names = list(GENRES)
    genres = tuple(names[g] for g in rng.choice(len(names), 1 + (rng.random() < 0.5), False))
    noun, adjective = _draw(GENRES[genres[0]][1], rng), _draw(WORDS, rng)
    if len(genres) == 2 and rng.random() < 0.5:
        title = f"{noun} of the {adjective} {_draw(GENRES[genres[1]][1], rng)}"
    else:
        title = f"{'The ' if rng.random() < 0.4 else ''}{adjective} {noun}"
    return _work(title, genres, series, rng)


def _sequel(first: Work, numeral: str, after: int, rng: np.random.Generator) -> Work:
    """Return the next part of the series of ``first``, which comes out after the year ``after``."""
    title, factors = f"{first.title} {numeral}", first.factors
    if rng.random() < 0.4:
        subtitle = f"The {_draw(WORDS, rng)} {_draw(GENRES[first.genres[0]][1], rng)}"
        title, factors = f"{title}: {subtitle}", factors + 0.4 * _push(subtitle)
    factors = factors + rng.normal(0, 0.1, len(FACTORS))
    return replace(first, title=title, year=after + int(rng.integers(1, 4)), factors=factors)


def _near_miss(known: Work, series: int, rng: np.random.Generator) -> Work:
    """Return a work of nearly the same name as ``known``, with its own genres and factors."""
    words = [RESPELT.get(word, word) for word in known.title.split()]
    title = " ".join([*words, TAILS[rng.integers(len(TAILS))]])
    return _work(title, _first_work(series, rng).genres, series, rng)


def _work(title: str, genres: tuple[str, ...], series: int, rng: np.random.Generator) -> Work:
    """Place a work on the factors by its genres, the first counting double, and by its title."""
    places = np.array([GENRES[genre][0] for genre in genres])
    factors = np.average(places, axis=0, weights=(2, 1)[: len(genres)]) + _push(title)
    factors = factors + rng.normal(0, 0.2, len(FACTORS))
    year = int(np.clip(1990 - 14 * factors[-1] + rng.normal(0, 6), 1930, 2002))
    return Work(title, genres, year, factors, series)


def _push(title: str) -> FloatArray:
    """Return what the adjectives of a title add to the factors, shape (5,)."""
    words = title.split()
    poles = [(high.split(), low.split()) for high, low in ADJECTIVES]
    counts = [sum((word in high) - (word in low) for word in words) for high, low in poles]
    return 0.7 * np.array(counts)


def _draw(words: str, rng: np.random.Generator) -> str:
    """Draw one of the words in a text."""
    choices = words.split()
    return choices[rng.integers(len(choices))]
