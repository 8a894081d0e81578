"""The simulated chat model: reads only its prompt, errs as its dials say."""

from __future__ import annotations

import inspect
from dataclasses import replace

import numpy as np
import pytest

from minirec._io import UserError
from minirec.demos.grounding import Grounder
from minirec.demos.prompts import actor_prompt, parse_action
from minirec.demos.simulated import SimulatedChat, SimulatedDials

N = 200
FIRST = ["Ashen", "Silver", "Quiet", "Furious", "Neon", "Royal", "Tender"]
LAST = ["Harbor", "Crypt", "Orbit", "Kite", "Saddle", "Rose", "Waltz", "Gambit"]
TITLES = [f"{FIRST[i % 7]} {LAST[i % 8]} {i}" for i in range(N)]
GENRES = [("Horror",) if i % 2 else ("Sport", "Comedy") for i in range(N)]
VECTORS = np.random.default_rng(1).normal(size=(N, 3))
QUALITY = 0.3 * np.random.default_rng(2).normal(size=N)
PERFECT = SimulatedDials(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def model(dials: SimulatedDials = PERFECT, seed: int = 0) -> SimulatedChat:
    return SimulatedChat(TITLES, GENRES, VECTORS, QUALITY, dials, seed)


def prompt_of(taste: np.ndarray, rows: int = 30, seed: int = 0) -> tuple[list[int], list]:
    """The prompt of somebody with this taste, and the items listed in it."""
    items = np.random.default_rng(seed).choice(N, rows, replace=False).tolist()
    ratings = np.clip(3 + QUALITY + VECTORS @ taste, 1, 5)
    return items, actor_prompt([(TITLES[i], ratings[i]) for i in items], [])


def titles_written(chat: SimulatedChat, replies: int = 400) -> list[str]:
    _, prompt = prompt_of(np.ones(3) * 0.5)
    read = [parse_action(chat.reply(prompt, seed=seed)) for seed in range(replies)]
    return [title for title in read if title is not None]


def test_it_is_called_simulated() -> None:
    assert "simulated" in model().name


def test_it_is_given_no_user_and_no_number() -> None:
    constructor = set(inspect.signature(SimulatedChat).parameters)
    assert constructor == {"titles", "genres", "vectors", "quality", "dials", "seed"}
    assert set(inspect.signature(SimulatedChat.reply).parameters) == {"self", "messages", "seed"}


def test_same_prompt_same_seed_same_reply_in_any_order() -> None:
    chat, other = model(SimulatedDials()), model(SimulatedDials())
    prompts = [prompt_of(np.eye(3)[k] * sign)[1] for k in range(3) for sign in (-1, 1)]
    forwards = [chat.reply(prompt, seed=4) for prompt in prompts]
    backwards = [other.reply(prompt, seed=4) for prompt in reversed(prompts)]
    assert forwards == backwards[::-1]
    assert len({chat.reply(prompts[0], seed=seed) for seed in range(20)}) > 5


def test_perfect_knowledge_finds_the_best_title_from_ratings_alone() -> None:
    for taste in (*np.eye(3), *-np.eye(3)):
        listed, prompt = prompt_of(taste)
        title = parse_action(model().reply(prompt, seed=0))
        expected = QUALITY + VECTORS @ taste
        expected[listed] = -np.inf
        assert title in {TITLES[i] for i in np.argsort(-expected)[:3]}


def test_the_scale_of_the_vectors_does_not_matter() -> None:
    _, prompt = prompt_of(np.array([1.0, -0.5, 0.0]))
    large = SimulatedChat(TITLES, GENRES, 100 * VECTORS + 7, QUALITY, SimulatedDials())
    replies = [model(SimulatedDials()).reply(prompt, seed=s) for s in range(20)]
    assert replies == [large.reply(prompt, seed=s) for s in range(20)]


def test_a_stranger_and_unknown_titles_get_an_answer() -> None:
    for history in ([], [("A title nobody knows", 5.0)]):
        assert parse_action(model().reply(actor_prompt(history, []), seed=0)) in TITLES


def test_listed_titles_are_not_named_again_unless_forgotten() -> None:
    listed, prompt = prompt_of(np.ones(3))
    known = {TITLES[i] for i in listed}
    careful = model(replace(PERFECT, temperature=1.0))
    careless = model(replace(PERFECT, temperature=1.0, forgetting=1.0))
    assert not known & set(titles_written(careful))
    assert known & {parse_action(careless.reply(prompt, seed=s)) for s in range(100)}


def test_everything_listed_still_gets_an_answer() -> None:
    prompt = actor_prompt([(title, 3.0) for title in TITLES], [])
    assert parse_action(model().reply(prompt, seed=0)) in TITLES


def test_hallucination_is_the_share_of_titles_not_in_the_catalogue() -> None:
    shares = []
    for dial in (0.0, 0.3, 0.6, 1.0):
        written = titles_written(model(replace(PERFECT, temperature=0.5, hallucination=dial)))
        shares.append(np.mean([title not in TITLES for title in written]))
    assert shares[0] == 0 and shares == sorted(shares)
    assert np.allclose(shares, (0, 0.3, 0.6, 1.0), atol=0.12)


def test_invented_titles_mostly_ground_to_what_was_meant() -> None:
    chosen = titles_written(model(replace(PERFECT, temperature=0.5)))
    written = titles_written(model(replace(PERFECT, temperature=0.5, hallucination=1.0)))
    grounder = Grounder(TITLES)
    kept = [
        grounder.ground(w).item == TITLES.index(c) for w, c in zip(written, chosen, strict=True)
    ]
    assert 0.3 < np.mean(kept) < 0.95


def test_format_errors_are_unreadable_and_as_frequent_as_asked() -> None:
    for dial in (0.0, 0.25, 1.0):
        read = len(titles_written(model(replace(PERFECT, format_error=dial))))
        assert read / 400 == pytest.approx(1 - dial, abs=0.06)


def test_popularity_bias_concentrates_the_choice() -> None:
    distinct = [
        len(set(titles_written(model(replace(PERFECT, temperature=0.5, popularity_bias=bias)))))
        for bias in (0.0, 1.0, 3.0)
    ]
    assert distinct == sorted(distinct, reverse=True) and distinct[0] > 2 * distinct[-1]


@pytest.mark.parametrize(
    "bad", [{"hallucination": 1.2}, {"format_error": -0.1}, {"temperature": -1.0}]
)
def test_dials_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UserError, match=next(iter(bad))):
        SimulatedDials(**bad)


def test_mismatched_knowledge_is_refused() -> None:
    with pytest.raises(UserError, match="differ in length"):
        SimulatedChat(TITLES, GENRES, VECTORS[:-1], QUALITY)
