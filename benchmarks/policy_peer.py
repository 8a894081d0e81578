"""Stable-Baselines3's actor-critics beside ours; for ``policy.py``.

    .venv-peers/sb3/bin/python benchmarks/policy_peer.py    # `make peers` makes that environment

prints how far its numbers are from ours: advantages, losses and gradients. One thing differs on
purpose. Both divide advantages by their standard deviation (n - 1), and we add 1e-6 to it, the
library 1e-8, so ours are smaller by 1e-6 / spread of the advantages. Where rewards are rating
points, that is lost in the rounding; in the units to which our loss scales them it is seen.
"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from ppo import ItemPolicy, Window
from sb3_env import Batched
from stable_baselines3 import A2C
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from torch import Tensor

from minirec._io import generator, torch_generator
from minirec.data.smallworld import small_world
from minirec.rl.a2c import a2c_loss, gae
from minirec.rl.rollout import Collector
from minirec.world.batched import BatchedRecEnv
from minirec.world.histories import Histories
from minirec.world.rules import QuitRules
from minirec.world.sources import TruthSource

BEYOND = 1e9  # no gradient is longer than this


class Scaled(VecEnvWrapper):
    """Pays in other units."""

    def __init__(self, venv: VecEnv, scale: float) -> None:
        super().__init__(venv)
        self.scale = scale

    def reset(self) -> Any:
        """Start with fresh users."""
        return self.venv.reset()

    def step_wait(self) -> Any:
        """Pay ``scale`` times the reward."""
        seen, paid, done, infos = self.venv.step_wait()
        return seen, paid * np.float32(self.scale), done, infos


class Stateless:
    """The library's network as our ``Collector`` plays it: the state is the window, (B, 2 K)."""

    def __init__(self, network: ActorCriticPolicy) -> None:
        self.network, self.features = network, network.features_extractor.vectors[:-1]
        self.n_items = len(self.features)

    def table(self) -> None:
        """Return nothing: what is known of the items never changes."""

    def start(self, table: None, items: Tensor, rewards: Tensor) -> Tensor:
        """Return the state after a window of items and rewards, both (B, K)."""
        return torch.cat([items, rewards], 1)

    def step(self, table: None, state: Tensor, items: Tensor, rewards: Tensor) -> Tensor:
        """Push one item (B,) and its reward (B,); padding items leave the state as it is."""
        window, paid = state.chunk(2, 1)
        pushed = [window[:, 1:], items[:, None], paid[:, 1:], rewards[:, None]]
        return torch.where((items < self.n_items)[:, None], torch.cat(pushed, 1), state)

    def act(self, table: None, state: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, N), values (B,) and, there being no reward head, nothing (B, 0)."""
        net = self.network
        wish, worth = net.mlp_extractor(net.features_extractor(state))
        logits = net.action_net(wish).masked_fill(~mask, -torch.inf)
        return logits, net.value_net(worth).squeeze(1), state[:, :0]

    def value(self, state: Tensor) -> Tensor:
        """Return the critic's value of each state, (B,)."""
        net = self.network
        worth = net.mlp_extractor.forward_critic(net.features_extractor(state))
        return net.value_net(worth).squeeze(1)


def agent(
    kind: type[OnPolicyAlgorithm], venv: VecEnv, vectors: Tensor, length: int, *, rate: float,
    discount: float, trace: float, entropy: float, clip: float = 1.0, seed: int | None = 0,
    **more: Any,
) -> OnPolicyAlgorithm:  # fmt: skip
    """Return A2C (with Adam) or PPO around a network that knows the items by their vectors."""
    knows = {"vectors": vectors, "length": length}
    kwargs = {"features_extractor_class": Window, "features_extractor_kwargs": knows}
    more |= {"use_rms_prop": False, "normalize_advantage": True} if kind is A2C else {}
    return kind(
        ItemPolicy, venv, learning_rate=rate, gamma=discount, gae_lambda=trace, ent_coef=entropy,
        max_grad_norm=clip, seed=seed, device="cpu", policy_kwargs=kwargs, **more,
    )  # fmt: skip


def advantages(
    rng: np.random.Generator, discount: float, trace: float, *, blind: bool = False
) -> float:
    """Return the largest difference between two advantages of random steps.

    Their buffer knows of ends alone; ``collect_rollouts`` adds gamma V(terminal observation) to the
    reward where an episode is cut, and so does this. Control: ``blind``, which takes a cut for a
    quit.
    """
    length, size = rng.integers(1, 40), rng.integers(1, 9)
    rewards, values, following = rng.normal(size=(3, length, size)).astype(np.float32)
    end, last = rng.choice(3, (length, size), p=[0.6, 0.2, 0.2]), rng.normal(size=size)
    terminated, truncated = end == 1, end == 2
    on = np.append(values[1:], last[None].astype(np.float32), 0)
    following = np.where(end == 0, on, following)  # what follows a restart is somebody else
    box = spaces.Box(0, 1, (1,))
    theirs = RolloutBuffer(
        length, box, spaces.Discrete(2), "cpu", gae_lambda=trace, gamma=discount, n_envs=size
    )
    theirs.rewards = rewards + np.float32(discount) * np.where(truncated, following, 0)
    theirs.values, theirs.episode_starts = values, np.append(end[:1], end[:-1], 0) > 0
    theirs.compute_returns_and_advantage(torch.from_numpy(on[-1]), end[-1] > 0)
    if blind:
        terminated, truncated = end > 0, end > 9
    numbers = map(torch.from_numpy, (rewards, values, following, terminated, truncated))
    ours = gae(*numbers, discount=discount, trace=trace).numpy()
    return float(abs(ours - theirs.advantages).max())


