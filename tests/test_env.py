"""The environment and its batched twin: the rules, one by one, and that both agree."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from minirec._io import UserError
from minirec.world.batched import BatchedRecEnv
from minirec.world.env import RecEnv
from minirec.world.histories import Histories
from minirec.world.rules import RULES, QuitRules, rules_named
from minirec.world.sources import MatrixSource

N, U = 12, 5


def world(seed: int = 0, empty: bool = False) -> tuple[MatrixSource, Histories]:
    rng = np.random.default_rng(seed)
    matrix = rng.uniform(1.5, 5, (U, N)).astype(np.float32)
    counts = np.zeros(U, int) if empty else rng.integers(0, 5, U)
    items = [rng.choice(N, size, replace=False) for size in counts]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    flat = np.concatenate([*items, np.zeros(0, int)]).astype(np.int64)
    histories = Histories(flat, rng.uniform(1, 5, len(flat)).astype(np.float32), offsets, N)
    return MatrixSource(matrix, rng.normal(size=(N, 3)).astype(np.float32)), histories


def play(rules: QuitRules, acts: list[int], matrix: np.ndarray) -> tuple[list[float], str | None]:
    histories = Histories(np.zeros(0, int), np.zeros(0, np.float32), np.zeros(2, int), len(matrix))
    source = MatrixSource(matrix[None], np.eye(len(matrix), dtype=np.float32))
    env = RecEnv(source, rules, histories)
    env.reset(seed=0)
    rewards = []
    for act in acts:
        _, reward, terminated, truncated, info = env.step(act)
        rewards.append(reward)
        if terminated or truncated:
            return rewards, info["reason"]
    return rewards, None


def test_reward_of_exactly_two_continues_and_just_below_quits():
    matrix = np.array([2.0, 1.99, 5.0], np.float32)
    assert play(RULES["ilrec"], [0], matrix)[1] is None
    rewards, reason = play(RULES["ilrec"], [1], matrix)
    assert reason == "low_reward"
    assert rewards == pytest.approx([1.99])  # the terminal reward counts


def test_billp_forgives_the_first_pick_only():
    matrix = np.array([1.0, 5.0], np.float32)
    assert play(RULES["billp"], [0], matrix)[1] is None
    assert play(RULES["billp"], [1, 0], matrix)[1] == "low_reward"


def test_a_repeat_quits_inside_the_window_and_not_behind_it():
    matrix = np.full(6, 5, np.float32)
    assert play(RULES["ilrec"], [0, 1, 2, 3, 0], matrix)[1] == "distance"  # gap 4
    assert play(RULES["ilrec"], [0, 1, 2, 3, 4, 0], matrix)[1] is None  # gap 5


def test_low_reward_is_checked_before_distance():
    assert play(RULES["ilrec"], [0, 0], np.array([2.0], np.float32))[1] == "distance"
    rules = QuitRules(min_distance=1e-6, quit_at_first=False)
    assert play(rules, [0, 0], np.array([1.0], np.float32))[1] == "low_reward"


def test_ignoring_the_mask_ends_with_reason_repeat_and_reward_zero():
    rewards, reason = play(RULES["no_repeat"], [0, 0], np.full(3, 5, np.float32))
    assert (rewards, reason) == ([5.0, 0.0], "repeat")


def test_turn_limit_truncates():
    assert play(QuitRules(max_turns=2), [0, 1], np.full(3, 5, np.float32))[1] == "max_turn"


def test_quit_reward_is_shown_but_not_counted():
    source, histories = world()
    source.matrix[:] = 1
    env = RecEnv(source, RULES["billp"], histories)
    env.reset(seed=0)
    env.step(0)
    obs, reward, terminated, _, _ = env.step(1)
    assert terminated and reward == 1 and obs["rewards"][-1] == -1000


@pytest.mark.parametrize("rules", [*RULES.values(), QuitRules(min_distance=1.5, window=2)])
@pytest.mark.parametrize("history", ["log", "none"])
def test_batched_equals_single_step_by_step(rules, history):
    for seed in range(20):
        source, histories = world(seed, empty=seed == 0)
        rng = np.random.default_rng(seed)
        users = rng.integers(0, U, 7)
        batched = BatchedRecEnv(source, rules, histories, K=4, history=history)
        singles = [RecEnv(source, rules, histories, K=4, history=history) for _ in users]
        obs = batched.reset(users)
        running = np.ones(7, bool)
        masks = []
        for row, user in enumerate(users):
            single, info = singles[row].reset(options={"user": user})
            assert all(np.array_equal(obs[name][row], single[name]) for name in single)
            masks.append(info["action_mask"])
        for _ in range(15):
            assert np.array_equal(batched.action_mask[running], np.array(masks)[running])
            acts = rng.integers(0, N, 7)
            obs, rewards, terminated, truncated = batched.step(acts)
            for row in np.flatnonzero(running):
                single, reward, quits, cut, info = singles[row].step(acts[row])
                assert all(np.array_equal(obs[name][row], single[name]) for name in single)
                assert rewards[row] == pytest.approx(reward)
                assert (terminated[row], truncated[row]) == (quits, cut)
                assert batched.reasons[row] == info.get("reason", "running")
                masks[row] = info["action_mask"]
            assert not rewards[~running].any() and not terminated[~running].any()
            running &= ~(terminated | truncated)
            assert np.array_equal(running, batched.alive)


def test_restart_replaces_only_the_rows_asked_for():
    source, histories = world(3)
    env = BatchedRecEnv(source, RULES["no_repeat"], histories, K=4)
    env.reset(np.array([0, 1, 2]))
    before, *_ = env.step(np.array([5, 5, 5]))
    after = env.restart(np.array([False, True, False]), np.array([4]))
    fresh = BatchedRecEnv(source, RULES["no_repeat"], histories, K=4).reset(np.array([4]))
    for name in before:
        assert np.array_equal(after[name][[0, 2]], before[name][[0, 2]])
        assert np.array_equal(after[name][1], fresh[name][0])


def test_gymnasium_accepts_the_environment():
    source, histories = world(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*(infinity|unbounded|render).*")
        check_env(RecEnv(source, RULES["no_repeat"], histories), skip_render_check=True)


def test_gymnasium_makes_it_by_name():
    assert "minirec/RecEnv-v0" in gymnasium.registry  # since minirec.world.env is imported
    env = gymnasium.make("minirec/RecEnv-v0")
    obs, info = env.reset(seed=3)
    assert obs["items"].shape == (10,) and info["action_mask"].shape == (600,)
    assert env.reset(seed=3)[1]["user"] == info["user"]


def test_errors_name_the_value():
    source, histories = world()
    with pytest.raises(UserError, match=r"no quit rules named 'ilrek'.*ilrec"):
        rules_named("ilrek")
    with pytest.raises(UserError, match="action 12 is no item"):
        env = RecEnv(source, RULES["ilrec"], histories)
        env.reset(seed=0)
        env.step(12)
    with pytest.raises(UserError, match="together"):
        RecEnv(source)
    with pytest.raises(UserError, match="max_turns is 0"):
        QuitRules(max_turns=0)
