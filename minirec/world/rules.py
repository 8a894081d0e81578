"""When a simulated user quits: the rules, and the three presets that the book compares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from minirec._io import UserError, suggest

REASONS = ("running", "low_reward", "distance", "repeat", "max_turn")
EXACT_REPEAT = 1e-6  # a distance that only an item and itself stay below


@dataclass(frozen=True)
class QuitRules:
    """When an episode ends. Built in chapter 4.

    The checks come in the order of the fields below; the reward of the last step always counts.

    Attributes:
        min_reward: The user quits when a reward is strictly below this, in rating points.
        window: How many earlier items of the *episode* a new item is compared with.
        min_distance: The user quits when the new item is strictly nearer than this to one of
            them (Euclidean, in the units of the item vectors); None switches the rule off.
        max_turns: The episode is truncated after this many recommendations.
        quit_at_first: Whether a low reward ends the episode already at the first turn.
        shown_quit_reward: What the observation shows in place of the reward that made the user
            quit; None shows the reward itself. The return always counts the reward itself.
        repeats: ``"masked"`` forbids items of the visible log and of the episode; an agent that
            ignores the mask and picks one ends the episode with reward 0 (reason ``repeat``).

    Raises:
        UserError: If a value is outside its range.

    Source:
        IL-Rec (arXiv 2510.13229) and BiLLP (SIGIR 2024): their environments' quit tests.
    """

    min_reward: float = 2.0
    window: int = 4
    min_distance: float | None = None
    max_turns: int = 100
    quit_at_first: bool = True
    shown_quit_reward: float | None = None
    repeats: Literal["allowed", "masked"] = "allowed"

    def __post_init__(self) -> None:
        if self.max_turns < 1:
            raise UserError(f"max_turns is {self.max_turns}; an episode needs at least 1")
        if self.window < 0:
            raise UserError(f"window is {self.window}; use 0 to compare with no earlier item")
        if self.repeats not in ("allowed", "masked"):
            raise UserError(f"repeats is {self.repeats!r}; use 'allowed' or 'masked'")


RULES = {
    "ilrec": QuitRules(min_distance=EXACT_REPEAT),
    "billp": QuitRules(2.0, 4, EXACT_REPEAT, 50, quit_at_first=False, shown_quit_reward=-1000.0),
    "no_repeat": QuitRules(repeats="masked"),
}
"""The presets. ``ilrec`` and ``billp`` need the ``min_distance`` that fits their item vectors, as
``thresholds.near_quantile`` finds it; as they stand, only an exact repeat inside the window is too
near."""

START = {"ilrec": ("none", 10), "billp": ("log", 15), "no_repeat": ("log", 10)}
"""What an episode's first observation holds under each preset: (``history``, ``K``)."""


def rules_named(name: str) -> QuitRules:
    """Return the preset called ``name``.

    Raises:
        UserError: If there is none.
    """
    if name not in RULES:
        known = ", ".join(RULES)
        raise UserError(f"no quit rules named {name!r}; use one of {known}.{suggest(name, RULES)}")
    return RULES[name]
