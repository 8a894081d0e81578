"""One reward recovered on every rung, from exact to adversarial, in worlds that can be enumerated.

    python benchmarks/reward_ladder.py          # needs no data

Five tiny recommenders (4 users, 6 items, a quit window of 2, 10 turns) are enumerated. A
demonstrator is soft optimal in each. Its reward is recovered by maximum-entropy IRL with one number
a state and item, with one a user and item, and with a network, from its exact visits or from 500
sampled sessions; and by AIRL and GAIL, whose policy solves the world exactly. AIRL comes twice: its
potential knows the turn, or it does not. For each: the rank correlation over a user's items, the
distance up to scale and shaping, with and without the constant that pays for survival, and how far
the visits are off. Controls: a constant reward; sessions of a demonstrator that wants nothing in
place of the demonstrator's; a fixed-horizon twin in which nobody quits.

Then each reward is optimised from scratch in changed worlds, other quit windows and other items, as
it is, centred on what was demonstrated, and lifted so that nothing costs. The result is
``book/_results/reward-ladder.json``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from domains import Experiment
from torch import Tensor

from minirec._io import UserError, progress
from minirec.irl.adversarial import Discriminator, adversarial_round
from minirec.irl.compare import rank_correlations, shaping_distance
from minirec.irl.enumerated import (
    Enumerated,
    SoftLearner,
    deep_maxent_step,
    enumerate_world,
    tiny_recommender,
)
from minirec.irl.rewards import RewardForm, RewardNet
from minirec.irl.tabular import (
    empirical_occupancy,
    maxent_irl,
    occupancy,
    sample_episodes,
    soft_value_iteration,
    visits,
)
from minirec.world.batched import BatchedRecEnv

USERS, ITEMS, DISCOUNT, TEMPERATURE, SESSIONS = 4, 6, 0.9, 2.0, 500
SIZE = {"users": USERS, "items": ITEMS}
OLD, NEW = (True,) * 4 + (False,) * 2, (False,) * 2 + (True,) * 4  # items on offer, and later
CHANGES: dict[str, dict[str, Any]] = {
    "quit window 1": {"window": 1}, "quit window 3": {"window": 3}, "other items": {"offered": NEW},
}  # fmt: skip
Reward = Callable[[Enumerated], Any]
"""A recovered reward: gives the table (S, N) of any world with these users and items."""


@dataclass(frozen=True)
class Shown:
    """A world, and what its demonstrator did there.

    Attributes:
        world: The enumerated world.
        truth: The demonstrator's reward, (S, N), in units of its temperature.
        exact: Its discounted visits, (S, N).
        states: Of sampled sessions, (D, T + 1).
        acts: Of sampled sessions, (D, T).
        features: What networks read of an item, (N, f).
    """

    world: Enumerated
    truth: Any
    exact: Any
    states: Any
    acts: Any
    features: Tensor

    @property
    def sampled(self) -> Any:
        """The visits of the sampled sessions, (S, N)."""
        mdp = self.world.mdp
        return visits(mdp, empirical_occupancy(mdp, self.states, self.acts))


@cache
def world_of(
    seed: int, *, window: int = 2, offered: tuple[bool, ...] | None = None, quits: bool = True
) -> Enumerated:
    """Enumerate one tiny recommender; without ``quits`` its fixed-horizon twin."""
    env = tiny_recommender(seed, **SIZE, window=window)
    if not quits:
        rules = replace(env.rules, min_reward=0.0, min_distance=None)
        env = BatchedRecEnv(env.source, rules, env.histories, K=env.K)
    some = None if offered is None else np.array(offered)
    return enumerate_world(env, np.arange(SIZE["users"]), discount=DISCOUNT, offered=some)


def demonstrated(seed: int, *, aimless: bool = False, **how: Any) -> Shown:
    """Let the soft optimal demonstrator play, or one that chooses at random."""
    world = world_of(seed, **how)
    truth = world.true_reward / TEMPERATURE
    policy = soft_value_iteration(world.mdp, 0 * truth if aimless else truth).policy
    exact = visits(world.mdp, occupancy(world.mdp, policy))
    states, acts = sample_episodes(world.mdp, policy, SESSIONS, np.random.default_rng(seed))
    vectors = tiny_recommender(seed, **SIZE).source.item_vectors()
    features = torch.cat([torch.eye(ITEMS), torch.from_numpy(vectors)], 1)
    return Shown(world, truth, exact, states, acts, features)


def spread(table: Any, world: Enumerated) -> Reward:
    """Carry a table over to other worlds by its mean for each user and item."""
    mean = world.by_user(table, world.live.astype(float))
    mean = np.where(np.isfinite(mean), mean, np.nanmean(mean))

    def reward(other: Enumerated) -> Any:
        same = other is world
        return table if same else np.where(other.live, mean[other.users], 0.0)

    return reward


def tabular(shown: Shown, seen: Any, penalty: float) -> Reward:
    """Fit one number a state and item."""
    fit = maxent_irl(shown.world.mdp, seen, penalty=penalty, tolerance=1e-5)
    return spread(fit.reward, shown.world)


def linear(shown: Shown, seen: Any, penalty: float) -> Reward:
    """Fit one number a user and item."""
    world = shown.world
    features = np.zeros((*world.live.shape, SIZE["users"] * ITEMS))
    states, acts = world.live.nonzero()
    features[states, acts, world.users[states] * ITEMS + acts] = 1
    fit = maxent_irl(world.mdp, seen, features, penalty=penalty, tolerance=1e-5)
    return spread(fit.reward, world)


def read(net: RewardNet) -> Reward:
    """Return g of a network as a table of any world."""

    def reward(world: Enumerated) -> Any:
        steps = world.every_step()
        return world.table(net.reward(steps.items, steps.rewards, steps.acts))

    return reward


def network(shown: Shown, seed: int, *, timed: bool = False) -> RewardNet:
    """Return an untrained reward network, whose potential may know the turn."""
    limit = shown.world.mdp.horizon if timed else None
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return RewardNet(shown.features, hidden=32, discount=DISCOUNT, turn_limit=limit)


def deep(shown: Shown, seed: int, steps: int) -> Reward:
    """Fit a network with the exact gradient of maximum-entropy IRL."""
    net, seen = network(shown, seed), shown.sampled
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    rates = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        deep_maxent_step(
            shown.world, seen, lambda s: net.reward(s.items, s.rewards, s.acts), optimiser
        )
        rates.step()
    return read(net)


def adversarial(
    shown: Shown, seed: int, rounds: int, *, gail: bool = False, timed: bool = True
) -> Reward:
    """Train AIRL's discriminator, or GAIL's, against a policy that solves the world."""
    learner = SoftLearner(
        shown.world, shown.states, shown.acts, np.random.default_rng(seed), step=0.2 if gail else 1
    )
    discriminator = Discriminator(network(shown, seed, timed=timed), structured=not gail)
    optimiser = torch.optim.Adam(discriminator.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(seed)
    # a potential that knows the turn is shaping; one that does not stands in for what is to come
    form = RewardForm.GAIL if gail else RewardForm.REWARD if timed else RewardForm.SHAPED
    for _ in range(rounds):
        adversarial_round(
            discriminator, optimiser, learner, form=form, steps=5, batch=256, generator=generator
        )
    return read(discriminator.net)


def measured(reward: Reward, shown: Shown) -> dict[str, float]:
    """Compare a recovered reward with the truth in the world it comes from."""
    world, mdp = shown.world, shown.world.mdp
    table, learned = reward(world), {}
    for name, weights in (("all", world.live.astype(float)), ("visited", shown.exact)):
        ranks = rank_correlations(*(world.by_user(r, weights) for r in (table, shown.truth)))
        learned[f"rank, {name}"] = float(np.nan_to_num(ranks).mean())
        for constant in (True, False):
            apart = shaping_distance(mdp, table, shown.truth, weights, constant=constant)
            learned[f"distance, {name}{'' if constant else ', no constant'}"] = apart
    found = visits(mdp, occupancy(mdp, soft_value_iteration(mdp, table).policy))
    return learned | {"visits off": float(np.abs(found - shown.exact).sum() / shown.exact.sum())}


def returns(table: Any, world: Enumerated) -> float:
    """Return what a policy that is optimal under ``table`` truly earns, discounted."""
    policy = soft_value_iteration(world.mdp, table, temperature=0.0).policy
    return float((visits(world.mdp, occupancy(world.mdp, policy)) * world.true_reward).sum())


def transferred(reward: Reward, shown: Shown, seed: int) -> dict[str, dict[str, float]]:
    """Optimise a reward from scratch in changed worlds; return shares of what can be earned."""
    level = float((reward(shown.world) * shown.exact).sum() / shown.exact.sum())
    found = {}
    for name, change in CHANGES.items():
        if (name == "other items") != (shown.world.live.any(0).sum() < ITEMS):
            continue
        world = world_of(seed, **change)
        table, best = reward(world), returns(world.true_reward, world)
        lowest = table[world.live].min()
        ways = {"as it is": table, "centred": table - level, "lifted": table - lowest}
        found[name] = {way: returns(r, world) / best for way, r in ways.items()}
    return found


def rungs(seed: int, tiny: bool, **how: Any) -> dict[str, tuple[Shown, Callable[[], Reward]]]:
    """Return what is to be fitted in one seed: name -> (what was shown, how to fit it)."""
    shown, rounds, steps = demonstrated(seed, **how), 3 if tiny else 200, 5 if tiny else 1000
    aimless, twin = demonstrated(seed, aimless=True, **how), demonstrated(seed, quits=False, **how)
    lost = replace(aimless, truth=shown.truth, exact=shown.exact)
    return {
        "tabular, exact": (shown, lambda: tabular(shown, shown.exact, 0.0)),
        "tabular, sampled": (shown, lambda: tabular(shown, shown.sampled, 1e-3)),
        "linear, exact": (shown, lambda: linear(shown, shown.exact, 0.0)),
        "linear, sampled": (shown, lambda: linear(shown, shown.sampled, 1e-3)),
        "network, sampled": (shown, lambda: deep(shown, seed, steps)),
        "AIRL": (shown, lambda: adversarial(shown, seed, rounds)),
        "AIRL, blind to the turn": (shown, lambda: adversarial(shown, seed, rounds, timed=False)),
        "GAIL": (shown, lambda: adversarial(shown, seed, rounds, gail=True)),
        "AIRL, aimless sessions": (lost, lambda: adversarial(lost, seed, rounds)),
        "GAIL, aimless sessions": (lost, lambda: adversarial(lost, seed, rounds, gail=True)),
        "AIRL, nobody quits": (twin, lambda: adversarial(twin, seed, rounds)),
        "GAIL, nobody quits": (twin, lambda: adversarial(twin, seed, rounds, gail=True)),
        "constant reward": (shown, lambda: lambda world: world.live.astype(float)),
        "truth": (shown, lambda: lambda world: world.true_reward / TEMPERATURE),
    }  # fmt: skip


def study(seed: int, name: str, tiny: bool) -> dict[str, Any]:
    """Fit one rung of one seed, with all items on offer and with the old ones only."""
    shown, fit = rungs(seed, tiny)[name]
    started = time.perf_counter()
    reward = fit()
    row = measured(reward, shown) | {"seconds": time.perf_counter() - started}
    moved = transferred(reward, shown, seed)
    before, fit = rungs(seed, tiny, offered=OLD)[name]
    return row | {"seed": seed, "transfer": moved | transferred(fit(), before, seed)}


def main() -> int:
    """Run everything and store it."""
    torch.set_num_threads(1)
    experiment = Experiment("reward_ladder", __doc__.splitlines()[0], seeds=5)
    if experiment.tiny:
        SIZE.update(users=2, turns=4)
    names, rows = list(rungs(0, True)), []
    with progress(len(names) * len(experiment.seeds), "reward ladder") as advance:
        for name in names:
            found = []
            for seed in experiment.seeds:
                work = lambda s=seed, n=name: study(s, n, experiment.tiny)  # noqa: E731
                found.append(experiment.part(f"{name} {seed}", work))
                advance(1)
            rows.append({"rung": name, "per_seed": found})
    settings = {"users": USERS, "items": ITEMS, "discount": DISCOUNT, "temperature": TEMPERATURE}
    experiment.write(settings | {"sessions": SESSIONS, "rows": rows})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"reward_ladder: {error}")
