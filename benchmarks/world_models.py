"""How far the world model is off: four real domains, the small world, and Coat's random sample.

    python benchmarks/world_models.py                                    # needs MINIREC_DATA
    python benchmarks/world_models.py --only "small world" --out here    # needs no data

Every model is fitted to the training users' rows and predicts the later half of the rows of users
it has not been fitted to, from the earlier half. In ``coat`` the same people rated coats that they
chose and coats that were drawn for them: a model fitted to the former is judged on both. The result
is ``book/_results/world-models.json``; errors are root mean squares, in rating points.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pandas as pd
import torch
from domains import DOMAINS, Experiment, problem_of, real, settings_of

from minirec._io import FloatArray, IntArray, UserError, generator
from minirec.data.catalogue import Catalogue
from minirec.data.interactions import Interactions
from minirec.problem import prepare
from minirec.world.deepfm import DeepFMSource, fit_deepfm
from minirec.world.judge import fit_judge
from minirec.world.rows import with_negatives

Rows = tuple[IntArray, IntArray, FloatArray]
"""Users, items and ratings, (M,) each."""
COAT = "coat"
SHRINK = 5.0  # rows of the mean rating that an item's mean starts from


def predictions(
    train: Interactions, seen: Interactions, catalogue: Catalogue, rows: Rows,
    *, seed: int, epochs: int,
) -> dict[str, FloatArray]:  # fmt: skip
    """Predict ``rows`` with each model: fitted to ``train``, told what is in ``seen``, (M,) each.

    The factorisation knows users by number, so it is fitted to ``seen``, too, with all its rows.
    """
    users, items, _ = rows
    _, known, ratings, _ = with_negatives(train, generator(seed, "item means"))
    mean, counts = ratings.mean(), np.bincount(known, minlength=catalogue.n_items)
    sums = np.bincount(known, ratings - mean, minlength=catalogue.n_items)
    model = fit_deepfm(train, catalogue, seed=seed, dim=16, epochs=epochs)
    both = merged(train, seen)
    return {
        "mean": np.full(len(items), mean),
        "item mean": mean + (sums / (counts + SHRINK))[items],
        "biased matrix factorisation": fit_judge(both, catalogue, seed=seed).rewards(users, items),
        "world model": DeepFMSource(model, seen).rewards(users, items),
    }


def merged(*logs: Interactions) -> Interactions:
    """Return all rows of some logs of the same users; a pair that is in two counts once."""
    whole = [np.concatenate([getattr(log, part) for log in logs]) for part in ("users", "items")]
    ratings = np.concatenate([log.ratings for log in logs])
    pairs = whole[0] * logs[0].n_items + whole[1]
    keep = np.sort(np.unique(pairs, return_index=True)[1])
    order = keep[np.argsort(whole[0][keep], kind="stable")]
    log = logs[0]
    return Interactions(
        whole[0][order], whole[1][order], ratings[order], None, log.user_ids, log.n_items
    )


def error(predicted: FloatArray, ratings: FloatArray) -> float:
    """Return the root mean squared error."""
    return float(np.sqrt(np.mean((predicted - ratings) ** 2)))


def calibration(predicted: FloatArray, ratings: FloatArray) -> float:
    """Return the mean gap between prediction and rating over ten equally full bins."""
    bins = np.array_split(np.argsort(predicted, kind="stable"), 10)
    gaps = [abs(predicted[rows].mean() - ratings[rows].mean()) for rows in bins]
    return float(np.average(gaps, weights=[len(rows) for rows in bins]))


def domain(name: str, seed: int, epochs: int) -> dict[str, Any]:
    """Return error and calibration of each model on the hidden rows of unseen users."""
    setup = prepare(problem_of(name), settings_of(name, {}), seed)
    split, catalogue = setup.split, setup.problem.catalogue
    hidden = split.hidden.subset(np.isin(split.hidden.users, split.test_users))
    theirs = with_negatives(merged(hidden, split.visible), generator(seed, "test negatives"))
    pairs = theirs[0] * hidden.n_items + theirs[1]
    drawn = theirs[3] & (generator(seed, "half of them").random(len(pairs)) < 0.5)
    judged = drawn | np.isin(pairs, hidden.users * hidden.n_items + hidden.items)
    rows = theirs[0][judged], theirs[1][judged], theirs[2][judged]
    found = predictions(split.train, split.visible, catalogue, rows, seed=seed, epochs=epochs)
    return {
        "fitted_to": len(split.train.items), "judged_on": int(judged.sum()),
        "errors": {method: error(values, rows[2]) for method, values in found.items()},
        "calibration": {method: calibration(values, rows[2]) for method, values in found.items()},
    }  # fmt: skip


def coat(seed: int, epochs: int) -> dict[str, Any]:
    """Fit to four fifths of the chosen ratings; judge on the other fifth and on the random ones."""
    folder = real(COAT)
    table = pd.read_csv(folder / "interactions.csv.gz", dtype={"user_id": str, "item_id": str})
    coats = pd.read_csv(folder / "items.csv.gz", dtype=str)
    features = [coats[name] for name in ("gender", "jackettype", "color")]
    coats["genres"] = features[0].str.cat(features[1:], sep="|")
    catalogue = Catalogue.from_frame(coats)
    chosen = Interactions.from_frame(table[table["split"] == "self-selected"], catalogue)
    random = table[table["split"] == "random"]
    users = pd.Index(chosen.user_ids).get_indexer(random["user_id"])
    offered = pd.Index(catalogue.item_ids).get_indexer(random["item_id"])
    new = ~np.isin(users * 300 + offered, chosen.users * 300 + chosen.items)
    held = generator(seed, "coat").random(len(chosen.items)) < 0.2
    rows = {
        "self-selected": (chosen.users[held], chosen.items[held], chosen.ratings[held]),
        "random": (users[new], offered[new], random["rating"].to_numpy(np.float32)[new]),
    }
    known = chosen.subset(~held)
    users, items, ratings = map(np.concatenate, zip(*rows.values(), strict=True))
    every = users, items, ratings
    found = predictions(known, known, catalogue, every, seed=seed, epochs=epochs)
    result: dict[str, Any] = {"rows": {name: len(part[0]) for name, part in rows.items()}}
    result |= {"errors": {}, "bias": {}}
    for method, values in found.items():
        parts = dict(zip(rows, np.split(values, [int(held.sum())]), strict=True))
        each = {name: (part, rows[name][2]) for name, part in parts.items()}
        result["errors"][method] = {name: error(*both) for name, both in each.items()}
        result["bias"][method] = {name: float(p.mean() - r.mean()) for name, (p, r) in each.items()}
    return result


def by_seed(found: list[Any]) -> Any:
    """Turn a list of equal nested dictionaries into a dictionary of lists."""
    if not isinstance(found[0], dict):
        return found
    return {name: by_seed([one[name] for one in found]) for name in found[0]}


def main() -> int:
    """Fill the table, part by part."""
    torch.set_num_threads(1)
    choices = [*DOMAINS, COAT]
    experiment = Experiment("world_models", __doc__.splitlines()[0], 3, choices)
    epochs, results = 2 if experiment.tiny else 30, {"domains": []}
    for name in experiment.domains:

        def work(seed: int, name: str = name) -> dict[str, Any]:
            return coat(seed, epochs) if name == COAT else domain(name, seed, epochs)

        seeds = experiment.seeds
        found = by_seed([experiment.part(f"{name} {s}", lambda s=s: work(s)) for s in seeds])
        if name == COAT:
            results["coat"] = found
        else:
            log = problem_of(name).log
            counts = {"rows": len(log.items), "users": log.n_users, "items": log.n_items}
            results["domains"].append({"name": name, **counts, **found})
    experiment.write(results)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error_:
        sys.exit(f"world_models: {error_}")
