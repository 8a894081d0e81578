"""The arms: every learner that the book compares, each as settings of the same loop."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from minirec.rl.agents import A2C, Reinforce
from minirec.rl.dqn import DQN
from minirec.rl.learner import ILRec
from minirec.rl.settings import LearnerConfig


@dataclass(frozen=True)
class ArmSpec:
    """What makes an arm: who learns, with which settings, from what.

    Attributes:
        learner: The class.
        settings: What differs from the settings of the run.
        shown: ``""`` for nothing, ``demonstrations``, or ``shuffled`` for the control.
        constant: Whether every step pays +1 in place of the model_reward (a control).
    """

    learner: type[A2C]
    settings: dict[str, Any] = field(default_factory=dict)
    shown: str = ""
    constant: bool = False

    def config(self, base: LearnerConfig) -> LearnerConfig:
        """Return the settings of this arm on top of a run's."""
        return replace(base, **self.settings)


PLAIN: dict[str, Any] = {"foresight": False, "memory_steps": 0, "actor_rate": 1e-3}
"""No reward head: all that the actor knows comes from the policy gradient and from imitation."""

PAPER: dict[str, Any] = PLAIN | {
    "discount": 0.5, "entropy": 0.1, "clone_epochs": 0, "rounds": 0, "disc_every": 1,
    "disc_steps": 1, "form": "gail", "standardise": False, "task": 0.0, "bonus": 1.0,
    "imitation": 0.25, "imitation_steps": 10**9, "weight_temperature": 10.0, "weight_mix": 0.5,
}  # fmt: skip
"""IL-Rec as its paper has it: paid by -log D (of *policy*) alone, every demonstration weighed
after every update, imitation throughout; the Steam settings of the released code."""

MINIREC: dict[str, Any] = {
    "correct": True, "prior": True, "memory_steps": 0, "caution": 1.0, "rate": 3e-4,
    "even_start": True,
}  # fmt: skip
"""Ours: the demonstrations mend the world model, the reward head is that model's own regression and
learns no more (a simulator paid by that model teaches it nothing that holds), and items that few
have rated pay less."""

ARMS = {
    "REINFORCE": ArmSpec(Reinforce),
    "A2C without demonstrations": ArmSpec(A2C),
    "A2C without reward head": ArmSpec(A2C, PLAIN),
    "DQN": ArmSpec(DQN, {"tracker": "none"}),
    "constant reward": ArmSpec(A2C, constant=True),
    "IL-Rec": ArmSpec(ILRec, shown="demonstrations"),
    "shuffled demonstrations": ArmSpec(ILRec, shown="shuffled"),
    "paper": ArmSpec(ILRec, PAPER, "demonstrations"),
    "minirec": ArmSpec(ILRec, MINIREC, "demonstrations"),
    "minirec, shuffled demonstrations": ArmSpec(ILRec, MINIREC, "shuffled"),
    "minirec without demonstrations": ArmSpec(A2C, MINIREC),
}
"""Name -> arm. Chapter 12 tells what each is there for."""
