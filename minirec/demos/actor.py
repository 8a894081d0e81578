"""A chat model plays the environment, and every step keeps what was said."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from minirec._io import IntArray, UserError, in_order
from minirec.demos.chat import ChatModel
from minirec.demos.grounding import Grounder
from minirec.demos.memory import Memories
from minirec.demos.prompts import Rated
from minirec.demos.replies import ReplyError, parse_action, parse_field, parse_value
from minirec.demos.roles import Asker, Roles, lessons, situation
from minirec.world.env import RecEnv
from minirec.world.histories import Histories
from minirec.world.rules import QuitRules
from minirec.world.sources import RewardSource
from minirec.world.trajectory import Trajectory

REFLECTIONS, EXPERIENCES = 2, 4  # how many of each are recalled


def demonstrate(
    source: RewardSource, rules: QuitRules, histories: Histories, users: Iterable[int] | IntArray,
    chat: ChatModel, grounder: Grounder, *, seed: int = 0, K: int = 10, history: str = "log",
    log_items: int = 15, done: Iterable[Trajectory] = (), roles: Roles | None = None,
    memories: Memories | None = None, batch: int = 16, calls: int = 1, block_recent: bool = True,
) -> Iterator[Trajectory]:  # fmt: skip
    """Let a chat model recommend to one user after another.

    An episode depends on ``seed``, its user and what is remembered of earlier batches, so neither
    the number of ``calls`` at a time nor a stop in between changes it: a stopped run goes on with
    the users that are not ``done``. A reply that cannot be read is asked for once more; if that
    fails too, the episode stops there with reason ``invalid``, as in BiLLP, and with ``no_reply``
    where the call failed for good; ``terminal`` is False then. Other roles are done without.

    Args:
        source: Pays the rewards that the prompt shows.
        rules: When users quit.
        histories: What is known of each user beforehand.
        users: One episode for each.
        chat: The demonstrator.
        grounder: Holds the titles of the items.
        seed: Seeds the calls of the chat model.
        K: Length of the observations.
        history: Whether observations start with the ``log`` or with ``none`` of it.
        log_items: How many logged items the prompt shows.
        done: Finished episodes; their users are skipped.
        roles: Who speaks; None takes an actor that thinks before it acts.
        memories: What is remembered; needed where ``roles`` reflect or judge.
        batch: How many episodes start from the same memories.
        calls: How many episodes are played at a time, each with one call at a time.
        block_recent: Keep grounding from the items of the quit window too, where rules have one.
            What rules mask is always kept from.

    Yields:
        Trajectories in the order of ``users``; each step's info holds the raw ``reply``, the
        ``rejected`` reply before it if there was one, the ``thought`` and ``title`` read, ``how``
        it was grounded, its ``score`` (0 to 100), whether it is ``literal``, its ``cost`` in calls
        and tokens, and what other roles said and recalled.

    Raises:
        UserError: If memories are needed and there are none.
    """
    roles = roles or Roles()
    if roles.remember and memories is None:
        raise UserError("roles that reflect or judge need memories; pass memories=Memories.of(...)")
    env = RecEnv(source, rules, histories, K=K, history=history)
    stage = _Stage(env, chat, grounder, roles, memories, seed, log_items, block_recent)
    finished, order = {trajectory.user: trajectory for trajectory in done}, [int(u) for u in users]
    size = batch if roles.remember else max(len(order), 1)
    for first in range(0, len(order), size):
        group = order[first : first + size]
        fresh = [user for user in group if user not in finished]
        for trajectory in in_order(stage.episode, fresh, calls):
            if roles.remember:
                finished[trajectory.user] = trajectory
            yield trajectory
        if memories is not None and roles.remember:
            notes = [stage.lessons(finished[user]) for user in group]
            memories.reflections.commit([note for pair in notes for note in pair[0]])
            memories.experiences.commit([note for pair in notes for note in pair[1]])


@dataclass(frozen=True)
class _Stage:
    """What all episodes share."""

    env: RecEnv
    chat: ChatModel
    grounder: Grounder
    roles: Roles
    memories: Memories | None
    seed: int
    log_items: int
    block_recent: bool

    def known(self, user: int) -> list[Rated]:
        """Return the titles and ratings of the user's log that a prompt shows."""
        items, ratings = self.env.histories.of(user)
        first = max(len(items) - self.log_items, 0)
        pairs = zip(items[first:], ratings[first:], strict=True)
        return [(self.grounder.titles[item], float(rating)) for item, rating in pairs]

    def lessons(self, trajectory: Trajectory) -> Any:
        """Return what to remember of an episode: reflections and experiences."""
        history = [title for title, _ in self.known(trajectory.user)]
        shown = [self.grounder.titles[item] for item in trajectory.acts]
        rewards, quit = trajectory.rews.tolist(), trajectory.terminal
        return lessons(trajectory.user, history, shown, rewards, trajectory.infos, quit)

    def episode(self, user: int) -> Trajectory:
        """Play one episode."""
        env, titles = copy.copy(self.env), self.grounder.titles
        obs, info = env.reset(options={"user": user})
        asker = Asker(self.chat, self.roles, env.rules, (self.seed, user), self.known(user))
        windows, infos, acts, rews = [obs], list[dict[str, Any]](), list[int](), list[float]()
        terminal, truncated, reason = False, False, "invalid"
        while not (terminal or truncated):
            said = self.speak(asker, [(titles[i], r) for i, r in zip(acts, rews, strict=True)])
            if "title" not in said:
                reason = "no_reply" if "failed" in said else "invalid"
                break
            found = self.grounder.ground(said["title"], self.blocked(info["action_mask"], acts))
            obs, reward, terminal, truncated, info = env.step(found.item)
            windows.append(obs)
            acts.append(found.item)
            rews.append(reward)
            infos.append(said | {"how": found.how, "score": found.score, "literal": found.literal})
        if self.roles.reflect and infos:
            played = [(titles[i], r) for i, r in zip(acts, rews, strict=True)]
            text, _ = asker.ask("reflection", lambda r: parse_field(r, "reflection"), played)
            infos[-1] |= {"reflection": text} if text else {}
            infos[-1]["cost"] = dict(Counter(infos[-1]["cost"]) + asker.spent())
        return Trajectory(
            user, {name: np.stack([window[name] for window in windows]) for name in obs},
            np.array(acts, np.int64), np.array(rews, np.float32), tuple(infos), terminal,
            reason=info.get("reason", reason),
        )  # fmt: skip

    def blocked(self, mask: Any, acts: list[int]) -> list[int]:
        """Return the items that grounding must not find; none where that would be all of them."""
        rules = self.env.rules
        window = rules.window if self.block_recent and rules.min_distance is not None else 0
        blocked = {*np.flatnonzero(~mask).tolist(), *acts[max(len(acts) - window, 0) :]}
        return sorted(blocked) if len(blocked) < len(mask) else []

    def speak(self, asker: Asker, episode: list[Rated]) -> dict[str, Any]:
        """Let the roles speak in turn; return what they said, with a ``title`` if all is well."""
        roles, said = self.roles, dict[str, Any]()
        first, plan, experiences = list[str](), "", list[tuple[str, int]]()
        if roles.judge:
            said["value"], _ = asker.ask("value", parse_value, episode)
        if self.memories is not None and roles.remember:
            seen = [title for title, _ in [*asker.history, *episode]]
            of_people = situation([title for title, _ in asker.history])
            notes = self.memories.reflections.recall(of_people, REFLECTIONS)
            tried = self.memories.experiences.recall(situation(seen), EXPERIENCES)
            first, experiences = [n.text for n in notes], [(n.text, n.sign) for n in tried]
            said["recalled"] = [[note.user, note.text, note.sign] for note in (*notes, *tried)]
        if roles.plan:
            read, _ = asker.ask("plan", lambda r: parse_field(r, "plan"), episode,
                                reflections=first)  # fmt: skip
            plan, first = read or "", []
            said["plan"] = read
        title, spoken = asker.ask("action", parse_action, episode, reflections=first,
                                  experiences=experiences, plan=plan)  # fmt: skip
        said |= spoken | {"cost": dict(asker.spent())}
        if title is not None:
            said["title"] = title
            with suppress(ReplyError):
                said["thought"] = parse_field(said["reply"], "thought")
        return said
