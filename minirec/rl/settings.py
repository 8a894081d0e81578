"""The learner's settings, apart from the learner so that reading them does not load torch."""

from __future__ import annotations

from dataclasses import dataclass

from minirec._io import UserError, setting

FORMS = ("reward", "shaped", "airl", "gail", "log_d")
"""The values of ``minirec.irl.rewards.RewardForm``, which loads torch (tested to be equal)."""


@dataclass(frozen=True)
class LearnerConfig:
    """The learner: imitation, inverse reinforcement learning, actor-critic."""

    steps: int = setting(30_000, "environment steps", "budget of every learner, demonstration steps included")  # noqa: E501 fmt: skip
    users: int = setting(16, "users", "how many users play at once at the start")
    most_users: int = setting(256, "users", "how many at most")
    growth: int = setting(1_000, "environment steps", "for each user who plays: their number doubles when it may")  # noqa: E501 fmt: skip
    segment: int = setting(8, "steps", "steps of each user between two updates")
    rate: float = setting(3e-3, "per update", "learning rate of critic and reward head (Adam)")
    actor_rate: float = setting(1e-4, "per update", "learning rate of the actor: the slower of two time scales")  # noqa: E501 fmt: skip
    discount: float = setting(0.95, "per step", "gamma: what a reward is worth one step later")
    trace: float = setting(0.9, "per step", "lambda of the generalised advantage")
    entropy: float = setting(0.01, "per nat", "weight of the policy's entropy")
    dim: int = setting(32, "numbers", "size of an item vector in the policy")
    hidden: int = setting(64, "numbers", "size of what the tracker tells")
    tracker: str = setting("gru", "name", "of the state: gru, average, attention or none")
    foresight: bool = setting(True, "yes or no", "whether the actor starts from the reward head's predictions")  # noqa: E501 fmt: skip
    prior: bool = setting(False, "yes or no", "whether the reward head starts from what the world model makes of the items")  # noqa: E501 fmt: skip
    caution: float = setting(0.0, "rating points", "taken off an item without ratings; less by sqrt(1 + n) with n")  # noqa: E501 fmt: skip
    correct: bool = setting(False, "yes or no", "whether the demonstrations mend the world model, as far as the log bears them out")  # noqa: E501 fmt: skip
    memory: int = setting(1_000_000, "steps", "how many steps the reward head remembers")
    memory_batch: int = setting(256, "steps", "remembered steps in one fit of the reward head")
    memory_steps: int = setting(8, "fits", "fits of the reward head after each update", least=0)
    replay: int = setting(50_000, "steps", "DQN: how many steps it draws from")
    q_steps: int = setting(8, "steps", "DQN: gradient steps after each segment")
    target_every: int = setting(8, "updates", "DQN: when the target network follows")
    explore_steps: int = setting(10_000, "environment steps", "DQN: until random items are at their end")  # noqa: E501 fmt: skip
    explore_end: float = setting(0.05, "share", "DQN: of random items at the end")
    clone_epochs: int = setting(8, "passes", "warm start: passes of imitation over the demonstrations", least=0)  # noqa: E501 fmt: skip
    clone_rate: float = setting(1e-4, "per update", "learning rate of the actor in the warm start")
    rounds: int = setting(10, "rounds", "adversarial rounds of inverse reinforcement learning", least=0)  # noqa: E501 fmt: skip
    disc_every: int = setting(0, "updates", "after them, from one adversarial round to the next; 0: none", least=0)  # noqa: E501 fmt: skip
    disc_steps: int = setting(4, "steps", "discriminator steps a round")
    disc_batch: int = setting(128, "transitions", "of each side in a discriminator step")
    disc_rate: float = setting(1e-3, "per step", "learning rate of the discriminator (Adam)")
    even_start: bool = setting(False, "yes or no", "whether the discriminator starts as a coin against a uniform policy")  # noqa: E501 fmt: skip
    disc_penalty: float = setting(0.0, "per squared slope", "weight of the discriminator's gradient penalty")  # noqa: E501 fmt: skip
    form: str = setting("airl", "name", "what adversarial rounds pay: reward, shaped, airl, gail, log_d")  # noqa: E501 fmt: skip
    standardise: bool = setting(True, "yes or no", "whether the learned reward is standardised before it is paid")  # noqa: E501 fmt: skip
    task: float = setting(1.0, "share", "of the environment's own reward beside the learned one")
    imitation: float = setting(0.05, "per nat", "lambda_imit at the start")
    imitation_steps: int = setting(15_000, "environment steps", "when lambda_imit has faded to 0")
    demo_batch: int = setting(32, "demonstrations", "demonstrations in an imitation step")
    bonus: float = setting(0.1, "rating points", "weight of the standardised learned reward")
    weight_temperature: float = setting(1.0, "standard deviations", "beta: how sharply w_env prefers good steps")  # noqa: E501 fmt: skip
    weight_mix: float = setting(0.5, "share", "alpha: exponent of w_env, 1 - alpha that of w_irl")

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise UserError(f"learner.form is {self.form!r}; use one of {', '.join(FORMS)}")

    def users_at(self, steps: int) -> int:
        """Return how many users play at once after so many environment steps.

        Small batches learn fast from little, large ones take many steps a second and steady the
        gradient (Smith et al. 2018): the number doubles whenever there are ``growth`` steps for
        each user.

        >>> [LearnerConfig().users_at(steps) for steps in (0, 31_999, 32_000, 10**6)]
        [16, 16, 32, 256]
        """
        size = self.users
        while size < self.most_users and steps >= 2 * size * self.growth:
            size = min(2 * size, self.most_users)
        return size


