"""Metrics equal what one counts by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from minirec.evidence.metrics import Episodes, episode_metrics, play, share, steps_to_reach


class CountdownEnv:
    """User u stays for u + 1 recommendations; item i pays i points while the user is there."""

    n_items = 6

    def __init__(self, max_turns: int) -> None:
        self.rules = SimpleNamespace(max_turns=max_turns)

    def reset(self, users):
        self.left = np.minimum(users + 1, self.rules.max_turns)
        self.quits = users + 1 <= self.rules.max_turns
        return {"turn": np.zeros(len(users), int)}

    def step(self, acts):
        was = self.alive
        self.left = self.left - was
        ended = was & (self.left == 0)
        paid = np.where(was, acts, 0).astype(np.float32)
        return {"turn": np.zeros(len(acts), int)}, paid, ended & self.quits, ended & ~self.quits

    @property
    def alive(self):
        return self.left > 0

    @property
    def action_mask(self):
        return np.ones((len(self.left), self.n_items), bool)

    @property
    def reasons(self):
        return np.where(self.quits, "low_reward", "max_turn")


class InTurn:
    """Recommends 1, 2, 1, 2, ... and remembers how it was called."""

    name = "in turn"

    def start(self, obs, users):
        self.calls, self.users = 0, users

    def act(self, obs, mask):
        assert mask.shape == (len(self.users), CountdownEnv.n_items)
        self.calls += 1
        return np.full(len(self.users), 2 - self.calls % 2)


def test_play_counts_until_the_last_user_has_gone():
    policy = InTurn()
    episodes = play(policy, CountdownEnv(max_turns=10), np.array([0, 3, 1]))
    assert policy.calls == 4
    assert episodes.lengths.tolist() == [1, 4, 2]
    assert episodes.returns.tolist() == [1, 6, 3]
    assert episodes.acts.tolist() == [[1, -1, -1, -1], [1, 2, 1, 2], [1, 2, -1, -1]]
    assert episodes.distinct == 2


def test_play_stops_at_the_turn_limit():
    episodes = play(InTurn(), CountdownEnv(max_turns=3), np.array([0, 9]))
    assert episodes.lengths.tolist() == [1, 3]
    assert episodes.reasons.tolist() == ["low_reward", "max_turn"]


def test_returns_are_summed_in_double_precision():
    rewards = np.full((1, 100_000), 0.1, np.float32)
    episodes = Episodes(np.zeros((1, 100_000), int), rewards, np.array(["max_turn"]))
    assert episodes.returns[0] == pytest.approx(100_000 * float(np.float32(0.1)), rel=1e-12)


def test_reward_per_step_is_pooled():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 100, 50)
    returns = lengths * rng.uniform(1, 5, 50)
    found = episode_metrics(returns, lengths)
    assert found["r_each"] == pytest.approx(returns.sum() / lengths.sum())
    assert found["len"] * found["r_each"] == pytest.approx(found["r_traj"])
    assert found["r_each"] != pytest.approx((returns / lengths).mean())


def test_share_is_a_ratio_of_means():
    assert share([1.0, 3.0], [2.0, 14.0]) == pytest.approx(0.25)
    assert share([2.0, 14.0], [2.0, 14.0]) == 1
    with pytest.raises(ValueError, match="positive mean"):
        share([1.0], [0.0])


def test_steps_to_reach():
    steps, values = [10, 20, 30, 40], [0.0, 0.6, 0.2, 1.0]
    assert steps_to_reach(steps, values, 0.3) == 15  # the first crossing, not the last
    assert steps_to_reach(steps, values, 0.6) == 20
    assert steps_to_reach(steps, values, 0.8) == pytest.approx(37.5)
    assert steps_to_reach(steps, values, -1.0) == 10
    assert steps_to_reach(steps, values, 1.1) is None
    assert steps_to_reach([], [], 0.5) is None


def test_play_agrees_with_the_real_environment():
    """On the batched environment: nothing is repeated under the mask, and every sum is right."""
    from minirec.world.batched import BatchedRecEnv
    from minirec.world.controls import UniformRandom
    from minirec.world.histories import Histories
    from minirec.world.rules import QuitRules
    from minirec.world.sources import MatrixSource

    rng = np.random.default_rng(0)
    matrix = rng.uniform(1.5, 5, (20, 30)).astype(np.float32)
    source = MatrixSource(matrix, np.zeros((30, 2), np.float32))
    empty = Histories(np.zeros(0, int), np.zeros(0, np.float32), np.zeros(21, int), 30)
    env = BatchedRecEnv(source, QuitRules(repeats="masked", max_turns=8), empty)
    users = np.arange(20)
    episodes = play(UniformRandom(np.random.default_rng(1)), env, users)
    shown = episodes.acts >= 0
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in episodes.acts)
    paid = np.where(shown, matrix[users[:, None], episodes.acts], 0)
    np.testing.assert_array_equal(episodes.rewards, paid)
    last = paid[users, episodes.lengths - 1]
    np.testing.assert_array_equal(episodes.reasons == "low_reward", last < 2)
    assert (episodes.lengths[last >= 2] == 8).all()


def test_repeats_and_reasons_are_counted():
    acts = np.array([[3, 1, 3, 3], [2, 2, -1, -1], [5, -1, -1, -1]])
    reasons = np.array(["max_turn", "low_reward", "low_reward"])
    episodes = Episodes(acts, np.zeros(acts.shape), reasons)
    assert episodes.repeats == pytest.approx(3 / 7)  # 3 and 3 again, 2 again
    assert episodes.ends == pytest.approx({"low_reward": 2 / 3, "max_turn": 1 / 3})
    assert Episodes(np.array([[1, 2, 3]]), np.zeros((1, 3)), reasons[:1]).repeats == 0
