"""How much of taste the judge sees, and what that decides on books.

    python benchmarks/taste.py         # needs MINIREC_DATA

Two questions, five seeds. First, whose taste is real? World model and judge each split what they
predict into what a user gives to everything, what everybody gives to an item, and the rest, which
is taste. Three tenths of the unseen users' hidden rows are kept from both and regressed on these
parts: a slope of 1 says that the rows bear a part out, one of 0 that they don't, one above 1 that
there is more to it than is claimed. Beside the judge of this book stands one that chooses how
strongly taste is drawn to zero, by the error on the tenth of its rows that a judge holds out.

Second, what do both judges pay? Arms of ``real_arms.py`` are trained as there, for 50,000 steps on
books under ``no_repeat``, and each policy is scored by both. The result is
``book/_results/taste.json``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from domains import SMALL, Experiment, problem_of, settings_of, world_model
from real_arms import DOMAINS, GOALS, TINY_GOALS, RealStudy

from minirec import UserError, pipeline
from minirec._io import FloatArray, generator
from minirec.data.interactions import Interactions
from minirec.evidence.evaluate import Judge, Row, controls
from minirec.problem import Setup, prepare
from minirec.world.deepfm import DeepFMSource
from minirec.world.judge import FACTOR_PENALTY, JudgeSource, fit_judge
from minirec.world.rows import with_negatives
from minirec.world.sources import all_rewards

PENALTIES, TINY_PENALTIES = (2.0, 3.0, 5.0, 10.0, 20.0), (3.0, 10.0)
MODEL, USUAL, CHOOSING = "world model", "judge", "judge that chooses"
BOOKS = "amazon-books"
ALL = (SMALL, "movielens-latest-small", "steam-playtime", BOOKS)
TRAINED = (
    "constant reward", "A2C without demonstrations", "minirec without demonstrations", "minirec",
)  # fmt: skip
STOP = 2  # so many of the goals of real_arms.py
SHARE = 0.3  # of the unseen users' hidden rows that nobody is fitted to


def judges(rows: Interactions, setup: Setup, experiment: Experiment) -> dict[float, JudgeSource]:
    """Return a judge for each penalty."""
    given, seed = (rows, setup.problem.catalogue), setup.seed
    penalties = TINY_PENALTIES if experiment.tiny else PENALTIES
    return {penalty: fit_judge(*given, seed=seed, penalty=penalty) for penalty in penalties}


def chosen(fitted: dict[float, JudgeSource]) -> float:
    """Return the penalty with the least error on the rows that its judge held out."""
    return min(fitted, key=lambda penalty: fitted[penalty].rmse)


def parts(table: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Split predictions (B, N) into what is a user's, an item's and taste, (B, N) each."""
    user, item = table.mean(1, keepdims=True), table.mean(0, keepdims=True)
    shape = np.zeros_like(table)
    return user + shape, item + shape, table - user - item + table.mean()


def regressed(columns: Iterable[FloatArray], ratings: FloatArray) -> list[float]:
    """Return the slopes of ``ratings`` (M,) on columns of (M,)."""
    x = np.column_stack([np.ones(len(ratings)), *columns])
    return [float(slope) for slope in np.linalg.lstsq(x, ratings, rcond=None)[0][1:]]


def believed(domain: str, seed: int, experiment: Experiment) -> dict[str, Any]:
    """Return how far rows that nobody has seen bear out what each of them believes."""
    setup = prepare(problem_of(domain), settings_of(domain, experiment.tables), seed)
    (kept := experiment.folder / domain).mkdir(parents=True, exist_ok=True)
    split, users = setup.split, setup.split.test_users
    drawn = generator(seed, "rows that nobody sees").random(len(split.hidden.users)) < SHARE
    out = drawn & np.isin(split.hidden.users, users)
    fitted = judges(split.hidden.subset(~out), setup, experiment)
    choice = chosen(fitted)
    source = DeepFMSource(world_model(setup, kept), split.visible)
    tables = {
        MODEL: source.predict_rows(users),
        USUAL: all_rewards(fitted[FACTOR_PENALTY], users),
        CHOOSING: all_rewards(fitted[choice], users),
    }
    rng = generator(seed, "negatives that nobody sees")
    of_user, of_item, ratings, _ = with_negatives(split.hidden.subset(out), rng)
    where = np.searchsorted(users, of_user), of_item
    found: dict[str, Any] = {"rows": len(ratings), "penalty": choice}
    found["held out"] = {str(p): judge.rmse for p, judge in fitted.items()}
    for name, table in tables.items():
        split_up = parts(table)
        found[name] = {
            "spread": [float(part.std()) for part in split_up],
            "slopes": regressed((part[where] for part in split_up), ratings),
            "error": float(np.sqrt(np.mean((ratings - table[where]) ** 2))),
        }
    return found


@dataclass(frozen=True)
class Both:
    """Two judges at once: the row of the first, with that of the second in it."""

    first: Judge
    second: Judge

    @property
    def users(self) -> Any:
        """Unseen users; both judge the same."""
        return self.first.users

    def score(self, policy: Any, *, gap: bool = False) -> Row:
        """Return both rows of ``policy``."""
        return self.first.score(policy, gap=gap) | {CHOOSING: self.second.score(policy, gap=gap)}


def books(seed: int, experiment: Experiment) -> dict[str, Any]:
    """Return what both judges pay on books."""
    torch.set_num_threads(1)
    config = settings_of(BOOKS, experiment.tables | {"rules": {"preset": "no_repeat"}})
    folder = experiment.folder / f"{BOOKS}-arms"
    study: Any = RealStudy(problem_of(BOOKS), config, seed, folder, DOMAINS[BOOKS])
    study.begin()
    setup, most = study.setup, config.evaluation.users
    fitted = judges(setup.split.hidden, setup, experiment)
    first, payer = study.judge, fitted[chosen(fitted)]
    study.judge = Both(first, pipeline.judge_of(setup, study.model, payer, most))
    given = setup.split.train, DeepFMSource(study.model, setup.split.visible), study.env
    users = setup.split.train_users
    paid, other = ({name: row for name, _, row in controls(judge, *given, users, seed)}
                   for judge in (first, study.judge.second))  # fmt: skip
    found: dict[str, Any] = {name: [row | {CHOOSING: other[name]}] for name, row in paid.items()}
    goals = TINY_GOALS if experiment.tiny else GOALS[:STOP]
    found |= {name: study.trained(name, goals) for name in TRAINED}
    return {"penalty": chosen(fitted), "found": found}


def main() -> int:
    """Answer both questions, part by part."""
    torch.set_num_threads(1)
    experiment = Experiment("taste", __doc__.splitlines()[0], 5)
    domains = ALL[:1] if experiment.tiny else ALL
    beliefs = [
        {"domain": name, "found": [
            experiment.part(f"{name}-{seed}", lambda n=name, s=seed: believed(n, s, experiment))
            for seed in experiment.seeds
        ]} for name in domains
    ]  # fmt: skip
    arms = [experiment.part(f"arms-{seed}", lambda s=seed: books(s, experiment))
            for seed in experiment.seeds]  # fmt: skip
    about = {"penalties": PENALTIES, "goals": GOALS[:STOP]}
    experiment.write(about | {"beliefs": beliefs, "arms": arms})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"taste: {error}")
