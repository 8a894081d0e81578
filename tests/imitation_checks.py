"""Episodes to the `imitation` library and back: plain checks, for any interpreter.

``test_imitation.py`` runs them with a stand-in for the library, and under the interpreter of
``make peers`` with the library itself: ``python tests/imitation_checks.py``.
"""

import gymnasium
import numpy as np

from minirec.world.env import RecEnv
from minirec.world.histories import Histories
from minirec.world.rules import QuitRules
from minirec.world.sources import MatrixSource
from minirec.world.trajectory import Trajectory, from_imitation, to_imitation

N, USERS = 9, 6
PAID = np.random.default_rng(0).uniform(1.5, 5, (USERS, N)).astype(np.float32)
LOG = Histories(np.arange(6), np.full(6, 4.0), np.arange(USERS + 1), N)


def environment(turns=4, **rules):
    rules = QuitRules(max_turns=turns, repeats="masked", **rules)
    return RecEnv(MatrixSource(PAID, np.eye(N)), rules, LOG, K=3)


def played(env, user, infos=True):
    """Play one episode at random and keep it as ``demonstrate`` does."""
    obs, info = env.reset(options={"user": user})
    rng, seen, acts, rews, said = np.random.default_rng(user), [obs], [], [], []
    end = cut = False
    while not (end or cut):
        acts.append(int(rng.choice(np.flatnonzero(info["action_mask"]))))
        obs, reward, end, cut, info = env.step(acts[-1])
        seen.append(obs)
        rews.append(reward)
        said.append({"thought": f"turn {len(acts)}", "cost": {"calls": 1}} if user % 2 else {})
    stacked = {name: np.stack([one[name] for one in seen]) for name in obs}
    told = tuple(said) if infos and any(said) else ()
    given = np.array(acts, np.int64), np.array(rews, np.float32), told
    return Trajectory(user, stacked, *given, end, info["reason"])


def assert_equal(one, other):
    assert (one.user, one.terminal, one.reason) == (other.user, other.terminal, other.reason)
    assert one.infos == other.infos and one.obs.keys() == other.obs.keys()
    pairs = [(one.acts, other.acts), (one.rews, other.rews)]
    for ours, theirs in pairs + [(one.obs[name], other.obs[name]) for name in one.obs]:
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def check_there_and_back():
    env, reasons = environment(shown_quit_reward=-1000.0), set()
    for user in range(USERS):
        ours = played(env, user)
        before = repr(ours.infos)
        reasons.add(ours.reason)
        for space in (None, env.observation_space):
            theirs = to_imitation(ours, space)
            assert len(theirs.obs) == len(theirs.acts) + 1 == len(theirs.rews) + 1
            assert {info["user"] for info in theirs.infos} == {user}
            assert [info.get("reason") for info in theirs.infos][-1] == ours.reason
            assert_equal(from_imitation(theirs, space), ours)
        assert repr(ours.infos) == before  # the episode itself is left alone
    assert reasons == {"low_reward", "max_turn"}


def check_flat_as_gymnasium():
    env = environment()
    flat = gymnasium.wrappers.FlattenObservation(env)
    ours = played(env, 3)
    theirs = to_imitation(ours, env.observation_space)
    obs, _ = flat.reset(options={"user": 3})
    for turn, act in enumerate(ours.acts):
        np.testing.assert_array_equal(theirs.obs[turn], obs)
        obs, *_ = flat.step(act)
    np.testing.assert_array_equal(theirs.obs[-1], obs)
    assert theirs.obs.shape[1:] == flat.observation_space.shape


def check_told_by_hand():
    ours = played(environment(), 2)
    theirs = to_imitation(ours)
    bare = type(theirs)(
        obs=theirs.obs, acts=theirs.acts, infos=None, terminal=theirs.terminal, rews=theirs.rews
    )
    assert_equal(from_imitation(bare, user=2, reason=ours.reason), ours)
    assert from_imitation(theirs, user=5).user == 5  # what is said goes before what is told


def check_rollouts():
    """The library plays; its infos hold the mask, which the episode has no place for."""
    from imitation.data.rollout import make_min_episodes, rollout
    from stable_baselines3.common.vec_env import DummyVecEnv

    venv = DummyVecEnv([lambda: gymnasium.wrappers.FlattenObservation(environment())])
    given = {"unwrap": False, "exclude_infos": False, "rng": np.random.default_rng(0)}
    space = environment().observation_space
    for theirs in rollout(None, venv, make_min_episodes(12), **given):
        ours = from_imitation(theirs, space)
        assert ours.reason in ("low_reward", "repeat", "max_turn")
        assert not any("action_mask" in info for info in ours.infos)
        paid = np.where(ours.reason == "repeat", 0, PAID[ours.user, ours.acts[-1]])
        assert ours.rews[-1] == paid and list(ours.obs["turn"]) == list(range(len(ours) + 1))
        assert_equal(from_imitation(to_imitation(ours, space), space), ours)


CHECKS = [check_there_and_back, check_flat_as_gymnasium, check_told_by_hand]

if __name__ == "__main__":
    for check in [*CHECKS, check_rollouts]:
        check()
        print(check.__name__)
