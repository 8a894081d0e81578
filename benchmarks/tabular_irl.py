"""Maximum-entropy IRL on twenty random worlds, ours beside the imitation library's.

    .venv-peers/imitation/bin/python benchmarks/tabular_irl.py    # `make peers` makes it

Soft values, policies and occupancies of one reward are computed by both. Then both fit a reward to
the same demonstrator's visits and are compared with its occupancy, and with each other. The peer's
rewards belong to states, so ours are restricted to the same features. The peer stops where its
state visits are within 1e-3, as ours does. The result is ``book/_results/tabular-irl.json``.
"""

from __future__ import annotations

import importlib.metadata
import logging
import sys
import time
from typing import Any

import numpy as np
from domains import Experiment

from minirec._io import UserError
from minirec.irl.tabular import TabularMDP, maxent_irl, occupancy, soft_value_iteration, visits

try:
    from imitation.algorithms.mce_irl import MCEIRL, mce_occupancy_measures, mce_partition_fh
    from imitation.rewards.reward_nets import BasicRewardNet
    from imitation.util import logger
    from seals.base_envs import TabularModelPOMDP
except ImportError:
    sys.exit("tabular_irl: imitation is not installed here; see the first lines of this file")

STATES, ACTIONS, HORIZON, RATE, MOST, WITHIN = 10, 4, 12, 0.05, 20_000, 1e-3


def study(seed: int) -> dict[str, Any]:
    """Solve and fit one random world twice; return the largest differences and the seconds."""
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.full(STATES, 0.4), (STATES, ACTIONS))
    start, reward = rng.dirichlet(np.ones(STATES)), rng.normal(size=STATES)
    mdp = TabularMDP(transition, start, HORIZON)
    theirs = TabularModelPOMDP(
        transition_matrix=transition, observation_matrix=np.eye(STATES, dtype=np.float32),
        reward_matrix=reward, horizon=HORIZON, initial_state_dist=start,
    )  # fmt: skip
    solution = soft_value_iteration(mdp, reward[:, None])
    values, q_values, policy = mce_partition_fh(theirs)
    shown = occupancy(mdp, solution.policy)
    by_turn, visited = mce_occupancy_measures(theirs, pi=policy)
    found = {
        "soft values": solution.values[:-1] - values,
        "action values": solution.q_values - q_values,
        "policy": solution.policy - policy,
        "occupancy of states": shown.sum(2) - by_turn[:-1],
    }
    features = np.broadcast_to(np.eye(STATES)[:, None], (STATES, ACTIONS, STATES))
    started = time.perf_counter()
    fit = maxent_irl(mdp, visits(mdp, shown), features, tolerance=WITHIN)
    ours = time.perf_counter() - started
    net = BasicRewardNet(
        theirs.observation_space, theirs.action_space, use_action=False, hid_sizes=[]
    )
    quiet = logger.configure(format_strs=[])
    peer = MCEIRL(
        visited, theirs, net, rng, optimizer_kwargs={"lr": RATE}, linf_eps=WITHIN,
        log_interval=None, custom_logger=quiet,
    )  # fmt: skip
    started = time.perf_counter()
    peer.train(MOST)
    took = time.perf_counter() - started
    learned = occupancy(mdp, fit.solution.policy), occupancy(mdp, peer.policy.pi)
    found |= {
        "our learned occupancy": learned[0] - shown,
        "their learned occupancy": learned[1] - shown,
        "learned occupancies": learned[0] - learned[1],
    }
    largest = {name: float(np.abs(difference).max()) for name, difference in found.items()}
    return {"seed": seed, "largest": largest, "seconds": {"ours": ours, "imitation": took}}


def main() -> int:
    """Run everything and store it."""
    logging.disable(logging.WARNING)
    experiment = Experiment("tabular_irl", __doc__.splitlines()[0], seeds=20)
    rows = [experiment.part(f"world {s}", lambda s=s: study(s)) for s in experiment.seeds]
    largest = {name: max(row["largest"][name] for row in rows) for name in rows[0]["largest"]}
    for name, difference in largest.items():
        print(f"{name:26} {difference:.1e}")
    ratio = float(np.median([r["seconds"]["imitation"] / r["seconds"]["ours"] for r in rows]))
    print(f"imitation takes {ratio:.0f} times as long")
    size = {"states": STATES, "actions": ACTIONS, "horizon": HORIZON, "within": WITHIN}
    peer = {"imitation": importlib.metadata.version("imitation")}
    experiment.write(size | {"peer": peer, "largest": largest, "ratio": ratio, "rows": rows})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error_:
        sys.exit(f"tabular_irl: {error_}")
