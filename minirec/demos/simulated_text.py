"""How the simulated chat model reads its prompt and writes its answer: text only, as for any model.

Built in chapters 5 and 6.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minirec.demos.chat import Message
from minirec.demos.prompts import EXPERIENCES, FIELDS, PLAN, RECOMMENDED, REFLECTIONS, Rated

GOOD, BAD = "Loved: ", "Not for such people: "
_LISTED = re.compile(r"^- (.+): (-?\d+(?:\.\d+)?) of 5$", re.MULTILINE)
_SIGNED = re.compile(r"^([+-]) \[(.+)\]$", re.MULTILINE)
_BRACKETS = re.compile(r"\[([^\[\]]+)\]")
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Asked:
    """What a prompt asks for, and what was rated.

    Attributes:
        field: What is to be written, one of ``FIELDS``.
        think: Whether a thought is to come first.
        rated: All titles listed with a rating, oldest first.
        session: Those of them that were recommended in this session.
    """

    field: str
    think: bool
    rated: list[Rated]
    session: list[Rated]


@dataclass(frozen=True)
class Told:
    """What a prompt says besides ratings: a plan, and titles with a good (1) or bad (-1) word."""

    plan: str
    titles: list[tuple[str, int]]


def read_prompt(messages: Sequence[Message]) -> tuple[Asked, Told]:
    """Take a prompt apart, from its text alone."""
    system = messages[0]["content"].lower()
    names = [name for name in FIELDS if f"{name}: <" in system or f'"{name}": ' in system]
    names += ["action"] * ("action: " in system and "action" not in names)
    user = "\n".join(message["content"] for message in messages if message["role"] == "user")
    parts = dict.fromkeys((RECOMMENDED, REFLECTIONS, EXPERIENCES, PLAN), "")
    for part in user.split("\n\n"):
        head, _, body = part.partition(":\n")
        if head in parts:
            parts[head] = body
    titles = [(title, 1 if sign == "+" else -1) for sign, title in _SIGNED.findall(user)]
    for line in parts[REFLECTIONS].splitlines():
        good, _, bad = line.partition(BAD)
        titles += [(title, 1) for title in _BRACKETS.findall(good)]
        titles += [(title, -1) for title in _BRACKETS.findall(bad)]
    rated, session = ([(title, float(rating)) for title, rating in _LISTED.findall(text)]
                      for text in (user, parts[RECOMMENDED]))  # fmt: skip
    wanted = [name for name in names if name != "thought"]
    asked = Asked(wanted[-1] if wanted else "action", "thought" in names, rated, session)
    return asked, Told(parts[PLAN], titles)


def reflection(session: Sequence[Rated]) -> str:
    """Look back on a session: the best titles of it, and the last one if it went wrong."""
    loved = [title for title, reward in session if reward >= 4][:3]
    lost = [title for title, reward in session if reward < 2.5][-2:]
    good, bad = (", ".join(f"[{t}]" for t in titles) or "nothing" for titles in (loved, lost))
    return f"{GOOD}{good}. {BAD}{bad}."


def written(fields: Mapping[str, str | int], as_json: bool) -> str:
    """Write an answer in the form that was asked for."""
    if as_json:
        return json.dumps(dict(fields), ensure_ascii=False)
    shown = {name: f"recommend[{v}]" if name == "action" else v for name, v in fields.items()}
    return "\n".join(f"{name.capitalize()}: {value}" for name, value in shown.items())


def malformed(fields: Mapping[str, str | int], other: str, kind: int, as_json: bool) -> str:
    """Write an answer that breaks the form: nothing, no title, or two; or half a JSON object."""
    if kind == 0:
        return ""
    if as_json:
        return written(fields, True)[:-2]
    title = fields.get("action", "something")
    if kind == 1:
        return f"Thought: Hard to say.\nAction: I would suggest {title}."
    return f"Thought: Either would do.\nAction: recommend[{title}] or recommend[{other}]"


def words(text: str) -> int:
    """Count words and marks: about what a language model would count as tokens."""
    return len(_WORD.findall(text))
