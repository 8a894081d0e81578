"""Prompts say what they must; replies are read tolerantly, but never guessed."""

from __future__ import annotations

import pytest

from minirec.demos.prompts import FORM, actor_prompt, correcting, parse_action, rules_in_words
from minirec.world.rules import RULES

AWKWARD = [
    "Silver Harbor",
    "Kite: The Last Wish",
    "'burbs, The (1989)",
    "Relic [Gold Cut]",
    "5 of 5",
]


@pytest.mark.parametrize("title", AWKWARD)
def test_what_the_form_asks_for_is_read_back(title: str) -> None:
    assert parse_action(FORM.replace("TITLE", title)) == title


@pytest.mark.parametrize(
    "reply",
    [
        "recommend[Silver Harbor]",
        "ACTION:  Recommend [ Silver   Harbor ]  ",
        "**Action:** recommend[**Silver Harbor**]",
        'Thought: not recommend[Kite].\nAction 3: recommend["Silver Harbor"]\nObservation: 4.0',
        "<think>recommend[Kite]? No.</think>Action: recommend[Silver Harbor]",
        "Action: recommend[Silver Harbor]\nAction: recommend[Silver Harbor]",
    ],
)
def test_forgiven(reply: str) -> None:
    assert parse_action(reply) == "Silver Harbor"


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "Silver Harbor",
        "Action: Silver Harbor",
        "Action: recommend[Silver Harbor",
        "Action: recommend[ ]",
        FORM,
        "Action: recommend[Silver Harbor] or recommend[Kite]",
        "<think>recommend[Silver Harbor]",
    ],
)
def test_not_forgiven(reply: str) -> None:
    assert parse_action(reply) is None


def test_prompt_shows_history_episode_and_rules_in_order() -> None:
    history, episode = [("Kite", 4), ("Rune", 1.5)], [("Saddle", 3.26)]
    system, user = actor_prompt(history, episode, RULES["no_repeat"])
    assert [system["role"], user["role"]] == ["system", "user"]
    assert "less than 2." in system["content"] and FORM in system["content"]
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
    longer = correcting(messages, "Hm.")
    assert longer[:2] == messages
    assert longer[2] == {"role": "assistant", "content": "Hm."}
    assert longer[3]["role"] == "user" and FORM in longer[3]["content"]
