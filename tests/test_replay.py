"""The mixed replay draws by the rule, keeps everything and survives the file."""

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from minirec._io import save_tensors
from minirec.rl.replay import MixedReplay, Steps
from minirec.world.rules import QuitRules
from test_rl import demonstration, make_env


def steps(n, first=0):
    """``n`` steps that can be told apart by what they paid."""
    paid = np.arange(first, first + n, dtype=np.float32)
    window = np.zeros((n, 4), np.int64), np.zeros((n, 4), np.float32)
    return Steps(np.arange(n), *window, np.arange(n), paid, paid % 2 == 0)


def replay(weights, n_played, scale=0.05):
    made = MixedReplay(steps(len(weights)), scale)
    made.append(steps(n_played, 1000))
    made.weights[:] = weights
    return made


def chance(order, weights, n_played, scale):
    """The rule, word by word: the chance to draw the rows ``order`` one after the other."""
    demos, played, p = list(range(len(weights))), n_played, 1.0
    for row in order:
        mass = {"played": scale * played, "demo": sum(weights[d] for d in demos)}
        if row < len(weights):
            p *= mass["demo"] / sum(mass.values()) * weights[row] / mass["demo"]
            demos.remove(row)
        else:
            p *= mass["played"] / sum(mass.values()) / played
            played -= 1
    return p


def test_draws_follow_the_rule():
    weights, n_played, scale, n = [0.2, 1.0, 3.0], 4, 0.3, 30_000
    made, rng = replay(weights, n_played, scale), np.random.default_rng(0)
    orders = list(itertools.permutations(range(7), 3))
    expected = np.array([chance(order, weights, n_played, scale) for order in orders])
    assert expected.sum() == pytest.approx(1)
    number = {order: i for i, order in enumerate(orders)}
    drawn = [number[tuple(made.draw(3, rng).tolist())] for _ in range(n)]
    assert chisquare(np.bincount(drawn, minlength=len(orders)), n * expected).pvalue > 1e-3
    assert (made.weights == weights).all()


def test_the_demonstrations_share_is_the_predicted_one():
    rng = np.random.default_rng(0)
    for weights, n_played in ((np.ones(300), 2000), (rng.uniform(0.5, 1.5, 300), 12_000)):
        made = replay(weights, n_played)
        due = 300 * weights.mean() / (300 * weights.mean() + 0.05 * n_played)
        assert made.demo_share == pytest.approx(due)
        share = np.mean([made.draw(8, rng) < 300 for _ in range(4000)])
        assert share == pytest.approx(due, abs=0.012)


@pytest.mark.parametrize("n_played", [0, 1, 5])
def test_every_row_is_drawn_at_most_once(n_played):
    made, rng = replay([1e-6, 1e6, 1.0, 1.0], n_played), np.random.default_rng(0)
    for _ in range(200):
        rows = made.draw(8, rng)
        assert len(set(rows.tolist())) == len(rows) == min(8, 4 + n_played)


def test_nothing_is_forgotten_while_it_grows():
    made, parts = MixedReplay(steps(3), 0.05), [steps(3)]
    for size in (1, 2, 9, 1, 40, 3):
        parts.append(steps(size, 1000 * size))
        made.append(parts[-1])
    held, all_of_it = made.take(np.arange(made.count)), Steps.joined(parts)
    assert made.n_played == 56 and len(held) == 59
    for name in ("users", "items", "rewards", "acts", "paid", "done"):
        assert np.array_equal(getattr(held, name), getattr(all_of_it, name)), name
        assert getattr(held, name).dtype == getattr(all_of_it, name).dtype, name


def test_played_steps_count_once_in_a_loss():
    made = replay([0.5, 2.0], 3)
    assert made.weights_of(np.array([1, 4, 0, 2])).tolist() == [2.0, 1.0, 0.5, 1.0]


def test_it_survives_the_file(tmp_path):
    made = replay([0.5, 2.0], 7)
    save_tensors(tmp_path / "replay.pt", made.state_dict())
    read = MixedReplay(steps(2), 0.05)
    read.append(steps(1))
    read.load_state_dict(torch.load(tmp_path / "replay.pt", weights_only=True))
    one, two = (r.draw(8, np.random.default_rng(3)) for r in (made, read))
    assert np.array_equal(one, two) and np.array_equal(made.take(one).paid, read.take(one).paid)
    read.append(steps(30))
    assert (made.count, read.count) == (9, 39)


def test_steps_of_an_episode():
    """Windows before and after each step are the observations; the last step is always done."""
    env = make_env(QuitRules(min_reward=-1, max_turns=9), K=5)
    shown = demonstration(env, [4, 5, 6, 7, 8, 4], 2)
    made = Steps.of(shown, 4)
    assert np.array_equal(made.items, shown.obs["items"][:-1, -4:])
    items, rewards = made.following()
    assert np.array_equal(items, shown.obs["items"][1:, -4:])
    assert np.allclose(rewards, shown.obs["rewards"][1:, -4:])
    assert not shown.terminal and made.done.tolist() == [False] * 5 + [True]
    assert (made.users == 2).all() and np.allclose(made.paid, shown.rews)
