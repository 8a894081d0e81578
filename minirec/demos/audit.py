"""The audit: what demonstrations show, by numbers, whoever the demonstrator was."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from minirec._io import IntArray, generator
from minirec.data.catalogue import Catalogue
from minirec.demos.roles import ATTEMPTS
from minirec.world.trajectory import Trajectory

SHUFFLES = 100  # over which coherence by chance is averaged


def audit(
    trajectories: Sequence[Trajectory], catalogue: Catalogue | None = None,
    popularity: IntArray | None = None, window: int = 4,
) -> dict[str, Any]:  # fmt: skip
    """Summarise demonstrations: how inventive, how varied, how coherent, how they end.

    Built in chapter 7.

    Args:
        trajectories: One or more; of none every number is 0.
        catalogue: Its genres are needed for ``genres_an_episode`` and for coherence.
        popularity: How often each item was logged, shape (N,).
        window: How many items back a repeat counts, the quit window.

    Returns:
        Plain values; None where what is needed for one was not given.

        *Size*: ``episodes``, ``steps``, ``mean_length`` [items].
        *Rewards* [rating points]: ``mean_return``, also called ``r_traj``, and ``r_each``, the mean
        over the steps whose reward is not ``hidden``.
        *Grounding*: ``invented_share`` (of the titles read, those not literally in the catalogue),
        ``grounding`` (steps by kind), ``score_by_kind`` (mean score, where there is one),
        ``blocked`` (titles of the catalogue that were barred), ``invalid_episodes`` and
        ``unreadable_replies`` (two in each of these, as many as our actor asks for).
        *Repeats*: ``repeats`` (steps that showed an item of the episode again),
        ``window_repeats`` (one of the last ``window``) and ``repeat_quits`` (episodes at whose last
        step the user was shown one of these, and quit).
        *Ends*: ``ends``, the share of episodes by reason.
        *Diversity*: ``distinct_items``; ``distinct_share`` of the steps; ``top10_share``, the share
        of steps that showed one of the ten items shown most; ``effective_items``, the exponential
        of the entropy of what was shown; ``genres_an_episode``.
        *Popularity*: ``popularity``, the mean share of the catalogue's items that were logged less
        often than the shown one, ties counting half: 0.5 shows no bias, 1 the best known only.
        *Coherence*: of the steps with a thought or a plan, ``coherence`` is the share that names a
        genre of the item shown, or a part of it like ``Fiction`` of ``Literature & Fiction``, in
        singular or plural; ``coherence_by_chance`` is the same with the items shuffled.
        *Cost*: ``cost``, the mean ``calls``, ``prompt_tokens`` and ``reply_tokens`` an episode,
        over the episodes that tell.
    """
    nothing: tuple[dict[str, Any], ...] = ({},)
    steps = [
        (act, float(reward), info)
        for t in trajectories
        for act, reward, info in zip(
            t.acts.tolist(), t.rews, t.infos or nothing * len(t), strict=True
        )
    ]
    acts, episodes = np.array([act for act, *_ in steps], int), len(trajectories)
    ends = dict(sorted(Counter(t.reason for t in trajectories).items()))
    mean_return = sum(reward for _, reward, _ in steps) / max(episodes, 1)
    again = [[act in t.acts[max(k - window, 0) : k] for k, act in enumerate(t.acts)]
             for t in trajectories]  # fmt: skip
    genres = catalogue and _mean(
        len({name for act in t.acts for name in catalogue.genres[act]}) for t in trajectories
    )
    return {
        "episodes": episodes, "steps": len(steps), "mean_length": len(steps) / max(episodes, 1),
        "mean_return": mean_return, "r_traj": mean_return,
        "r_each": _mean(reward for _, reward, info in steps if not info.get("hidden")),
        **_grounding([info for *_, info in steps if "how" in info], ends.get("invalid", 0)),
        "repeats": sum(len(t) - len(np.unique(t.acts)) for t in trajectories),
        "window_repeats": sum(map(sum, again)),
        "repeat_quits": sum(
            t.terminal and told[-1] for t, told in zip(trajectories, again, strict=True)
        ),
        "ends": {reason: count / episodes for reason, count in ends.items()},
        **_diversity(acts), "genres_an_episode": genres,
        "popularity": None if popularity is None else _mean(
            ((rankdata(popularity) - 0.5) / len(popularity))[acts].tolist()
        ),
        **_coherence([(thought, act) for act, _, info in steps
                      if (thought := info.get("thought") or info.get("plan"))], catalogue),
        "cost": _cost(trajectories),
    }  # fmt: skip


def _mean(values: Iterable[float]) -> float:
    """Return the mean, or 0 of nothing."""
    kept = list(values)
    return sum(kept) / max(len(kept), 1)


def _grounding(infos: list[dict[str, Any]], invalid: int) -> dict[str, Any]:
    """Count how titles were grounded, and what could not be read."""
    hows = Counter(info["how"] for info in infos)
    scored = [info for info in infos if info["score"] is not None]
    return {
        "invented_share": _mean(not info["literal"] for info in infos),
        "grounding": dict(sorted(hows.items())),
        "score_by_kind": {
            how: _mean(info["score"] for info in scored if info["how"] == how)
            for how in sorted({info["how"] for info in scored})
        },
        "blocked": sum(info["literal"] and info["how"] != "exact" for info in infos),
        "unreadable_replies": sum("rejected" in info for info in infos) + ATTEMPTS * invalid,
        "invalid_episodes": invalid,
    }


def _diversity(acts: IntArray) -> dict[str, Any]:
    """Say how many items the steps, (S,), spread over."""
    counts = np.sort(np.unique(acts, return_counts=True)[1])[::-1]
    shares = counts / max(len(acts), 1)
    effective = np.exp(-(shares * np.log(shares)).sum()) if len(acts) else 0
    return {
        "distinct_items": len(counts), "distinct_share": len(counts) / max(len(acts), 1),
        "top10_share": float(shares[:10].sum()), "effective_items": float(effective),
    }  # fmt: skip


def _coherence(said: list[tuple[str, int]], catalogue: Catalogue | None) -> dict[str, Any]:
    """Compare the genres that thoughts name with those of the items shown."""
    if catalogue is None or not said:
        return {"coherence": None, "coherence_by_chance": None}
    names = catalogue.genre_names
    parts = [[_words(part) for part in re.split("[,&/]", name)] for name in names]
    texts = [_words(thought) for thought, _ in said]
    named = np.array([[any(part in text for part in own) for own in parts] for text in texts])
    have = np.array([[name in catalogue.genres[act] for name in names] for _, act in said])
    rng = generator(0, "coherence by chance")
    orders = [np.arange(len(said)), *(rng.permutation(len(said)) for _ in range(SHUFFLES))]
    found, *chance = (float((named & have[order]).any(1).mean()) for order in orders)
    return {"coherence": found, "coherence_by_chance": _mean(chance)}


def _words(text: str) -> str:
    """Return the words of a text in the singular, with a blank before and after each."""
    words = re.findall(r"\w+", text.casefold())
    return f" {' '.join(re.sub('(?<!s)s$', '', re.sub('ies$', 'ys', w)) for w in words)} "


def _cost(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Return the mean cost of the episodes that tell it."""
    paid = [[info["cost"] for info in t.infos if "cost" in info] for t in trajectories]
    told = [sum(map(Counter[str], costs), Counter[str]()) for costs in paid if costs]
    names = sorted({name for cost in told for name in cost})
    return {name: _mean(cost[name] for cost in told) for name in names}
