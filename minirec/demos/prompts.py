"""What the demonstrator is asked, and how its reply is read."""

from __future__ import annotations

import re
from collections.abc import Sequence

from minirec.demos.chat import Message
from minirec.demos.grounding import one_line
from minirec.world.rules import QuitRules

Rated = tuple[str, float]
"""A title and its rating or reward in rating points."""

FORM = "Thought: <one sentence about what this person likes>\nAction: recommend[TITLE]"
TASK = """\
You recommend one title at a time to one person, who should stay and enjoy it for as long as \
possible. After each recommendation you are told what it earned, from 1 (disliked) to 5 (loved).
{rules}
Recommend only titles that exist in this catalogue, spelled as the catalogue spells them. \
Answer in exactly two lines:
{form}"""
CORRECTION = "I could not read exactly one title there. Answer in exactly two lines:\n"

_REASONING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_ACTION_LINE = re.compile(r"^\W*action\W*\d*\W*:(.*)$", re.MULTILINE | re.IGNORECASE)
_PAIRS = {'""', "''", "``", "**", "__", "“”"}
_RECOMMEND = re.compile(r"recommend\s*\[((?:[^\[\]\n]|\[[^\[\]\n]*\])+)\]", re.IGNORECASE)


def actor_prompt(
    history: Sequence[Rated], episode: Sequence[Rated], rules: QuitRules | None = None
) -> list[Message]:
    """Write the prompt for one recommendation, in plain English.

    Args:
        history: What the person rated before the episode, oldest first.
        episode: What was recommended in it and the reward of each, oldest first.
        rules: When the person quits; None takes the default rules.

    Returns:
        A system message (task, rules, form of the answer) and a user message (the two lists).

    Source:
        The actor role of BiLLP (SIGIR 2024), in our own words. Built in chapter 5.
    """
    task = TASK.format(rules=rules_in_words(rules or QuitRules()), form=FORM)
    question = (
        f"This person rated earlier, oldest first:\n{_listed(history)}\n\n"
        f"You recommended in this session, oldest first:\n{_listed(episode)}\n\n"
        "Which title do you recommend next?"
    )
    return [{"role": "system", "content": task}, {"role": "user", "content": question}]


def correcting(messages: Sequence[Message], reply: str) -> list[Message]:
    """Return ``messages`` with the reply that could not be read and a request to mend it."""
    said: Message = {"role": "assistant", "content": reply}
    return [*messages, said, {"role": "user", "content": CORRECTION + FORM}]


def rules_in_words(rules: QuitRules) -> str:
    """Say in English when the person leaves.

    >>> print(rules_in_words(QuitRules(min_reward=2.5, max_turns=20)))
    The person leaves for good when one earns less than 2.5. There are at most 20 recommendations.
    """
    first = "" if rules.quit_at_first else " after the first"
    words = [f"The person leaves for good when one{first} earns less than {rules.min_reward:g}."]
    if rules.repeats == "masked":
        words += ["Nothing that the person has rated or been recommended may come again."]
    if rules.min_distance is not None and rules.window:
        words += [f"The person also leaves if one is too much like any of the last {rules.window}."]
    return " ".join([*words, f"There are at most {rules.max_turns} recommendations."])


def parse_action(reply: str) -> str | None:
    r"""Read the one recommended title out of a reply; None where there is none, or more than one.

    Forgiven: reasoning in ``<think>`` tags, a missing ``Thought``, case, Markdown, quotation marks,
    the same title said twice. Not forgiven: no ``recommend[...]``, two titles, the placeholder.

    >>> parse_action("Thought: likes ghosts.\nAction: recommend[Ashen Crypt II]")
    'Ashen Crypt II'
    >>> parse_action("Action: recommend[Ashen Crypt] or recommend[Silver Harbor]") is None
    True
    """
    text = _REASONING.sub("", reply)
    lines = _ACTION_LINE.findall(text)
    found = _RECOMMEND.findall("\n".join(lines) if lines else text)
    titles = {_unquoted(one_line(title)) for title in found} - {"", "TITLE"}
    return titles.pop() if len(titles) == 1 else None


def _unquoted(title: str) -> str:
    """Take away pairs of quotation marks and of Markdown's marks around a title."""
    while len(title) > 1 and title[0] + title[-1] in _PAIRS:
        title = title[1:-1].strip()
    return title


def _listed(rated: Sequence[Rated]) -> str:
    """Write one ``- title: rating of 5`` a line."""
    lines = (f"- {one_line(title)}: {rating:.1f} of 5" for title, rating in rated)
    return "\n".join(lines) or "(nothing)"
