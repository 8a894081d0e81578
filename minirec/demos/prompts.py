"""What the demonstrator is asked: one prompt for each role, in plain English."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minirec.demos.chat import Message
from minirec.demos.grounding import one_line
from minirec.world.rules import QuitRules

Rated = tuple[str, float]
"""A title and its rating or reward in rating points."""

FIELDS = {
    "thought": "<one sentence about what this person likes>",
    "action": "recommend[TITLE]",
    "plan": "<which kinds of titles should come next, and why, in one sentence>",
    "value": "<a whole number from -5 to 5>",
    "reflection": "<what was loved, what went wrong, what to do next time, in one paragraph>",
}
"""Everything that a role may be asked to write."""

TASKS = {
    "action": """\
You recommend one title at a time to one person, who should stay and enjoy it for as long as \
possible. After each recommendation you are told what it earned, from 1 (disliked) to 5 (loved).
{rules}
Recommend only titles that exist in this catalogue, spelled as the catalogue spells them. \
""",
    "plan": """\
You plan for somebody who recommends one title at a time to one person, who should stay and enjoy \
it for as long as possible. Each recommendation earns from 1 (disliked) to 5 (loved).
{rules}
Say which kinds of titles should come next: what this person loves, and what is worth a try. \
""",
    "value": """\
You judge how a session of recommendations will go on for one person. Each recommendation earns \
from 1 (disliked) to 5 (loved).
{rules}
Say how the next recommendations will do, from -5 (the person leaves at once) over 0 (middling) \
to 5 (every one is loved). \
""",
    "reflection": """\
You look back on a finished session of recommendations to one person. Each recommendation earned \
from 1 (disliked) to 5 (loved).
{rules}
Say what a recommender should learn from it for people like this one; write titles in brackets. \
""",
}
"""What each role is told, by the last field that it writes."""

QUESTIONS = {
    "action": "Which title do you recommend next?",
    "plan": "What do you plan?",
    "value": "How will the next recommendations do?",
    "reflection": "What do you learn from it?",
}
CORRECTION = "I could not read exactly one {field} there. {form}"
RATED = "This person rated earlier, oldest first"
RECOMMENDED = "You recommended in this session, oldest first"
REFLECTIONS = "You learned from sessions with similar people"
EXPERIENCES = "In situations like this one, these did better (+) or worse (-) than expected"
PLAN = "The plan"


def prompt(
    field: str, history: Sequence[Rated], episode: Sequence[Rated], rules: QuitRules, *,
    think: bool = False, json: bool = False, reflections: Sequence[str] = (),
    experiences: Sequence[tuple[str, int]] = (), plan: str = "",
) -> list[Message]:  # fmt: skip
    """Write the prompt of one role.

    Args:
        field: What the role writes: ``action``, ``plan``, ``value`` or ``reflection``.
        history: What the person rated before the episode, oldest first.
        episode: What was recommended in it and the reward of each, oldest first.
        rules: When the person quits.
        think: Whether a thought comes first.
        json: Whether the answer is to be a JSON object; else it has one line for each field.
        reflections: Paragraphs on earlier sessions.
        experiences: Titles that did better (1) or worse (-1) than expected.
        plan: What the planner said.

    Returns:
        A system message (task, rules, form of the answer) and a user message (what is known).

    Source:
        The roles of BiLLP (SIGIR 2024), in our own words. Built in chapters 5 and 6.
    """
    known = {RATED: _listed(history), RECOMMENDED: _listed(episode)}
    if reflections:
        known[REFLECTIONS] = "\n".join(f"* {one_line(text)}" for text in reflections)
    if experiences:
        signed = (f"{'+' if sign > 0 else '-'} [{one_line(title)}]" for title, sign in experiences)
        known[EXPERIENCES] = "\n".join(signed)
    if plan:
        known[PLAN] = one_line(plan)
    asked = "\n\n".join(f"{head}:\n{body}" for head, body in known.items())
    task = TASKS[field].format(rules=rules_in_words(rules)) + form(field, think, json)
    return [
        {"role": "system", "content": task},
        {"role": "user", "content": f"{asked}\n\n{QUESTIONS[field]}"},
    ]


def actor_prompt(
    history: Sequence[Rated], episode: Sequence[Rated], rules: QuitRules | None = None
) -> list[Message]:
    """Write the prompt of an actor that thinks before it acts; see :func:`prompt`."""
    return prompt("action", history, episode, rules or QuitRules(), think=True)


def form(field: str, think: bool = False, json: bool = False) -> str:
    """Say in what form to answer.

    >>> print(form("action", think=True))
    Answer in exactly two lines:
    Thought: <one sentence about what this person likes>
    Action: recommend[TITLE]
    """
    names = ["thought", field] if think else [field]
    if json:
        shown = ", ".join(f'"{name}": "{FIELDS[name]}"' for name in names)
        return f"Answer with one JSON object:\n{{{shown}}}".replace("recommend[TITLE]", "TITLE")
    lines = "\n".join(f"{name.capitalize()}: {FIELDS[name]}" for name in names)
    return f"Answer in exactly {'two lines' if think else 'one line'}:\n{lines}"


def schema(field: str, think: bool = False) -> dict[str, Any]:
    """Return the JSON schema of an answer."""
    names = ["thought", field] if think else [field]
    kinds = {name: {"type": "integer" if name == "value" else "string"} for name in names}
    return {"type": "object", "properties": kinds, "required": names}


def correcting(
    messages: Sequence[Message], reply: str, field: str, wanted: str
) -> list[Message]:
    """Return ``messages``, the reply that could not be read, and a request in the form wanted."""
    mend = CORRECTION.format(field="title" if field == "action" else field, form=wanted)
    return [*messages, {"role": "assistant", "content": reply}, {"role": "user", "content": mend}]


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


def _listed(rated: Sequence[Rated]) -> str:
    """Write one ``- title: rating of 5`` a line."""
    lines = (f"- {one_line(title)}: {rating:.1f} of 5" for title, rating in rated)
    return "\n".join(lines) or "(nothing)"
