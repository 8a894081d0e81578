"""The networks of IL-Rec's released code: one row of weights for every user and every item."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from minirec._io import BoolArray, IntArray
from minirec.rl.policy import sample
from minirec.rl.settings import OfficialConfig
from minirec.world.batched import Obs


class OfficialNet(nn.Module):
    """State tracker and actor.

    A user is an embedding, and so is an item: whoever was never rolled out keeps the random one
    it began with, and nothing is known of a new item. A transformer reads the last ``window``
    items with their rewards. Built in chapter 12.

    Args:
        n_users: Users of the whole log, so that everyone to be judged has a row.
        n_items: Size of the catalogue N.
        config: Settings.

    Source:
        The released code of IL-Rec (arXiv 2510.13229), without its value head, which is never
        trained.
    """

    def __init__(self, n_users: int, n_items: int, config: OfficialConfig) -> None:
        super().__init__()
        dim, self.n_items, self.config = config.dim, n_items, config
        self.users = nn.Embedding(n_users, dim)
        self.items = nn.Embedding(n_items + 1, dim, padding_idx=n_items)
        self.places = nn.Embedding(config.window, dim)
        self.liking = nn.Linear(1, dim)
        layer = nn.TransformerEncoderLayer(dim, 1, dim, config.dropout, batch_first=True)
        self.layers = nn.ModuleList(deepcopy(layer) for _ in range(config.layers))
        self.norm = nn.LayerNorm(dim)
        self.actor = nn.Linear(dim, n_items)

    def state(self, users: Tensor, items: Tensor, rewards: Tensor) -> Tensor:
        """Return states (B, d) of users (B,) after windows (B, window) of items and rewards."""
        known = items < self.n_items
        read = self.users(users)
        if known.any():
            liked = self.liking(rewards.unsqueeze(2) / 5)
            x = torch.tanh(self.items(items) + liked + self.places.weight)
            unknown = ~known
            unknown[:, -1] = False  # attention needs something; who has no history gets 0 below
            for layer in self.layers:
                x = transform(layer, x, unknown)
            read = read + x[:, -1] * known[:, -1:]
        return F.relu(self.norm(read))

    def logits(self, state: Tensor) -> Tensor:
        """Return the squashed logits (B, N) in states (B, d): c tanh(z / c)."""
        z: Tensor = self.actor(state)
        c = self.config.logit_bound
        return z if c is None else c * torch.tanh(z / c)

    def pairs(self, state: Tensor, acts: Tensor) -> Tensor:
        """Return [state; item embedding], (B, 2 d), of states (B, d) and items (B,)."""
        return torch.cat([state, self.items(acts)], 1)

    @torch.no_grad()
    def cap(self) -> None:
        """Shorten the actor's rows and cut its biases to what the settings allow."""
        self.actor.weight.data.renorm_(2, 0, self.config.row_norm)
        self.actor.bias.clamp_(-self.config.bias_limit, self.config.bias_limit)


def transform(layer: Any, x: Tensor, unknown: Tensor) -> Tensor:
    """Return what a transformer layer with one head makes of sequences.

    The same as ``layer(x, src_key_padding_mask=unknown)`` (tested), in half the time for so few
    and short sequences.

    Args:
        layer: A post-norm ``nn.TransformerEncoderLayer``.
        x: Shape (B, K, d).
        unknown: Which places no other may look at, shape (B, K); not a whole row.

    Source:
        Vaswani et al. (2017), sections 3.1 to 3.3. Built in chapter 12.
    """
    heads = layer.self_attn
    drop = partial(F.dropout, p=layer.dropout.p, training=layer.training)
    q, k, v = F.linear(x, heads.in_proj_weight, heads.in_proj_bias).chunk(3, 2)
    scores = (q @ k.mT / x.shape[2] ** 0.5).masked_fill(unknown[:, None], -torch.inf)
    x = layer.norm1(x + drop(heads.out_proj(drop(scores.softmax(2)) @ v)))
    out: Tensor = layer.norm2(x + drop(layer.linear2(drop(F.relu(layer.linear1(x))))))
    return out


class OfficialCritic(nn.Module):
    """Q of all items and V, on one hidden layer. Built in chapter 12.

    Args:
        n_items: Size of the catalogue N.
        dim: Size of a state and of the hidden layer.

    Source:
        The released code of IL-Rec (arXiv 2510.13229).
    """

    def __init__(self, n_items: int, dim: int) -> None:
        super().__init__()
        self.trunk = nn.Linear(dim, dim)
        self.q, self.v = nn.Linear(dim, n_items), nn.Linear(dim, 1)

    def forward(self, state: Tensor, acts: Tensor) -> tuple[Tensor, Tensor]:
        """Return Q of the items (B,) and V in states (B, d), both (B,)."""
        hidden = F.relu(self.trunk(state))
        return self.q(hidden).gather(1, acts[:, None]).squeeze(1), self.v(hidden).squeeze(1)


def mlp(inputs: int, hidden: int) -> nn.Sequential:
    """Return one hidden layer and one output: the discriminator, the demonstrations' Q and V."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 1))


class OfficialAgent:
    """Draw from the policy without dropout, for the user whose number it is told.

    Args:
        net: The trained network.
        name: Its name in tables.
        noise: Draws items (CPU).
    """

    def __init__(self, net: OfficialNet, name: str, noise: torch.Generator) -> None:
        self.net, self.name, self.noise = net, name, noise

    def start(self, obs: Obs, users: IntArray) -> None:
        """Look up B users; ``obs`` is read by :meth:`act`."""
        self.users = torch.tensor(np.asarray(users))

    @torch.no_grad()
    def act(self, obs: Obs, mask: BoolArray) -> IntArray:
        """Return one item a row, (B,), among those that ``mask`` (B, N) allows."""
        self.net.eval()
        state = self.net.state(self.users, *recent(obs, self.net.config.window))
        logits = self.net.logits(state).masked_fill(~torch.tensor(mask), -torch.inf)
        return sample(logits, self.noise).numpy()


def recent(obs: Obs, window: int) -> tuple[Tensor, Tensor]:
    """Return the last items (B, window) and their rewards (B, window) of an observation."""
    items, rewards = (torch.from_numpy(obs[name][:, -window:]) for name in ("items", "rewards"))
    return items, rewards
