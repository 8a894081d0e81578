"""A made-up results.json for the tests of the evidence room."""

from __future__ import annotations

from typing import Any

import numpy as np

MEANS = {  # name: (kind, Len, R_each)
    "uniform random": ("control", 3.2, 2.9),
    "popularity": ("control", 6.5, 3.4),
    "best fixed list": ("control", 11.0, 3.5),
    "greedy on the world model": ("control", 24.0, 3.8),
    "greedy, re-fitted each turn": ("control", 30.0, 3.85),
    "constant reward": ("control", 22.0, 3.5),
    "A2C without demonstrations": ("learned", 27.0, 3.7),
    "shuffled demonstrations": ("control", 21.0, 3.6),
    "demonstrator": ("demonstrator", 12.0, 3.7),
    "behaviour cloning": ("learned", 16.0, 3.6),
    "IL-Rec": ("learned", 31.0, 3.8),
    "minirec without demonstrations": ("control", 28.0, 3.7),
    "minirec": ("learned", 29.0, 3.7),
    "informed bound": ("bound", 42.0, 4.0),
    "feasible oracle": ("bound", 70.0, 4.2),
}
LEARNERS = {  # name: steps to get two thirds of the way
    "IL-Rec": 20e3,
    "A2C without demonstrations": 45e3,
    "shuffled demonstrations": 50e3,
    "constant reward": 60e3,
}


def made_up(seeds: int = 5, *, noise: float = 0.05, **means: tuple[str, float, float]) -> Any:
    """Return results with ``seeds`` seeds; ``means`` replaces methods (spaces as underscores)."""
    rng = np.random.default_rng(0)
    table = MEANS | {name.replace("_", " "): value for name, value in means.items()}
    hard = rng.normal(1, noise, seeds)
    oracle = [70 * 4.2 * h for h in hard]
    methods, curves = [], []
    for name, (kind, length, each) in table.items():
        rows = []
        for seed in range(seeds):
            own = 1.0 if name == "feasible oracle" else rng.normal(1, noise / 2)
            total = length * each * hard[seed] * own
            model = None if kind == "bound" else total * 1.3
            rows.append(
                {
                    "seed": seed,
                    "len": total / each,
                    "r_each": each,
                    "r_traj": total,
                    "share_oracle": total / oracle[seed],
                    "share_upper": total / 500,
                    "model_return": model,
                    "gap": None if model is None else model - total,
                    "env_steps": 120_000 if name in LEARNERS else 0,
                }
            )
            if name in LEARNERS:
                steps = np.arange(0, 121, 8) * 1000.0
                rise = 1 - np.exp(-steps / LEARNERS[name])
                curve = (0.03 + rise * (total / oracle[seed] - 0.03)) + rng.normal(0, 0.01, 16)
                more = {"return": list(curve * oracle[seed]), "share_oracle": list(curve)}
                curves.append({"name": name, "seed": seed, "steps": list(steps), **more})
        methods.append({"name": name, "kind": kind, "per_seed": rows})
        if kind == "demonstrator":
            methods[-1]["simulated"] = True
    return {
        "config": {"seed": 0, "rl": {"lr": 0.001}},
        "data": {"name": "small world"},
        "seeds": list(range(seeds)),
        "rules": {"name": "no_repeat"},
        "methods": methods,
        "curves": curves,
    }


def audited(**changed):
    """Return a made-up audit of demonstrations: a quarter of the titles invented."""
    shares = {"invented_share": 0.25, "top10_share": 0.5, "coherence": 0.4, "popularity": 0.6}
    counts = ("steps", "episodes", "blocked", "unreadable_replies", "repeats", "window_repeats",
              "repeat_quits", "distinct_items", "effective_items", "genres_an_episode")  # fmt: skip
    return dict.fromkeys(counts, 8) | shares | {
        "mean_length": 2.0, "r_each": 4.0, "r_traj": 8.0, "coherence_by_chance": 0.3,
        "ends": {"low_reward": 0.75, "max_turn": 0.25}, "grounding": {"exact": 6, "vector": 2},
        "score_by_kind": {"exact": 100.0}, "cost": {"calls": 3.0},
    } | changed  # fmt: skip
