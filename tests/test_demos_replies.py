"""Replies are read tolerantly, but never guessed; what cannot be read raises one error."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minirec.demos.prompts import FIELDS, form
from minirec.demos.replies import ReplyError, parse_action, parse_field, parse_value

FORM = form("action", think=True)
AWKWARD = [
    "Silver Harbor",
    "Kite: The Last Wish",
    "'burbs, The (1989)",
    "Relic [Gold Cut]",
    "5 of 5",
]
MALFORMED = 10_000


@pytest.mark.parametrize("title", AWKWARD)
def test_what_the_form_asks_for_is_read_back(title: str) -> None:
    assert parse_action(f"Thought: why not.\nAction: recommend[{title}]") == title
    assert parse_action(json.dumps({"thought": "Why not.", "action": title})) == title


@pytest.mark.parametrize(
    "reply",
    [
        "recommend[Silver Harbor]",
        "ACTION:  Recommend [ Silver   Harbor ]  ",
        "**Action:** recommend[**Silver Harbor**]",
        'Thought: not recommend[Kite].\nAction 3: recommend["Silver Harbor"]\nObservation: 4.0',
        "<think>recommend[Kite]? No.</think>Action: recommend[Silver Harbor]",
        "Action: recommend[Silver Harbor]\nAction: recommend[Silver Harbor]",
        '```json\n{"Action": "recommend[Silver Harbor]"}\n```',
        ' {"action": "Silver Harbor", "thought": {"deep": [1]}}',
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
        form("action", think=True, json=True),
        "Action: recommend[Silver Harbor] or recommend[Kite]",
        "<think>recommend[Silver Harbor]",
        '{"action": "Silver Harbor"',
        '{"action": ["Silver Harbor"]}',
        '{"action": true}',
        '{"title": "Silver Harbor"}',
        '{"type": "object", "properties": {"action": {"type": "string"}}}',
    ],
)
def test_not_forgiven(reply: str) -> None:
    with pytest.raises(ReplyError, match=r"instead of one|no action|JSON"):
        parse_action(reply)


def test_fields_and_values() -> None:
    assert parse_field("Plan: ghosts,  then \t trains\nPlan: no", "plan") == "ghosts, then trains"
    assert parse_field('{"plan": "ghosts"}', "plan") == "ghosts"
    read = [parse_value(f"Value: {v}") for v in ("-5", "+3", "\u22122", "4 (good)")]
    assert read == [-5, 3, -2, 4]
    assert parse_value('{"value": -4}') == -4
    for bad in ("Value: 7", "Value: 2.5", "Value: high", "3", "Value:", '{"value": 1e9}'):
        with pytest.raises(ReplyError):
            parse_value(bad)
    with pytest.raises(ReplyError, match="no plan"):
        parse_field("Thought: ghosts", "plan")


SCRAPS = st.sampled_from([
    "Thought:", "Action:", "Action 2 :", "recommend", "[", "]", "{", "}", '"', ":", "\n",
    "```json\n", "<think>", "</think>", "null", "Value:", "-5", "Plan:", '{"action": ', "**",
    '{"value": ', "TITLE", "9" * 5000, "[" * 3000, " " * 3000, "\ud800", "\x00",
    "Gedanke: Geister.", "Aktion: empfehle[Kite]", *FIELDS.values(),
])  # fmt: skip
REPLIES = st.one_of(
    st.text(max_size=300),
    st.lists(st.one_of(SCRAPS, st.text(max_size=12)), max_size=25).map("".join),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from([*FIELDS, "Action", "x"]), inner, max_size=4),
        ),
        max_leaves=8,
    ).map(json.dumps),
)


@settings(
    max_examples=MALFORMED, deadline=None, database=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(REPLIES)
def test_whatever_comes_back_only_the_documented_error_is_raised(reply: str) -> None:
    for parse in (
        parse_action,
        parse_value,
        lambda text: parse_field(text, "plan"),
        lambda text: parse_field(text, "thought"),
    ):
        try:
            read = parse(reply)
        except ReplyError:
            continue
        assert read != "" and (isinstance(read, str) or -5 <= read <= 5)


@pytest.mark.parametrize("scrap", ["recommend[", "Action:", "**", "<think>", "\n", "\n*", "{", "`"])
def test_long_replies_take_no_longer_than_their_length(scrap: str) -> None:
    reply = scrap * (20_000 // len(scrap))
    for _ in range(3):
        with pytest.raises(ReplyError):
            parse_action(reply)
