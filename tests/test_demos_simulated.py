"""The simulated chat model: reads only its prompt, errs as its dials say."""

from __future__ import annotations

import inspect
import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest

from minirec._io import UserError
from minirec.demos.grounding import Grounder
from minirec.demos.prompts import actor_prompt, prompt, schema
from minirec.demos.replies import ReplyError, parse_action, parse_field, parse_value
from minirec.demos.simulated import SimulatedChat, SimulatedDials
from minirec.world.rules import RULES

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
    read = []
    for seed in range(replies):
        with suppress(ReplyError):
            read.append(parse_action(chat.reply(prompt, seed=seed).text))
    return read


def test_it_is_called_simulated() -> None:
    assert "simulated" in model().name


def test_it_is_given_no_user_and_no_number() -> None:
    constructor = set(inspect.signature(SimulatedChat).parameters)
    assert constructor == {"titles", "genres", "vectors", "quality", "dials", "seed"}
    asked = set(inspect.signature(SimulatedChat.reply).parameters)
    assert asked == {"self", "messages", "seed", "schema"}


def test_same_prompt_same_seed_same_reply_in_any_order() -> None:
    chat, other = model(SimulatedDials()), model(SimulatedDials())
    prompts = [prompt_of(np.eye(3)[k] * sign)[1] for k in range(3) for sign in (-1, 1)]
    forwards = [chat.reply(prompt, seed=4).text for prompt in prompts]
    backwards = [other.reply(prompt, seed=4).text for prompt in reversed(prompts)]
    assert forwards == backwards[::-1]
    assert len({chat.reply(prompts[0], seed=seed).text for seed in range(20)}) > 5


def test_perfect_knowledge_finds_the_best_title_from_ratings_alone() -> None:
    for taste in (*np.eye(3), *-np.eye(3)):
        listed, prompt = prompt_of(taste)
        title = parse_action(model().reply(prompt, seed=0).text)
        expected = QUALITY + VECTORS @ taste
        expected[listed] = -np.inf
        assert title in {TITLES[i] for i in np.argsort(-expected)[:3]}


def test_the_scale_of_the_vectors_does_not_matter() -> None:
    _, prompt = prompt_of(np.array([1.0, -0.5, 0.0]))
    large = SimulatedChat(TITLES, GENRES, 100 * VECTORS + 7, QUALITY, SimulatedDials())
    replies = [model(SimulatedDials()).reply(prompt, seed=s).text for s in range(20)]
    assert replies == [large.reply(prompt, seed=s).text for s in range(20)]


def test_a_stranger_and_unknown_titles_get_an_answer() -> None:
    for history in ([], [("A title nobody knows", 5.0)]):
        assert parse_action(model().reply(actor_prompt(history, []), seed=0).text) in TITLES


def test_listed_titles_are_not_named_again_unless_forgotten() -> None:
    listed, prompt = prompt_of(np.ones(3))
    known = {TITLES[i] for i in listed}
    careful = model(replace(PERFECT, temperature=1.0))
    careless = model(replace(PERFECT, temperature=1.0, forgetting=1.0))
    assert not known & set(titles_written(careful))
    assert known & {parse_action(careless.reply(prompt, seed=s).text) for s in range(100)}


def test_everything_listed_still_gets_an_answer() -> None:
    prompt = actor_prompt([(title, 3.0) for title in TITLES], [])
    assert parse_action(model().reply(prompt, seed=0).text) in TITLES


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


def test_every_role_answers_in_the_form_that_is_asked_for() -> None:
    history, episode = [(TITLES[0], 5.0), (TITLES[1], 1.0)], [(TITLES[2], 4.5), (TITLES[4], 1.5)]
    chat, rules = model(), RULES["no_repeat"]
    for as_json in (False, True):
        read = {}
        for name, parse in (("plan", parse_field), ("value", parse_value)):
            asked = prompt(name, history, episode, rules, json=as_json)
            text = chat.reply(asked, seed=0, schema=schema(name) if as_json else None).text
            read[name] = parse(text) if parse is parse_value else parse(text, name)
            assert text.startswith("{") == as_json
        assert read["value"] == 0  # the rewards of the session are middling
        assert "Sport" in read["plan"] and "Horror" not in read["plan"]
        asked = prompt("reflection", history, episode, rules, json=as_json)
        text = chat.reply(asked, seed=0, schema=schema("reflection") if as_json else None).text
        assert f"Loved: [{TITLES[2]}]" in text and f"such people: [{TITLES[4]}]" in text


def test_what_the_prompt_tells_besides_ratings_moves_its_choice_as_far_as_it_trusts() -> None:
    _, plain = prompt_of(np.ones(3) * 0.5)
    first = parse_action(model().reply(plain, seed=0).text)
    items, _ = prompt_of(np.ones(3) * 0.5)
    ratings = np.clip(3 + QUALITY + VECTORS @ np.ones(3) * 0.5, 1, 5)
    history, rules = [(TITLES[i], ratings[i]) for i in items], RULES["no_repeat"]
    for known in (
        {"experiences": [(first, -1)]},
        {"reflections": [f"Loved: nothing. Not for such people: [{first}]."]},
    ):
        told = prompt("action", history, [], rules, think=True, **known)
        for trust, moved in ((0.0, False), (5.0, True)):
            chat = model(replace(PERFECT, trust=trust))
            assert (parse_action(chat.reply(told, seed=0).text) != first) == moved
    genre = "Horror" if "Sport" in GENRES[TITLES.index(first)] else "Sport"
    told = prompt("action", history, [], rules, think=True, plan=f"More {genre}.")
    chosen = parse_action(model(replace(PERFECT, trust=9.0)).reply(told, seed=0).text)
    assert genre in GENRES[TITLES.index(chosen)]


def test_json_replies_break_as_often_as_the_dial_says() -> None:
    _, asked = prompt_of(np.ones(3))
    chat, broken = model(replace(PERFECT, format_error=0.3)), 0
    for seed in range(400):
        try:
            json.loads(chat.reply(asked, seed=seed, schema=schema("action", think=True)).text)
        except ValueError:
            broken += 1
    assert broken / 400 == pytest.approx(0.3, abs=0.06)


def test_settings_tell_models_apart() -> None:
    found = {str(m.settings) for m in (model(), model(seed=1), model(replace(PERFECT, trust=1.0)))}
    assert len(found) == 3 and model().settings == model().settings
