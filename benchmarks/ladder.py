"""What each role of a demonstrator is worth, with a simulated chat model.

    python benchmarks/ladder.py          # needs no data

The simulated model recommends to 100 users of the small world, paid by the truth, in seven ways:
the four rungs of ``minirec.demos.roles``, and the highest one without its planner, its critic or
its reflector. It does so with three dials of knowledge and five seeds, which vary the users and
what the model knows. The result is ``book/_results/ladder.json``: for each seed Len [items],
R_each and R_traj [rating points], and calls and tokens an episode.

With a simulated model this shows that information passes through each role, not what a language
model makes of it.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
from domains import SMALL, Experiment, problem_of, settings_of

from minirec._io import UserError, progress
from minirec.config import DemosConfig
from minirec.demos.actor import demonstrate
from minirec.demos.audit import audit
from minirec.demos.grounding import Grounder
from minirec.demos.memory import Memories
from minirec.demos.roles import RUNGS, Roles
from minirec.demos.simulated import SimulatedChat, SimulatedDials
from minirec.demos.vectors import NgramVectors
from minirec.problem import Setup, prepare
from minirec.world.rules import RULES
from minirec.world.sources import TruthSource

KNOWLEDGE = {"knows much": 0.6, "as set": DemosConfig().knowledge_noise, "knows little": 2.4}
"""Name -> noise on what it knows of the items, in standard deviations."""
ALL = RUNGS["billp"]
WAYS: dict[str, Roles] = {
    "act": RUNGS["act"],
    "think and act": RUNGS["think"],
    "reflect": RUNGS["reflect"],
    "all roles": ALL,
    "all but the planner": replace(ALL, plan=False),
    "all but the critic": replace(ALL, judge=False),
    "all but the reflector": replace(ALL, reflect=False),
}
EPISODES = 100


def study(setup: Setup, noise: float, roles: Roles, episodes: int) -> dict[str, float]:
    """Play the episodes of one seed; return what the table needs."""
    world, demos = setup.problem.truth, setup.config.demos
    assert world is not None
    items = world.catalogue
    dials = SimulatedDials(
        knowledge_noise=noise, hallucination=demos.hallucination,
        popularity_bias=demos.popularity_bias, format_error=demos.format_error,
    )  # fmt: skip
    chat = SimulatedChat(
        items.titles, items.genres, world.item_factors, world.quality, dials, seed=setup.seed
    )
    users = setup.rng("ladder").permutation(setup.split.train_users)[:episodes]
    played = list(demonstrate(
        TruthSource(world), RULES["no_repeat"], setup.start, users, chat, Grounder(items.titles),
        seed=setup.seed, roles=roles, memories=Memories.of(NgramVectors()),
    ))  # fmt: skip
    steps, paid = sum(map(len, played)), sum(float(t.rews.sum()) for t in played)
    spent = audit(played)["cost"]
    lengths = {"length": steps / len(played), "r_each": paid / steps, "r_traj": paid / len(played)}
    return lengths | spent | {"failures": float(np.mean([t.reason == "invalid" for t in played]))}


def main() -> int:
    """Run everything and store it."""
    experiment = Experiment("ladder", __doc__.splitlines()[0], seeds=5)
    episodes = 10 if experiment.tiny else EPISODES
    config = settings_of(SMALL, experiment.tables)
    rows: list[dict[str, Any]] = []
    with progress(len(KNOWLEDGE) * len(WAYS) * len(experiment.seeds), "ladder") as advance:
        for knowledge, noise in KNOWLEDGE.items():
            for way, roles in WAYS.items():
                found = []
                for seed in experiment.seeds:
                    setup = prepare(problem_of(SMALL), config, seed)
                    name = f"{knowledge}, {way}, {seed}"
                    work = partial(study, setup, noise, roles, episodes)
                    found.append(experiment.part(name, work) | {"seed": seed})
                    advance(1)
                row = {"knowledge": knowledge, "noise": noise, "way": way, "roles": asdict(roles)}
                rows.append(row | {"per_seed": found})
    experiment.write({"episodes": episodes, "data": problem_of(SMALL).digest(), "rows": rows})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"ladder: {error}")