def world() -> BatchedRecEnv:
    """Return the small world with few turns, so that users quit and are cut; nothing is masked."""
    rules, small = QuitRules(min_reward=2.5, max_turns=4), small_world()
    return BatchedRecEnv(TruthSource(small), rules, Histories.from_log(small.log))


def update(
    seed: int, scale: float, *, discount: float = 0.95, trace: float = 0.9, entropy: float = 0.02,
    length: int = 24, size: int = 16, blind: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Return how far apart two updates are: ours, and that of ``A2C.learn`` on the same steps.

    Both draw the same users. Our collector draws the items, the library is told them. From there
    on observations, rewards, ends, values, advantages, losses and gradients are each side's own.

    Args:
        seed: Of network, users and items.
        scale: From rating points to what is learned from.
        discount: gamma.
        trace: lambda.
        entropy: Weight of the entropy.
        length: Steps of each user.
        size: How many users play at once.
        blind: A control that has to differ: a cut counts as a quit.

    Returns:
        The differences of loss and gradient as shares of theirs; the spread of the advantages.
    """
    env = world()
    users = np.arange(env.source.n_users)
    venv = Batched(world(), users, size)
    venv.rng = generator(seed, "users")
    vectors = torch.randn(env.n_items, 8, generator=torch_generator(seed, "vectors"))
    kept: dict[str, Any] = {"discount": discount, "trace": trace, "entropy": entropy}
    theirs = agent(
        A2C, Scaled(venv, scale), vectors, env.K, rate=0.0, clip=BEYOND, seed=None,
        n_steps=length, **kept,
    )  # fmt: skip
    for layer in theirs.policy.modules():  # every layer speaks up, so that gradients are of a size
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.3, generator=torch_generator(seed, "weights"))
    theirs.policy.value_net.weight.data *= scale  # values are of the size of what is paid
    noise = torch_generator(seed, "items")
    collector = Collector(env, users, size, generator(seed, "users"), noise)
    segment = collector.collect(Stateless(theirs.policy), length)
    weights = list(theirs.policy.parameters())
    if blind:
        ends = segment.terminated | segment.truncated
        segment = replace(segment, terminated=ends, truncated=ends & False)
    in_our_units = segment.rewards * (scale * 5 / (1 - discount))  # a2c_loss scales them back
    kept["entropy_weight"] = kept.pop("entropy")
    ours = a2c_loss(segment, in_our_units, **kept)
    gradient = torch.cat([part.flatten() for part in torch.autograd.grad(ours, weights)])
    told = iter(segment.acts)

    def forward(obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        acts = next(told)
        values, log_probs, _ = theirs.policy.evaluate_actions(obs, acts)
        return acts, values, log_probs

    theirs.policy.forward = forward
    theirs.learn(length * size, log_interval=None)
    expected = torch.cat([weight.grad.flatten() for weight in weights])
    terms = theirs.logger.name_to_value
    loss = terms["train/policy_loss"] + 0.5 * terms["train/value_loss"]
    loss += entropy * terms["train/entropy_loss"]
    return {
        "loss": abs(ours.item() / loss - 1),
        "gradient": float((gradient - expected).norm() / expected.norm()),
        "spread": float(theirs.rollout_buffer.advantages.std(ddof=1)),
        "quits": int(segment.terminated.sum()), "cuts": int(segment.truncated.sum()),
    }  # fmt: skip


def agreement() -> dict[str, float]:
    """Return the largest differences over many random cases, and those of two controls."""
    rng, cases = generator(0, "agreement"), list(product((0.0, 0.5, 0.9, 0.99, 1.0), repeat=2))
    found = {
        "advantages": max(advantages(rng, *case) for case in cases for _ in range(20)),
        "advantages, cut taken for quit": min(
            max(advantages(rng, *case, blind=True) for _ in range(20)) for case in cases if case[0]
        ),
    }
    ways = ({}, {"discount": 0.8, "trace": 1.0}, {"trace": 0.0}, {"entropy": 0.0})
    units = {
        "rating points": lambda discount: 1.0,
        "our units": lambda discount: (1 - discount) / 5,
    }
    for name, unit in units.items():
        parts = [
            update(seed, unit(way.get("discount", 0.95)), **way) for seed, way in enumerate(ways)
        ]
        for part in ("loss", "gradient"):
            found[f"{part}, {name}"] = max(one[part] for one in parts)
        found[f"1e-6 / spread, {name}"] = max(1e-6 / one["spread"] for one in parts)
    found["gradient, cut taken for quit"] = update(0, 1.0, blind=True)["gradient"]
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(agreement()))
