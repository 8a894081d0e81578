"""State trackers: what a policy remembers of the items it has shown and of how they were liked."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minirec._io import UserError

WINDOW = 10  # pairs that the attention tracker looks back on


class Tracker(nn.Module):
    """Turns (item, liking) pairs, one after the other, into a vector that tells the user apart.

    A memory is a plain (B, ``size``) tensor, all zeros before the first pair, so that rows can be
    cut out, stored and replaced; what is read from it has ``width`` numbers. Built in chapter 11.

    Args:
        dim: Size of an item vector.
        width: Numbers read from the memory.
    """

    size: int

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.dim, self.width = dim, width

    def step(self, memory: Tensor, vectors: Tensor, liking: Tensor) -> Tensor:
        """Return the memory (B, size) after one item, (B, dim), and its liking in -1..1, (B, 1)."""
        raise NotImplementedError

    def read(self, memory: Tensor) -> Tensor:
        """Return what actor and critic see of memories (B, size): (B, width)."""
        raise NotImplementedError


class NoTracker(Tracker):
    """Remembers nothing: the state is the regression alone."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__(dim, 0)
        self.size = 0

    def step(self, memory: Tensor, vectors: Tensor, liking: Tensor) -> Tensor:
        """Return the empty memory."""
        return memory

    def read(self, memory: Tensor) -> Tensor:
        """Return nothing, (B, 0)."""
        return memory


class GRUTracker(Tracker):
    """A gated recurrent unit: learns what to keep and what to forget.

    Source:
        Cho et al. (2014). Built in chapter 11.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__(dim, width)
        self.size = width
        self.cell = nn.GRUCell(2 * dim + 1, width)

    def step(self, memory: Tensor, vectors: Tensor, liking: Tensor) -> Tensor:
        """Let the gates decide what of the pair enters the memory."""
        moved: Tensor = self.cell(torch.cat([vectors, vectors * liking, liking], 1), memory)
        return moved

    def read(self, memory: Tensor) -> Tensor:
        """Return the memory itself."""
        return memory


class AverageTracker(Tracker):
    """The mean item, the mean item weighted by liking and the mean liking, in no order.

    Built in chapter 11.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__(dim, width)
        self.size = 2 * dim + 2
        self.layer = nn.Linear(2 * dim + 1, width)

    def step(self, memory: Tensor, vectors: Tensor, liking: Tensor) -> Tensor:
        """Add the pair to the sums; the last number counts the pairs."""
        one = torch.ones_like(liking)
        return memory + torch.cat([vectors, vectors * liking, liking, one], 1)

    def read(self, memory: Tensor) -> Tensor:
        """Return one layer over the means."""
        sums, count = memory[:, :-1], memory[:, -1:]
        return torch.relu(self.layer(sums / count.clamp(min=1)))


class AttentionTracker(Tracker):
    """The newest pair asks, the last ten answer: one head of attention.

    Positions count backwards from the newest pair. Built in chapter 11.

    Source:
        Vaswani et al. (2017), eq. 1; for recommendation Kang and McAuley (2018).
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__(dim, width)
        self.pair = dim + 2  # vector, liking, and 1 where there is a pair at all
        self.size = WINDOW * self.pair
        self.layer = nn.Linear(2 * dim + 1, width)
        self.position = nn.Parameter(torch.zeros(WINDOW, width))
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))

    def step(self, memory: Tensor, vectors: Tensor, liking: Tensor) -> Tensor:
        """Drop the oldest pair and append the new one."""
        new = torch.cat([vectors, liking, torch.ones_like(liking)], 1)
        return torch.cat([memory[:, self.pair :], new], 1)

    def read(self, memory: Tensor) -> Tensor:
        """Return softmax(q K^T / sqrt(width)) V plus the newest pair; zeros before the first."""
        pairs = memory.view(-1, WINDOW, self.pair)
        x, liking, there = pairs.split([self.dim, 1, 1], 2)
        tokens = torch.relu(self.layer(torch.cat([x, x * liking, liking], 2)) + self.position)
        newest = tokens[:, -1]
        scores = (self.key(tokens) @ self.query(newest)[:, :, None]).squeeze(2)
        scores = scores.masked_fill(there.squeeze(2) == 0, -1e9) / self.width**0.5
        answer = (scores.softmax(1)[:, None] @ self.value(tokens)).squeeze(1)
        told: Tensor = F.relu(newest + answer) * there[:, -1]
        return told


TRACKERS: dict[str, type[Tracker]] = {
    "gru": GRUTracker, "average": AverageTracker, "attention": AttentionTracker,
    "none": NoTracker,
}  # fmt: skip
"""Name in the settings -> class."""


def build_tracker(name: str, dim: int, width: int) -> Tracker:
    """Return a freshly initialised tracker.

    Raises:
        UserError: If there is none of that name, or its sizes are not what it says.
    """
    if name not in TRACKERS:
        raise UserError(f"no tracker {name!r}; use one of {', '.join(TRACKERS)}")
    tracker = TRACKERS[name](dim, width)
    memory = tracker.step(torch.zeros(2, tracker.size), torch.zeros(2, dim), torch.zeros(2, 1))
    found = [list(memory.shape), list(tracker.read(memory).shape)]
    if found != [[2, tracker.size], [2, tracker.width]]:
        raise UserError(f"the tracker {name!r} returns shapes {found}; mend its size or its width")
    return tracker
