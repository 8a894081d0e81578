"""The results table of the book: every method, several seeds, one resumable command each.

    python benchmarks/main_results.py small-world
    python benchmarks/main_results.py second-world
    python benchmarks/main_results.py stronger-demonstrator
    python benchmarks/main_results.py more-fits
    python benchmarks/main_results.py more-fits-in-practice
    python benchmarks/main_results.py without-irl
    python benchmarks/main_results.py movielens-latest-small     # needs MINIREC_DATA
    python benchmarks/main_results.py steam-playtime             # needs MINIREC_DATA

Each writes ``book/_results/NAME.json``: what ``minirec run`` found, with the command, the settings,
the seeds, the commit and the hash of the data. ``--tiny`` runs the same code in seconds, into a
folder of your choice.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from minirec import runs
from minirec._io import UserError, write_json
from minirec.config import config_from

ROOT = Path(__file__).parents[1]
EXPERIMENTS: dict[str, tuple[dict[str, Any], int]] = {
    "small-world": ({}, 5),
    "second-world": ({"data": {"world": 1}}, 5),
    # A teacher that knows the items well, for about as many demonstrated steps as the default's.
    "stronger-demonstrator": (
        {"demos": {"knowledge_noise": 0.2, "hallucination": 0.36, "episodes": 66}}, 5,
    ),
    # Every learner fits its reward head four times as often: is a head start no more than that?
    "more-fits": ({"learner": {"memory_steps": 32}}, 5),
    # The same, but in practice only: the warm start fits as often as before.
    "more-fits-in-practice": ({"learner": {"memory_steps": 32, "clone_epochs": 2}}, 5),
    # The demonstrations are cloned and imitated with equal weights; no reward is inferred or paid.
    "without-irl": ({"learner": {"rounds": 0, "bonus": 0.0}}, 5),
    "movielens-latest-small": ({}, 3),
    "steam-playtime": ({"data": {"min_rating": 0.0}}, 3),
}
"""Name -> settings that differ from the defaults, number of seeds."""
REAL = ("movielens-latest-small", "steam-playtime")


def commit() -> str:
    """Return the commit the code is at, marked if files other than results have changed since."""

    def git(*call: str) -> str:
        done = subprocess.run(["git", *call], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--", ".", ":!book/_results")
    return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")


def peak() -> float:
    """Return the most memory that this process has taken, in MB."""
    import resource  # late: Windows has none

    unit = 1 if sys.platform == "darwin" else 1024  # bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> int:
    """Run one experiment."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=EXPERIMENTS)
    parser.add_argument("--tiny", action="store_true", help="the same in seconds, for tests")
    parser.add_argument("--out", type=Path, help="where NAME.json goes (default: book/_results)")
    arguments = parser.parse_args()
    if arguments.tiny and arguments.out is None:
        parser.error("--tiny needs --out: tiny results do not belong into the book")
    settings, seeds = EXPERIMENTS[arguments.name]
    tables = {name: dict(table) for name, table in (runs.TINY if arguments.tiny else {}).items()}
    for name, table in settings.items():
        tables.setdefault(name, {}).update(table)
    if arguments.name in REAL:
        data = os.environ.get("MINIREC_DATA")
        if not data:
            raise UserError("MINIREC_DATA is not set; point it at the folder that holds the data")
        tables.setdefault("data", {})["folder"] = str(Path(data) / arguments.name)
    torch.set_num_threads(1)
    where = arguments.out or ROOT / "book" / "_results"
    folder = (arguments.out or ROOT / "runs") / f"{arguments.name}-run"
    results = runs.run(
        config_from(tables), folder, resume=True, seeds=list(range(2 if arguments.tiny else seeds)),
        command=f"python benchmarks/main_results.py {arguments.name}",
    )  # fmt: skip
    results["config"]["data"]["folder"] = arguments.name if arguments.name in REAL else None
    write_json(where / f"{arguments.name}.json", results | {"commit": commit()})
    print((folder / "results.md").read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"main_results: {error}")
