"""The network of the world model: a DeepFM whose users are histories.

Source: Guo et al., *DeepFM: A Factorization-Machine based Neural Network for CTR Prediction*,
IJCAI 2017. Theirs embeds a user id. Here the user field is the ridge estimate of a taste from the
vectors and ratings of the items in the history: anybody with a few ratings has one, and the items
are trained through that estimate. Chapter: 03-world-model.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from minirec._io import save_tensors


class Items(NamedTuple):
    """What the model makes of the catalogue before it meets a user."""

    item: Tensor  # item field, (N, d)
    feature: Tensor  # feature field: genres and popularity, (N, d)
    bias: Tensor  # first-order terms, (N,)
    layer: Tensor  # the items' part of the network's first layer, (N, hidden)

    @property
    def vectors(self) -> Tensor:
        """What a taste is multiplied with, (N, d)."""
        return self.item + self.feature

    @property
    def baseline(self) -> Tensor:
        """The rating by a user of whom nothing is known, before the network, (N,)."""
        return self.bias + (self.item * self.feature).sum(1)


def fm_term(fields: Tensor) -> Tensor:
    """Sum the inner products of all pairs of fields, in time linear in their number.

    Args:
        fields: Embedded fields, (B, F, d).

    Returns:
        The sum over ``f < g`` of ``<field_f, field_g>``, (B,); Guo et al., equation 2.
    """
    return (fields.sum(1).square() - fields.square().sum(1)).sum(-1) / 2


class DeepFM(nn.Module):
    """Three fields (user, item, features) in a factorization machine and a small network.

    A user is a vector (d + 1,): a taste, d numbers, and log(1 + length of the history). The last
    coordinate of all item vectors is one number, so the last coordinate of a taste is the user's
    offset.

    Args:
        features: What is known of each item without its ratings, (N, F).
        dim: Size d of the fields.
        hidden: Width of the network's first layer; the second has half of it.
        mean: Rating to start from, 1..5.
        rng: Draws the initial weights.

    Attributes:
        errors: Error of the fit and of the mean rating on the held-out rows, rating points, (2,);
            the first chose when to stop, so it flatters a little.
    """

    features: Tensor
    errors: Tensor

    def __init__(
        self, features: Tensor, dim: int, hidden: int, mean: float, rng: torch.Generator
    ) -> None:
        super().__init__()
        n_items, n_features = features.shape

        def normal(*shape: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=rng) * scale)

        self.register_buffer("features", features)
        self.register_buffer("errors", torch.full((2,), torch.nan))
        self.mean = nn.Parameter(torch.tensor(mean))
        self.item_bias = nn.Parameter(torch.zeros(n_items))
        self.feature_bias = nn.Parameter(torch.zeros(n_features))
        self.item_vectors = normal(n_items, dim - 1, scale=0.1)
        self.feature_vectors = normal(n_features, dim - 1, scale=0.1)
        self.offset_scale = nn.Parameter(torch.tensor(0.5))
        self.user_layer = normal(dim + 1, hidden, scale=(dim + 1) ** -0.5)
        self.item_layer = normal(2 * dim - 1, hidden, scale=(2 * dim - 1) ** -0.5)
        self.first_bias = nn.Parameter(torch.zeros(hidden))
        self.second_layer = normal(hidden, hidden // 2, scale=(2 / hidden) ** 0.5)
        self.second_bias = nn.Parameter(torch.zeros(hidden // 2))
        self.last_layer = nn.Parameter(torch.zeros(hidden // 2))

    def catalogue(self) -> Items:
        """Embed all items; with fixed weights this needs to be done once."""
        offset = self.offset_scale.expand(len(self.features), 1)
        feature = self.features @ self.feature_vectors
        bias = self.item_bias + self.features @ self.feature_bias
        known = torch.cat([self.item_vectors, feature, bias[:, None]], 1)
        item, wide = torch.cat([self.item_vectors, offset], 1), nn.functional.pad(feature, (0, 1))
        layer = known @ self.item_layer + self.first_bias
        return Items(item=item, feature=wide, bias=self.mean + bias, layer=layer)

    def encode(
        self, table: Items, items: Tensor, ratings: Tensor, owner: Tensor, n_users: int
    ) -> Tensor:
        """Turn histories into users.

        The taste minimises ``sum (rating - baseline - <taste, vector>)^2 + |taste|^2`` over the
        rows of the history; without rows it is zero.

        Args:
            table: The embedded catalogue.
            items: Item of each row, (M,).
            ratings: Rating or reward of each row, 1..5, (M,).
            owner: Whose row it is, 0..n_users-1, (M,).
            n_users: Number U of users.

        Returns:
            Users, (U, d + 1).
        """
        vectors, residuals = table.vectors[items], ratings - table.baseline[items]
        keep = torch.ones_like(residuals)
        taste, _, count = _ridge(vectors, residuals, keep, owner, n_users)
        return torch.cat([taste, count.log1p()[:, None]], 1)

    def encode_without_self(
        self, table: Items, items: Tensor, ratings: Tensor, owner: Tensor, n_users: int,
        keep: Tensor,
    ) -> Tensor:  # fmt: skip
        """Encode each row's user without that row: all that training may predict it from.

        Leaving one row out of a ridge regression needs no second one (Sherman and Morrison 1950).

        Args:
            table: The embedded catalogue.
            items: Item of each row, (M,).
            ratings: Rating of each row, 1..5, (M,).
            owner: Whose row it is, 0..n_users-1, (M,).
            n_users: Number of users.
            keep: 1 where the row belongs to its user's history, 0 where it does not, (M,).

        Returns:
            Users, one for each row, (M, d + 1).
        """
        vectors, residuals = table.vectors[items], ratings - table.baseline[items]
        taste, inverse, count = _ridge(vectors, residuals, keep, owner, n_users)
        direction = (inverse[owner] @ vectors[:, :, None])[:, :, 0]
        leverage = (vectors * direction).sum(1)
        error = residuals - (vectors * taste[owner]).sum(1)
        taste = taste[owner] - direction * (keep * error / (1 - keep * leverage))[:, None]
        return torch.cat([taste, (count[owner] - keep).log1p()[:, None]], 1)

    def forward(self, table: Items, users: Tensor, items: Tensor) -> Tensor:
        """Predict pairs: users (B, d + 1) and items (B,) give ratings (B,), not clipped."""
        fields = torch.stack([users[:, :-1], table.item[items], table.feature[items]], 1)
        first = users @ self.user_layer + table.layer[items]
        return table.bias[items] + fm_term(fields) + self._network(first)

    def all_items(self, table: Items, users: Tensor) -> Tensor:
        """Predict every item: users (B, d + 1) give ratings (B, N), not clipped."""
        first = (users @ self.user_layer)[:, None] + table.layer
        return table.baseline + users[:, :-1] @ table.vectors.T + self._network(first)

    @torch.no_grad()
    def moved(self, vectors: Tensor, baseline: Tensor) -> DeepFM:
        """Return a copy whose items differ: by vectors (N, d - 1) and baselines (N,)."""
        model = copy.deepcopy(self)
        model.item_vectors.add_(vectors)
        model.item_bias.add_(self.catalogue().baseline + baseline - model.catalogue().baseline)
        return model

    def save(self, path: str | Path) -> None:
        """Write the weights as plain tensors, atomically."""
        save_tensors(path, self.state_dict())

    @classmethod
    def load(cls, path: str | Path) -> DeepFM:
        """Read what ``save`` wrote."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        rows, hidden = state["user_layer"].shape
        model = cls(state["features"], rows - 1, hidden, 0.0, torch.Generator())
        model.load_state_dict(state)
        return model.eval()

    def _network(self, first: Tensor) -> Tensor:
        """Finish the network from the sums of its first layer: (..., hidden) -> (...)."""
        second = first.relu() @ self.second_layer + self.second_bias
        return second.relu() @ self.last_layer


def _ridge(
    vectors: Tensor, residuals: Tensor, keep: Tensor, owner: Tensor, n_users: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return tastes (U, d), the inverse matrices behind them (U, d, d) and row counts (U,)."""
    dim = vectors.shape[1]
    kept = vectors * keep[:, None]
    outer = kept[:, :, None] * vectors[:, None, :]
    gram = torch.eye(dim).repeat(n_users, 1, 1).index_add(0, owner, outer)
    moment = vectors.new_zeros(n_users, dim).index_add(0, owner, kept * residuals[:, None])
    count = vectors.new_zeros(n_users).index_add(0, owner, keep)
    inverse = torch.linalg.inv(gram)
    return (inverse @ moment[:, :, None])[:, :, 0], inverse, count
