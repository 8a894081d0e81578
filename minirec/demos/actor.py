"""The actor: a chat model plays the environment, and every step keeps what was said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from minirec._io import IntArray
from minirec.demos.chat import ChatModel, Message
from minirec.demos.grounding import Grounder
from minirec.demos.prompts import actor_prompt, correcting, parse_action
from minirec.world.env import RecEnv
from minirec.world.histories import Histories
from minirec.world.rules import QuitRules
from minirec.world.sources import RewardSource
from minirec.world.trajectory import Trajectory

ATTEMPTS = 2  # the question, and one request to mend a reply that cannot be read


def demonstrate(
    source: RewardSource, rules: QuitRules, histories: Histories, users: Iterable[int] | IntArray,
    chat: ChatModel, grounder: Grounder, *, seed: int = 0, K: int = 10, history: str = "log",
    log_items: int = 15, done: Iterable[Trajectory] = (),
) -> Iterator[Trajectory]:  # fmt: skip
    """Let a chat model recommend to one user after another.

    An episode depends on ``seed`` and its user alone, so order does not matter and a run that was
    stopped goes on with the users that are not ``done``. Where the rules mask repeats, grounding
    is kept from masked items. A reply that cannot be read is asked for once more; if that fails
    too, the episode stops there with reason ``invalid`` and ``terminal`` False, as in BiLLP.

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

    Yields:
        Trajectories; each step's info holds the raw ``reply``, the ``rejected`` reply before it
        if there was one, the ``title`` read, ``how`` it was grounded, its ``score`` (0 to 100) and
        whether it is ``literal``.
    """
    env = RecEnv(source, rules, histories, K=K, history=history)
    finished = {trajectory.user for trajectory in done}
    for user in users:
        if int(user) not in finished:
            yield _episode(env, int(user), chat, grounder, seed, log_items)


def audit(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """Summarise demonstrations: how long, how inventive, how often unreadable.

    Returns:
        ``episodes``, ``steps``, ``mean_length``, ``mean_return`` (rating points),
        ``invented_share`` (of the titles read, those not literally in the catalogue),
        ``grounding`` (steps by kind), ``blocked`` (titles of the catalogue that were barred),
        ``unreadable_replies``, ``invalid_episodes`` and ``repeats`` (steps that showed an item
        again).
    """
    infos = [info for trajectory in trajectories for info in trajectory.infos]
    invalid = sum(trajectory.reason == "invalid" for trajectory in trajectories)
    steps, episodes = len(infos), len(trajectories)
    return {
        "episodes": episodes, "steps": steps,
        "mean_length": steps / max(episodes, 1),
        "mean_return": sum(float(t.rews.sum()) for t in trajectories) / max(episodes, 1),
        "invented_share": sum(not info["literal"] for info in infos) / max(steps, 1),
        "grounding": dict(sorted(Counter(info["how"] for info in infos).items())),
        "blocked": sum(info["literal"] and info["how"] != "exact" for info in infos),
        "unreadable_replies": sum("rejected" in info for info in infos) + ATTEMPTS * invalid,
        "invalid_episodes": invalid,
        "repeats": sum(len(t.acts) - len(np.unique(t.acts)) for t in trajectories),
    }  # fmt: skip


def _episode(
    env: RecEnv, user: int, chat: ChatModel, grounder: Grounder, seed: int, log_items: int
) -> Trajectory:
    """Play one episode."""
    obs, info = env.reset(options={"user": user})
    titles, (logged, ratings) = grounder.titles, env.histories.of(user)
    first = max(len(logged) - log_items, 0)
    known = [(titles[i], float(r)) for i, r in zip(logged[first:], ratings[first:], strict=True)]
    windows, infos, acts, rews = [obs], [], list[int](), list[float]()
    terminal = truncated = False
    while not (terminal or truncated):
        episode = [(titles[item], reward) for item, reward in zip(acts, rews, strict=True)]
        said = _ask(chat, actor_prompt(known, episode, env.rules), [seed, user, len(acts)])
        if said is None:
            break
        blocked = np.flatnonzero(~info["action_mask"]).tolist()
        found = grounder.ground(said["title"], blocked if len(blocked) < len(titles) else ())
        obs, reward, terminal, truncated, info = env.step(found.item)
        windows.append(obs)
        acts.append(found.item)
        rews.append(reward)
        infos.append(said | {"how": found.how, "score": found.score, "literal": found.literal})
    return Trajectory(
        user, {name: np.stack([window[name] for window in windows]) for name in obs},
        np.array(acts, np.int64), np.array(rews, np.float32), tuple(infos), terminal,
        reason=info.get("reason", "invalid"),
    )  # fmt: skip


def _ask(chat: ChatModel, messages: list[Message], seeds: list[int]) -> dict[str, Any] | None:
    """Ask until a title can be read, ``ATTEMPTS`` times at most; None if it never can."""
    rejected: dict[str, Any] = {}
    for attempt in range(ATTEMPTS):
        seed = int(np.random.SeedSequence([*seeds, attempt]).generate_state(1)[0] >> 1)  # 31 bits
        reply = chat.reply(messages, seed=seed)
        title = parse_action(reply)
        if title is not None:
            return {"reply": reply, "title": title} | rejected
        messages, rejected = correcting(messages, reply), {"rejected": reply}
    return None
