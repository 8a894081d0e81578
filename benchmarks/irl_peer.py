"""The imitation library's AIRL and GAIL in our environment; for ``irl.py``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from imitation.algorithms.adversarial.airl import AIRL
from imitation.algorithms.adversarial.common import AdversarialTrainer
from imitation.algorithms.adversarial.gail import GAIL
from imitation.data.types import TrajectoryWithRew
from imitation.rewards import reward_nets
from imitation.util import logger, networks
from ppo import ItemPolicy, Window
from sb3_env import flat
from stable_baselines3 import A2C
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import Tensor, nn

from minirec.irl.rewards import RewardNet, Transitions
from minirec.rl.policy import RecPolicy
from minirec.rl.settings import LearnerConfig
from minirec.world.batched import BatchedRecEnv, Obs
from minirec.world.trajectory import Trajectory


class Tracker(BaseFeaturesExtractor):
    """Our network's state after the last items: it has to read them anew for every step."""

    def __init__(self, space: Any, vectors: Tensor, length: int, config: LearnerConfig) -> None:
        super().__init__(space, config.hidden + vectors.shape[1] + 2)
        self.ours = RecPolicy(vectors, dim=config.dim, hidden=config.hidden)
        self.length = length

    def forward(self, obs: Tensor) -> Tensor:
        """Return what is known of the users, (B, hidden + d + 2), from flat observations."""
        items, rewards = obs[:, : self.length].long(), obs[:, self.length : 2 * self.length]
        return self.ours.read(self.ours.start(self.ours.table(), items, rewards))[0]


class Scores(nn.Module):
    """Logits of all items from what is known of the users, as our network computes them."""

    def __init__(self, ours: RecPolicy) -> None:
        super().__init__()
        self.ours = ours

    def forward(self, seen: Tensor) -> Tensor:
        """Return logits (B, N) from (B, hidden + d + 2)."""
        table = self.ours.table()
        return self.ours.query(seen) @ self.ours.features.T + table.bias


class TrackerPolicy(ActorCriticPolicy):
    """The library's actor-critic around our network."""

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        super()._build(lr_schedule)
        ours = self.features_extractor.ours
        self.action_net, self.value_net = Scores(ours), ours.critic
        rate = lr_schedule(1)
        self.optimizer = self.optimizer_class(self.parameters(), lr=rate, **self.optimizer_kwargs)


class Net(reward_nets.RewardNet):
    """Our reward network as the library calls it: f where it is shaped (AIRL), g else (GAIL)."""

    def __init__(self, venv: VecEnv, net: RewardNet, length: int, shaped: bool) -> None:
        super().__init__(venv.observation_space, venv.action_space)
        self.net, self.length, self.shaped = net, length, shaped

    def forward(self, state: Tensor, action: Tensor, next_state: Tensor, done: Tensor) -> Tensor:
        """Return (M,) from flat observations, one-hot items and whether the episode ended."""
        items, rewards = state[:, : self.length].long(), state[:, self.length : 2 * self.length]
        acts = action.argmax(1)
        if not self.shaped:
            return self.net.reward(items, rewards, acts)
        after = next_state[:, : self.length].long(), next_state[:, self.length : 2 * self.length]
        blind = acts * 0  # to the turn, and to log pi, which the library subtracts itself
        return self.net(Transitions(items, rewards, acts, *after, done.bool(), blind, blind))


def agent(
    venv: VecEnv, vectors: Tensor, length: int, config: LearnerConfig, rate: float, seed: int,
    *, network: str, entropy: float | None = None,
) -> A2C:  # fmt: skip
    """Return the library's actor-critic with our learner's settings.

    Its ``network`` is ours, or a ``"small"`` one: as wide, with the mean of the last items' vectors
    in place of the tracker. With an ``entropy`` weight of its own, advantages stay in units of
    what is paid.
    """
    knows = {"vectors": vectors, "length": length}
    if network == "ours":
        policy, knows = TrackerPolicy, knows | {"config": config}
        kwargs = {"features_extractor_class": Tracker, "net_arch": [], "ortho_init": False}
    else:
        arch = {"pi": [config.hidden], "vf": [config.hidden]}
        policy, kwargs = ItemPolicy, {"features_extractor_class": Window, "net_arch": arch}
        kwargs |= {"activation_fn": nn.ReLU}
    return A2C(
        policy, venv, learning_rate=rate, n_steps=config.segment, gamma=config.discount,
        gae_lambda=config.trace, max_grad_norm=1.0, use_rms_prop=False,
        ent_coef=config.entropy if entropy is None else entropy,
        normalize_advantage=entropy is None, seed=seed, device="cpu",
        policy_kwargs=kwargs | {"features_extractor_kwargs": knows},
    )  # fmt: skip


def trainer(
    form: str, learner: A2C, shown: Sequence[Trajectory], vectors: Tensor, env: BatchedRecEnv,
    config: LearnerConfig, *, normalised: bool,
) -> AdversarialTrainer:  # fmt: skip
    """Return AIRL or GAIL around ``learner``, which plays ``env``.

    Args:
        form: ``"airl"`` or ``"gail"``.
        learner: From :func:`agent`.
        shown: The demonstrations.
        vectors: What is known of the items, (N, d).
        env: Whose observations these are.
        config: Our learner's settings.
        normalised: Whether what AIRL pays is normalised by its running mean and spread, the
            library's counterpart to standardising; it has none for GAIL.
    """
    venv, level = learner.get_env(), -math.log(len(vectors)) if form == "airl" else 0.0
    net = RewardNet(vectors, discount=config.discount, level=level)
    reward: reward_nets.RewardNet = Net(venv, net, env.K, form == "airl")
    if normalised:
        reward = reward_nets.NormalizedRewardNet(reward, networks.RunningNorm)
    turns = env.rules.max_turns
    demonstrations = [
        TrajectoryWithRew(flat(t.obs, turns), t.acts, None, t.terminal, t.rews.astype(float))
        for t in shown
    ]
    return {"airl": AIRL, "gail": GAIL}[form](
        demonstrations=demonstrations, demo_batch_size=config.disc_batch, venv=venv,
        gen_algo=learner, reward_net=reward, n_disc_updates_per_round=config.disc_steps,
        disc_opt_kwargs={"lr": config.disc_rate}, allow_variable_horizon=True,
        custom_logger=logger.configure(format_strs=[]),
    )  # fmt: skip


class Sampling:
    """The library's agent as something that our judge can play with.

    Args:
        learner: From :func:`agent`.
        turns: Most turns of an episode.
    """

    def __init__(self, learner: A2C, turns: int) -> None:
        self.learner, self.turns = learner, turns

    def start(self, obs: Obs, users: Any) -> None:
        """Forget nothing: there is no state."""

    def act(self, obs: Obs, mask: Any) -> Any:
        """Return one item a row, drawn from the policy."""
        return self.learner.predict(flat(obs, self.turns), deterministic=False)[0]
