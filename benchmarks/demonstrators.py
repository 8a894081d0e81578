"""How like a real demonstrator is the simulated one? Audits of both, side by side.

    python benchmarks/demonstrators.py     # needs MINIREC_DATA

The recorded GPT-3.5 runs of BiLLP (``MINIREC_DATA/llm-demos``), games and books, training and test,
are audited beside the simulated chat model with three dials of knowledge, which plays as they did:
the rules ``billp``, nothing kept from grounding. It plays the small world, games and books, paid by
world models fitted here, with 100 users for each of three seeds. Games quit at exact repeats only,
as the recorded ones do. The result is ``book/_results/demonstrators.json``: audits, no rows.

The popularity of what was recorded is looked up by title in the log of the same domain.
"""

from __future__ import annotations

import sys
from collections import Counter
from functools import partial
from typing import Any

import numpy as np
from domains import SMALL, Experiment, problem_of, real, settings_of

from minirec._io import IntArray, UserError, progress
from minirec.demonstrations import simulated_chat
from minirec.demos.actor import demonstrate
from minirec.demos.audit import audit
from minirec.demos.billp import read_billp
from minirec.demos.grounding import Grounder, normalise
from minirec.problem import Setup, prepare
from minirec.world.deepfm import DeepFM, fit_deepfm

KNOWLEDGE = {"knows much": 0.6, "as set": None, "knows little": 2.4}
"""Name -> noise on what it knows of the items, in standard deviations; None is the default."""
RECORDED = {
    "games": ("steam", "steam-playtime", {"train": "*train*", "test": "*test*"}),
    "books": ("amazon", "amazon-books", {"train": "*train*", "test": "*test*"}),
}
PLAYED = {SMALL: 0.024, "steam-playtime": 0.0, "amazon-books": 0.024}
"""Domain -> share of the pairs of items that are too near; 0: an item and itself."""
USERS = 100


def recorded(name: str) -> dict[str, Any]:
    """Audit the recorded runs of one domain."""
    domain, log, splits = RECORDED[name]
    problem = problem_of(log)
    known = Counter(normalise(problem.catalogue.titles[i]) for i in problem.log.items)
    found = {}
    for split, pattern in splits.items():
        files = sorted((real("llm-demos") / domain / "trajs_agent").glob(pattern))
        catalogue, episodes = read_billp(files[0])
        for file in files[1:]:
            episodes += read_billp(file)[1]
        counts = np.array([known[normalise(title)] for title in catalogue.titles])
        audited = audit(episodes, catalogue, counts)
        steps = np.concatenate([episode.acts for episode in episodes])
        audited["titles_in_the_log"] = float((counts[steps] > 0).mean())
        found[split] = audited | {"runs": len(files)}
    return found


def fit(setup: Setup) -> DeepFM:
    """Fit a world model to the training users' log."""
    world, catalogue = setup.config.world, setup.problem.catalogue
    size = {"dim": world.dim, "hidden": world.hidden, "epochs": world.epochs}
    return fit_deepfm(setup.split.train, catalogue, seed=setup.seed, **size)


def simulated(domain: str, experiment: Experiment) -> dict[str, Any]:
    """Audit what the simulated model does in one domain."""
    tables = experiment.tables | {"rules": {"preset": "billp", "near_pairs": PLAYED[domain]}}
    played: dict[str, list[Any]] = {name: [] for name in KNOWLEDGE}
    for seed in experiment.seeds:
        setup = prepare(problem_of(domain), settings_of(domain, tables), seed)
        model = fit(setup)
        env, grounder = setup.training_env(model), Grounder(setup.problem.catalogue.titles)
        users = setup.rng("demonstrators").permutation(setup.split.train_users)
        for name, noise in KNOWLEDGE.items():
            dials = {} if noise is None else {"knowledge_noise": noise}
            played[name] += demonstrate(
                env.source, env.rules, setup.start, users[: 10 if experiment.tiny else USERS],
                simulated_chat(setup, model, **dials), grounder, seed=seed, K=env.K,
                history=env.history, block_recent=False,
            )  # fmt: skip
    catalogue, log = problem_of(domain).catalogue, problem_of(domain).log
    counts: IntArray = np.bincount(log.items, minlength=catalogue.n_items)
    return {name: audit(episodes, catalogue, counts) for name, episodes in played.items()}


def main() -> int:
    """Audit everything and store it."""
    experiment = Experiment("demonstrators", __doc__.splitlines()[0], 3, list(PLAYED))
    parts = {f"recorded {name}": partial(recorded, name) for name in RECORDED}
    if experiment.tiny:
        parts = {}
    parts |= {f"simulated {name}": partial(simulated, name, experiment)
              for name in experiment.domains}  # fmt: skip
    found = {}
    with progress(len(parts), "demonstrators") as advance:
        for name, work in parts.items():
            found[name] = experiment.part(name, work)
            advance(1)
    experiment.write({"audits": found})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"demonstrators: {error}")
