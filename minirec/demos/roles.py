"""The roles of a demonstrator: who speaks in an episode, and how each is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from minirec._io import UserError, suggest
from minirec.demos.chat import ChatError, ChatModel
from minirec.demos.memory import Note
from minirec.demos.prompts import Rated, correcting, form, prompt, schema
from minirec.demos.replies import ReplyError
from minirec.world.rules import QuitRules

ATTEMPTS = 2  # the question, and one request to mend a reply that cannot be read
DISCOUNT, MIDDLE = 0.5, 3.0  # of the critic's values; of the rewards, in rating points
RECENT = 10  # titles that make a situation
FIELDS = ("action", "plan", "value", "reflection")

T = TypeVar("T")


@dataclass(frozen=True)
class Roles:
    """Who speaks besides the actor, and in what form. Built in chapter 6.

    Attributes:
        think: The actor writes a thought before its action.
        plan: A planner says first what kinds of titles should come next.
        reflect: A reflector writes a paragraph after each episode; whoever speaks first in later
            episodes reads those on the most similar people.
        judge: A critic values every situation; the actor is told which titles did better or worse
            than expected in situations like the present one.
        json: Answers are JSON objects, to a schema where the chat model knows how.
    """

    think: bool = True
    plan: bool = False
    reflect: bool = False
    judge: bool = False
    json: bool = False

    @property
    def remember(self) -> bool:
        """Whether anything is carried over from one episode to the next."""
        return self.reflect or self.judge


RUNGS = {
    "act": Roles(think=False),
    "think": Roles(),
    "reflect": Roles(reflect=True),
    "billp": Roles(think=False, plan=True, reflect=True, judge=True),
}
"""From one actor alone to planner, actor, critic and reflector, as in BiLLP (SIGIR 2024)."""


def roles_named(name: str) -> Roles:
    """Return one of ``RUNGS``.

    Raises:
        UserError: If there is none of this name.
    """
    if name not in RUNGS:
        raise UserError(f"no roles {name!r}; use one of {', '.join(RUNGS)}.{suggest(name, RUNGS)}")
    return RUNGS[name]


@dataclass
class Asker:
    """Asks the roles of one episode and adds up what it costs.

    Attributes:
        chat: Who plays the roles.
        roles: Which, and in what form.
        rules: When the person quits.
        seeds: Of the run and of the user.
        history: What the person rated before the episode.
        cost: ``calls``, ``prompt_tokens`` and ``reply_tokens`` since it was last :meth:`spent`.
    """

    chat: ChatModel
    roles: Roles
    rules: QuitRules
    seeds: tuple[int, int]
    history: Sequence[Rated]
    cost: Counter[str] = field(default_factory=Counter)

    def ask(
        self, name: str, parse: Callable[[str], T], episode: Sequence[Rated], **known: Any
    ) -> tuple[T | None, dict[str, Any]]:
        """Ask one role until its reply can be read, ``ATTEMPTS`` times at most.

        Args:
            name: The field that it writes, one of ``FIELDS``.
            parse: Reads its reply, or raises a ``ReplyError``.
            episode: What was recommended so far, and the rewards.
            known: What :func:`.prompt` is told besides.

        Returns:
            What was read, None if nothing could be; and ``reply``, the ``rejected`` one before it
            if any, or ``failed`` if there is none at all.
        """
        think, json = self.roles.think and name == "action", self.roles.json
        messages = prompt(name, self.history, episode, self.rules, think=think, json=json, **known)
        said: dict[str, Any] = {}
        for attempt in range(ATTEMPTS):
            role = [FIELDS.index(name)] if name != "action" else []
            seeds = [*self.seeds, len(episode), attempt, *role]
            seed = int(np.random.SeedSequence(seeds).generate_state(1)[0] >> 1)  # 31 bits
            self.cost["calls"] += 1
            try:
                reply = self.chat.reply(messages, seed=seed,
                                        schema=schema(name, think) if json else None)  # fmt: skip
            except ChatError as error:
                return None, said | {"failed": error.kind}
            self.cost["prompt_tokens"] += reply.prompt_tokens
            self.cost["reply_tokens"] += reply.reply_tokens
            try:
                return parse(reply.text), {"reply": reply.text} | said
            except ReplyError:
                messages = correcting(messages, reply.text, name, form(name, think, json))
                said = {"rejected": reply.text}
        return None, said

    def spent(self) -> Counter[str]:
        """Return the cost since the last time, and count anew."""
        spent, self.cost = self.cost, Counter()
        return spent


def situation(titles: Sequence[str]) -> str:
    """Return the text by which memories of a situation are found: the titles seen last."""
    return "; ".join(titles[-RECENT:])


def lessons(
    user: int, history: Sequence[str], shown: Sequence[str], rewards: Sequence[float],
    infos: Sequence[dict[str, Any]], quit: bool,
) -> tuple[list[Note], list[Note]]:  # fmt: skip
    """Return the reflections and the experiences to remember of a finished episode.

    An experience's sign is that of the advantage ``r - 3 + 0.5 V(s') - V(s)``, with the critic's
    values V and V = 0 after the end; the recommendation at which the person quits is a bad one,
    whatever it earned. (BiLLP's released code lost the quit there.)
    """
    texts = [info["reflection"] for info in infos[-1:] if "reflection" in info]
    reflections = [Note(situation(history), text, 0, user) for text in texts]
    values = [info.get("value") for info in infos]
    experiences = []
    for turn, (title, reward) in enumerate(zip(shown, rewards, strict=True)):
        value, later = values[turn], [*values, 0][turn + 1]
        if value is None or later is None:
            continue
        advantage = reward - MIDDLE + DISCOUNT * later - value
        bad = advantage < 0 or (quit and turn == len(shown) - 1)
        where = situation([*history, *shown[:turn]])
        experiences.append(Note(where, title, -1 if bad else 1, user))
    return reflections, experiences
