"""Prompts say what they must, and no more."""

from __future__ import annotations

import pytest

from minirec.demos.prompts import (
    FIELDS,
    actor_prompt,
    correcting,
    form,
    prompt,
    rules_in_words,
    schema,
)
from minirec.world.rules import RULES


def test_prompt_shows_history_episode_and_rules_in_order() -> None:
    history, episode = [("Kite", 4), ("Rune", 1.5)], [("Saddle", 3.26)]
    system, user = actor_prompt(history, episode, RULES["no_repeat"])
    assert [system["role"], user["role"]] == ["system", "user"]
    assert "less than 2." in system["content"] and form("action", think=True) in system["content"]
    places = [user["content"].index(s) for s in ("Kite: 4.0", "Rune: 1.5", "Saddle: 3.3 of 5")]
    assert places == sorted(places)


def test_prompt_of_a_stranger() -> None:
    assert actor_prompt([], [])[1]["content"].count("(nothing)") == 2


def test_rules_in_words_differ_between_presets() -> None:
    words = {name: rules_in_words(rules) for name, rules in RULES.items()}
    assert len(set(words.values())) == len(RULES)
    assert "may come again" in words["no_repeat"] and "last 4" in words["ilrec"]
    assert "after the first" in words["billp"]


def test_correction_keeps_the_question_and_the_bad_reply() -> None:
    messages = actor_prompt([], [])
    longer = correcting(messages, "Hm.", "action", form("action", think=True))
    assert longer[:2] == messages
    assert longer[2] == {"role": "assistant", "content": "Hm."}
    assert longer[3]["role"] == "user" and form("action", think=True) in longer[3]["content"]


@pytest.mark.parametrize("field", ["action", "plan", "value", "reflection"])
@pytest.mark.parametrize("as_json", [False, True])
def test_every_role_is_told_its_form_and_only_what_it_may_know(field: str, as_json: bool) -> None:
    asked = prompt(field, [("Kite", 4.0)], [], RULES["ilrec"], json=as_json)
    assert form(field, json=as_json) in asked[0]["content"]
    others = {name for name in FIELDS if name != field}
    assert not any(FIELDS[name] in asked[0]["content"] for name in others)
    assert asked[1]["content"].count(":\n") == 2  # what was rated, what was recommended


def test_memories_and_plan_have_sections_of_their_own() -> None:
    known = {"reflections": ["One.\nTwo."], "experiences": [("Kite", 1), ("Rune", -1)]}
    text = prompt("action", [], [], RULES["ilrec"], plan="More ghosts.", **known)[1]["content"]
    for line in ("* One. Two.", "+ [Kite]", "- [Rune]", "The plan:\nMore ghosts."):
        assert line in text


def test_schemas_ask_for_all_fields_and_whole_values() -> None:
    assert schema("action", think=True)["required"] == ["thought", "action"]
    assert schema("value")["properties"]["value"]["type"] == "integer"
