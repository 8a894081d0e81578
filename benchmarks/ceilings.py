"""What the log can tell: greedy play with ever better knowledge of the items and of the users.

    python benchmarks/ceilings.py          # needs no data

Everybody here plays greedily in the small world, is told each reward, and infers the user again at
each turn; unseen users, the truth pays, 10 seeds. What differs is where the items come from: the
*world model's* vectors; each item's own *regression* on the log's ratings, as if somebody had told
the true tastes of all who rated; the truth seen *through noise*, as a simulated demonstrator sees
it; or the *truth*, which is the informed bound. The result is ``book/_results/ceilings.json``:
returns in rating points.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from domains import SMALL, Experiment, problem_of, settings_of, world_model

from minirec import UserError, pipeline
from minirec.data.interactions import Interactions
from minirec.data.smallworld import Truth
from minirec.evidence.metrics import play
from minirec.problem import prepare
from minirec.world.controls import GreedyRefit, InformedBound
from minirec.world.deepfm import DeepFMSource

NOISE = (0.2, 0.5, 1.2)
"""Of what is known, standard deviations; the last one is the default demonstrator's."""


def items_of(truth: Truth, quality: Any, factors: Any) -> Truth:
    """Return what somebody believes who takes these for the items' truth."""
    return Truth(
        quality, factors, truth.user_factors, truth.user_offset, truth.noise_seed,
        truth.noise_scale, truth.base,
    )  # fmt: skip


def regressed(truth: Truth, log: Interactions) -> Truth:
    """Return each item's posterior mean given its ratings and the true tastes behind them."""
    taste = np.column_stack([np.ones(len(log.items)), truth.user_factors[log.users]])
    said = log.ratings - truth.base - truth.user_offset[log.users]
    prior = np.diag(1 / np.append(truth.quality.var(), truth.item_factors.var(0)))
    found = np.empty((log.n_items, len(prior)))
    for item in range(log.n_items):
        mine = log.items == item
        x, y = taste[mine] / truth.noise_scale, said[mine] / truth.noise_scale
        found[item] = np.linalg.solve(x.T @ x + prior, x.T @ y)
    return items_of(truth, found[:, 0], found[:, 1:])


def study(seed: int, experiment: Experiment) -> dict[str, float]:
    """Let all of them play with the unseen users of one seed."""
    setup = prepare(problem_of(SMALL), settings_of(SMALL, experiment.tables), seed)
    model, truth = world_model(setup, experiment.folder), setup.problem.truth
    env = setup.judge_env(pipeline.fit_payer(setup))
    users = setup.split.test_users[: setup.config.evaluation.users]
    rng = setup.rng("what is known wrongly")
    seen, table = DeepFMSource(model, setup.split.visible), model.catalogue()
    vectors, baseline = table.vectors.detach().numpy(), table.baseline.detach().numpy()

    def linear(items: Any, ratings: Any) -> Any:
        x = np.pad(vectors, ((0, 1), (0, 0)))[items]
        y = np.where(items < len(baseline), ratings - np.append(baseline, 0)[items], 0)
        gram = np.swapaxes(x, 1, 2) @ x + np.eye(x.shape[2])
        taste = np.linalg.solve(gram, (x * y[..., None]).sum(1)[..., None])[..., 0]
        return baseline + taste @ vectors.T

    def noisy(values: Any, noise: float) -> Any:
        return values + noise * values.std(0) * rng.normal(size=values.shape)

    policies = {
        "world model": GreedyRefit(seen.predict_histories),
        "world model, linear": GreedyRefit(linear),
        "regression": InformedBound(regressed(truth, setup.split.train)),
        **{
            f"noise {noise:g}": InformedBound(
                items_of(truth, noisy(truth.quality, noise), noisy(truth.item_factors, noise))
            )
            for noise in NOISE
        },
        "truth": InformedBound(truth),
    }
    return {name: float(play(p, env, users).returns.mean()) for name, p in policies.items()}


def main() -> int:
    """Put the seeds together."""
    torch.set_num_threads(1)
    experiment = Experiment("ceilings", __doc__.splitlines()[0], 10)
    found = [experiment.part(f"{s}", lambda s=s: study(s, experiment)) for s in experiment.seeds]
    experiment.write({"returns": {name: [one[name] for one in found] for name in found[0]}})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"ceilings: {error}")
