"""How replies are read: fields in lines of text or in a JSON object, and one error for the rest."""

from __future__ import annotations

import json
import re
from typing import Any

from minirec.demos.grounding import one_line

_REASONING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"\A\s*```\w*\n(.*?)\n?```\s*\Z", re.DOTALL)
_PAIRS = {'""', "''", "``", "**", "__", "“”"}
_RECOMMEND = re.compile(r"recommend\s*\[((?:[^\[\]\n]|\[[^\[\]\n]*\])+)\]", re.IGNORECASE)
_NUMBER = re.compile(r"[-+\u2212]?\d{1,3}(?![\d.])")


class ReplyError(ValueError):
    """A reply that cannot be read: the one error of all functions here. Its text says why."""


def parse_action(reply: str) -> str:
    r"""Read the one recommended title out of a reply.

    Forgiven: reasoning in ``<think>`` tags, a missing ``Thought``, case, Markdown, quotation marks,
    the same title said twice. Not forgiven: no ``recommend[...]`` (in JSON: no ``action``), two
    titles, the placeholder.

    >>> parse_action("Thought: likes ghosts.\nAction: recommend[Ashen Crypt II]")
    'Ashen Crypt II'
    >>> parse_action('{"thought": "Likes ghosts.", "action": "Ashen Crypt II"}')
    'Ashen Crypt II'
    >>> parse_action("Action: recommend[Ashen Crypt] or recommend[Silver Harbor]")
    Traceback (most recent call last):
    minirec.demos.replies.ReplyError: the reply names 2 titles instead of one

    Raises:
        ReplyError: If there is not exactly one title.
    """
    text = _bare(reply)
    fields = _json(text)
    if fields is None:
        found = _RECOMMEND.findall("\n".join(_lines(text, "action")) or text)
    else:
        said = _text(fields, "action")
        found = _RECOMMEND.findall(said) or [said]
    titles = {_unquoted(one_line(title)) for title in found} - {"", "TITLE", "recommend[TITLE]"}
    if len(titles) != 1:
        raise ReplyError(f"the reply names {len(titles) or 'no'} titles instead of one")
    return titles.pop()


def parse_field(reply: str, name: str) -> str:
    r"""Read one field: what stands behind ``Name:`` up to the line's end, or a JSON object's value.

    >>> parse_field("**Plan:** more Crime, then Comedy\n", "plan")
    'more Crime, then Comedy'

    Raises:
        ReplyError: If there is none, or it is empty.
    """
    text = _bare(reply)
    fields = _json(text)
    if fields is None:
        said = [words for line in _lines(text, name) if (words := one_line(line.strip(" *_")))]
    else:
        said = [one_line(_text(fields, name))]
    if not said or not said[0]:
        raise ReplyError(f"the reply has no {name}")
    return said[0]


def parse_value(reply: str) -> int:
    """Read a whole number from -5 to 5.

    Raises:
        ReplyError: If there is none.
    """
    said = parse_field(reply, "value")
    number = _NUMBER.match(said)
    if number is None or abs(value := int(number[0].replace("\u2212", "-"))) > 5:
        raise ReplyError("the reply's value is not a whole number from -5 to 5")
    return value


def _bare(reply: str) -> str:
    """Take away reasoning and a fence of Markdown around the whole."""
    text = _REASONING.sub("", reply)
    fenced = _FENCE.match(text)
    return fenced[1] if fenced else text


def _lines(text: str, name: str) -> list[str]:
    """Return what follows ``Name:`` on each line that begins so, with a number or Markdown."""
    head = rf"^[^\w\n]*{name}[^\w\n:]{{0,9}}\d{{0,4}}[^\w\n:]{{0,9}}:(.*)$"
    return re.findall(head, text, re.MULTILINE | re.IGNORECASE)


def _json(text: str) -> dict[str, Any] | None:
    """Return the fields of a JSON object, by lower-case name; None if the text is not meant as one.

    Raises:
        ReplyError: If the text begins as JSON and is none.
    """
    if not text.lstrip().startswith("{"):
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise ReplyError("the reply begins as JSON and is none") from None
    return {name.lower(): value for name, value in fields.items()}


def _text(fields: dict[str, Any], name: str) -> str:
    """Return a field of a JSON object that must be text or a number."""
    value = fields.get(name)
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ReplyError(f"the reply has no {name}")
    return str(value) if isinstance(value, str) or abs(value) < 1000 else ""


def _unquoted(title: str) -> str:
    """Take away pairs of quotation marks and of Markdown's marks around a title."""
    while len(title) > 1 and title[0] + title[-1] in _PAIRS:
        title = title[1:-1].strip()
    return title