@dataclass(frozen=True)
class OfficialConfig:
    """The released code of IL-Rec, as it was run on Steam."""

    episodes: int = setting(100_000, "episodes", "budget: one update follows each")
    rate: float = setting(1e-3, "per step", "learning rate of policy, critic and discriminator (Adam)")  # noqa: E501 fmt: skip
    discount: float = setting(0.5, "per step", "gamma, of the targets and of the demonstrated returns")  # noqa: E501 fmt: skip
    entropy: float = setting(0.1, "per nat", "weight of the policy's entropy")
    imitation: float = setting(0.25, "per nat", "lambda_imit; it does not fade")
    logit_bound: float | None = setting(15.0, "nats", "c of the policy's logits c tanh(z / c); unset: no bound")  # noqa: E501 fmt: skip
    row_norm: float = setting(10.0, "length", "longest row of the actor's weights")
    bias_limit: float = setting(5.0, "nats", "largest bias of the actor, either way")
    dim: int = setting(32, "numbers", "size of every embedding, state and hidden layer")
    layers: int = setting(2, "layers", "of the transformer that reads the history")
    dropout: float = setting(0.1, "share", "of the transformer's numbers, also while it plays")
    window: int = setting(4, "items", "how much history it reads")
    batch: int = setting(8, "steps", "in a critic step and, drawn anew, in a policy step")
    priority: float = setting(0.05, "demonstrated steps", "what a played step weighs in a draw")
    advantage_clip: float = setting(5.0, "standard deviations", "largest standardised advantage; never reached")  # noqa: E501 fmt: skip
    target_interval: int = setting(10, "critic steps", "between two copies to the critic's target")
    disc_interval: int = setting(5_000, "episodes", "between two steps of the discriminator")
    demo_batch: int = setting(8, "demonstrated steps", "shown to the discriminator and weighed anew")  # noqa: E501 fmt: skip
    fit_rate: float = setting(1e-2, "per step", "learning rate of the demonstrations' Q and V (Adam)")  # noqa: E501 fmt: skip
    fit_steps: int = setting(100, "steps", "of the demonstrations' Q and V, full batch", least=0)
    temperature: float = setting(10.0, "rating points", "beta: how sharply w_env prefers good steps")  # noqa: E501 fmt: skip
    mix: float = setting(0.5, "share", "alpha: exponent of w_env, 1 - alpha that of w_irl")
    irl_exponent: float = setting(1.0, "power", "gamma of w_irl")


OFFICIAL = {
    "steam": OfficialConfig(),
    "amazon": OfficialConfig(temperature=1.0, mix=0.25, imitation=0.5, logit_bound=1.0),
}
"""The released settings; the two data sets differ in four of them."""
