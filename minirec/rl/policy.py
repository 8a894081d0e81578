"""The policy: a tracker that follows the user, and a head that scores items by their features."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minirec._io import UserError
from minirec.rl.trackers import TRACKERS, build_tracker

SHARPNESS = 6.0  # of the actor at the start, logits a rating point
RIDGE = 1.0  # penalty of the regression in the state: tastes of unit variance


class ItemTable(NamedTuple):
    """What the network knows of the catalogue during one segment: computed once, used often."""

    vectors: Tensor  # (N, dim), the reward head's
    features: Tensor  # (N + 1, f + 1), the last row is the padding item, the last column is 1
    bias: Tensor  # (1, N), of the actor's logits
    quality: Tensor  # (1, N), of the predicted rewards
    prior: Tensor  # (N + 1, 1), likewise, rating points


class RecPolicy(nn.Module):
    """State tracker, actor, critic and reward head over the features of the items.

    Whatever the network knows of an item it computes from the item's features: no weight belongs
    to one item alone, so what is learned from one is known of all that resemble it, and a new
    item can be recommended.

    The state holds a tracker's memory of the (item, reward) pairs and, beside it, the sums of a
    ridge regression of the rewards on the features: the user's taste as far as the pairs tell it. A
    reward head learns from every step what taste makes of an item; the actor's logit is that
    prediction, times a learned sharpness, plus what the policy gradient adds. Built in chapters
    11 and 12.

    Args:
        features: Item features, shape (N, f), on the scale on which a user's taste for each has
            about unit variance: the world model's item vectors.
        dim: Size of the reward head's item vectors. They move while it learns; tracker and actor
            read the features, which do not.
        hidden: What the tracker tells of its memory; with a GRU, the default, its size as well.
            The state has the memory's size + (f + 1) (f + 2) + 1 numbers.
        tracker: ``gru``, ``average``, ``attention`` or ``none``, the regression alone.
        foresight: Whether the actor starts from the reward head's predictions. Without it all
            comes from the policy gradient and from imitation, as in the paper.
        prior: What somebody of whom nothing is known would say of each item, rating points, (N,).
            Given it, the reward head starts as a ridge regression of what differs from it; without
            it, it starts from nothing.

    Source:
        Actor-critic: Mnih et al. (2016); IL-Rec (arXiv 2510.13229).
    """

    features: Tensor
    prior: Tensor | None

    def __init__(
        self, features: Tensor, *, dim: int = 32, hidden: int = 64, tracker: str = "gru",
        foresight: bool = True, prior: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n_items, n_features = features.shape
        self.dim, self.width = dim, n_features + 1
        self.register_buffer("features", features)
        self.register_buffer("prior", prior)
        self.project = nn.Linear(n_features, dim, bias=False)
        self.bias = nn.Linear(n_features, 1)
        self.quality = nn.Linear(n_features, 1)
        self.tracker, self.foresight = build_tracker(tracker, n_features, hidden), foresight
        seen = self.tracker.width + self.width + 1
        self.query = nn.Linear(seen, n_features)
        self.taste = nn.Linear(self.width + 1, dim)
        self.level = nn.Linear(self.width + 1, 1)
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS if foresight else 0.0))
        self.critic = nn.Sequential(nn.Linear(seen, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        if prior is not None:  # at first the reward head trusts the regression alone
            for head in (self.taste, self.level, self.quality):
                for parameter in head.parameters():
                    nn.init.zeros_(parameter)
        if foresight:  # at first the actor trusts the reward head alone
            for parameter in self.actor_parameters():
                nn.init.zeros_(parameter)

    def actor_parameters(self) -> list[nn.Parameter]:
        """Return what the policy gradient adds to the reward head, to be learned slowly."""
        return [*self.query.parameters(), *self.bias.parameters()]

    def table(self) -> ItemTable:
        """Compute from the features what the other methods need of every item."""
        vectors = self.project(self.features)
        features = F.pad(F.pad(self.features, (0, 1), value=1.0), (0, 0, 0, 1))
        bias, quality = self.bias(self.features).T, self.quality(self.features).T
        prior = features.new_full((self.n_items,), 3) if self.prior is None else self.prior
        return ItemTable(vectors, features, bias, quality, F.pad(prior, (0, 1))[:, None])

    def step(self, table: ItemTable, state: Tensor, items: Tensor, rewards: Tensor) -> Tensor:
        """Update the state (B, d) with one recommended item (B,) and its reward (B,), 1 to 5.

        Padding items leave the state as it is.
        """
        f, liking = table.features[items], ((rewards - 3) / 2).unsqueeze(1)
        memory, sums = state[:, : self.tracker.size], state[:, self.tracker.size :]
        moved = self.tracker.step(memory, f[:, :-1], liking)
        if self.prior is not None:
            liking = (rewards.unsqueeze(1) - table.prior[items]) / 2
        pair = torch.cat([(f[:, :, None] * f[:, None]).flatten(1), f * liking, f[:, -1:]], 1)
        known = (items < self.n_items).unsqueeze(1)
        return torch.cat([torch.where(known, moved, memory), sums + pair], 1)

    def start(self, table: ItemTable, items: Tensor, rewards: Tensor) -> Tensor:
        """Return the state (B, d) after reading a window of items and rewards, both (B, K)."""
        size = self.tracker.size + self.width * (self.width + 1) + 1
        state = table.features.new_zeros(len(items), size)
        known = (items < self.n_items).any(0).nonzero()
        for k in range(int(known[0]) if len(known) else items.shape[1], items.shape[1]):
            state = self.step(table, state, items[:, k], rewards[:, k])
        return state

    def read(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is known of the users in states (B, d).

        Returns:
            Everything, (B, hidden + f + 2), for actor and critic; and the part that no weight
            enters, (B, f + 2), for the reward head: the ridge regression's coefficients and how
            many pairs are behind them, n / (n + 1).
        """
        memory, sums = state[:, : self.tracker.size], state[:, self.tracker.size :].detach()
        gram, rest = sums.split([self.width**2, self.width + 1], 1)
        penalty = RIDGE * torch.eye(self.width, device=gram.device)
        gram = gram.view(-1, self.width, self.width) + penalty
        taste = torch.linalg.solve(gram, rest[:, :-1])
        known = torch.cat([taste, rest[:, -1:] / (rest[:, -1:] + 1)], 1)
        return torch.cat([self.tracker.read(memory), known], 1), known

    def predict(self, table: ItemTable, known: Tensor) -> Tensor:
        """Return the predicted rewards of all items in rating points, (B, N)."""
        level, taste = self.level(known), self.taste(known)
        predicted: Tensor = table.prior[:-1].T + level + taste @ table.vectors.T + table.quality
        if self.prior is not None:
            predicted = predicted + 2 * known[:, :-1] @ table.features[:-1].T
        return predicted

    def foresee(self, known: Tensor, acts: Tensor) -> Tensor:
        """Return the predicted reward of one item (B,) a row, in rating points: (B,)."""
        x = self.features[acts]
        said = (self.taste(known) * self.project(x)).sum(1, keepdim=True)
        predicted: Tensor = self.level(known) + said + self.quality(x)
        if self.prior is None:
            return predicted.squeeze(1) + 3
        regressed = (known[:, :-2] * x).sum(1) + known[:, -2]
        return predicted.squeeze(1) + self.prior[acts] + 2 * regressed

    def act(self, table: ItemTable, state: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (B, N), values (B,) and what the reward head saw, (B, f + 2).

        Forbidden items, False in ``mask`` (B, N), get the logit -inf.
        """
        seen, known = self.read(state)
        return *self.decide(table, seen, known, mask), known

    def decide(
        self, table: ItemTable, seen: Tensor, known: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits (B, N) and values (B,) from what :meth:`read` returned.

        The policy gradient does not reach the predicted rewards through the logits.
        """
        scores = self.query(seen) @ self.features.T + table.bias
        if self.foresight:
            with torch.no_grad():
                predicted = self.predict(table, known)
            scores = scores + self.sharpness * (predicted - 3)
        return scores.masked_fill(~mask, -torch.inf), self.critic(seen).squeeze(1)

    def value(self, state: Tensor) -> Tensor:
        """Return the critic's value of each state (B, d) -> (B,)."""
        return torch.squeeze(self.critic(self.read(state)[0]), 1)


def sample(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one item a row from softmax(logits) by the inverse of its cumulative sum.

    The same distribution as ``torch.distributions.Categorical``, about ten times as fast on large
    catalogues. The noise is drawn on the CPU, so that every device sees the same.

    Args:
        logits: Shape (B, N); -inf forbids an item.
        generator: The generator for policy sampling (CPU).

    Returns:
        Items, shape (B,).
    """
    cumulative = logits.detach().softmax(1).cumsum(1)
    noise = torch.rand(len(logits), 1, generator=generator).to(logits.device)
    # (0, 1] rather than [0, 1): a forbidden item has an empty interval and is never drawn
    return torch.searchsorted(cumulative, (1 - noise) * cumulative[:, -1:]).squeeze(1)


def build_policy(features: Tensor, seed: int, **settings: Any) -> RecPolicy:
    """Return a freshly initialised policy without touching torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return RecPolicy(features, **settings)


def load_policy(state: dict[str, Tensor], tracker: str | None = None) -> RecPolicy:
    """Return the policy whose ``state_dict`` this is; its kind and sizes are read off the weights.

    Without foresight the sharpness is 0 and stays so.

    Args:
        state: The weights.
        tracker: Name of the tracker; None finds the registered one that has such weights.

    Raises:
        UserError: If there is none, or more than one.
    """
    dim, hidden = len(state["project.weight"]), state["critic.0.weight"].shape[0]
    features, held = state["features"].cpu(), {k for k in state if k.startswith("tracker.")}
    own = {n: build_tracker(n, features.shape[1], hidden).state_dict() for n in TRACKERS}
    fit = [name for name, part in own.items() if {f"tracker.{key}" for key in part} == held]
    if tracker is None and len(fit) != 1:
        found = f"the weights are those of {' and '.join(fit) or 'none'} of {', '.join(TRACKERS)}"
        raise UserError(f"{found}; register your tracker, pass tracker=NAME")
    policy = RecPolicy(features, dim=dim, hidden=hidden, tracker=tracker or fit[0],
                       foresight=bool(state["sharpness"] != 0),
                       prior=state.get("prior"))  # fmt: skip
    policy.load_state_dict(state)
    return policy.eval()
