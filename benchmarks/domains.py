"""What the benchmarks of Part I share: the small world, four real domains, results in parts."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from main_results import ROOT, commit

from minirec._io import UserError, read_json, write_json
from minirec.config import Config, config_from
from minirec.pipeline import fit_world
from minirec.problem import Problem, Setup, load_problem
from minirec.runs import TINY, versions
from minirec.world.deepfm import DeepFM

DOMAINS: dict[str, dict[str, Any]] = {
    "small world": {},
    "movielens-latest-small": {},
    "steam-playtime": {"min_rating": 0.0},
    "amazon-books": {},
    "anime": {},
}
"""Name (of the folder, if real) -> what differs from the default settings of the data."""
SMALL = "small world"


def settings_of(domain: str, tables: dict[str, Any]) -> Config:
    """Return the settings of one domain, ``tables`` (as of a TOML file) on top.

    Raises:
        UserError: If the domain is real and ``MINIREC_DATA`` is not set.
    """
    data = dict(DOMAINS[domain])
    if domain != SMALL:
        data["folder"] = str(real(domain))
    return config_from(tables | {"data": data})


def real(name: str) -> Path:
    """Return the folder of a real data set.

    Raises:
        UserError: If ``MINIREC_DATA`` is not set.
    """
    root = os.environ.get("MINIREC_DATA")
    if not root:
        raise UserError("MINIREC_DATA is not set; point it at the folder that holds the data")
    return Path(root) / name


@cache
def problem_of(domain: str) -> Problem:
    """Load one domain."""
    return load_problem(settings_of(domain, {}))


def world_model(setup: Setup, folder: Path) -> DeepFM:
    """Return a seed's world model, fitted once and kept in ``folder``."""
    file, part = folder / f"world-{setup.seed}.pt", folder / f"world-{setup.seed}"
    if not file.is_file():
        part.mkdir(parents=True, exist_ok=True)
        fit_world(setup, part, file)
    return DeepFM.load(file)


class Experiment:
    """One benchmark that computes part by part, keeps each, and goes on where it stopped.

    Args:
        name: Of the script and of its JSON.
        about: What it does, in a line.
        seeds: How many seeds, unless tiny.
        domains: Which domains can be chosen with ``--only``; none if it is empty.
    """

    def __init__(self, name: str, about: str, seeds: int, domains: Sequence[str] = ()) -> None:
        parser = argparse.ArgumentParser(description=about)
        parser.add_argument("--tiny", action="store_true", help="the same in seconds, for tests")
        parser.add_argument("--out", type=Path, help="a folder (default: book/_results)")
        if domains:
            parser.add_argument("--only", nargs="+", choices=domains, help="some domains only")
        arguments = parser.parse_args()
        self.domains = list(getattr(arguments, "only", None) or domains)
        if (arguments.tiny or self.domains != list(domains)) and arguments.out is None:
            parser.error("--tiny and --only need --out: the book holds all of it or nothing")
        self.name, self.tiny, self.commit = name, arguments.tiny, commit()
        self.seeds = list(range(2 if self.tiny else seeds))
        stem = name.replace("_", "-")
        self.target = (arguments.out or ROOT / "book/_results") / f"{stem}.json"
        self.folder = (arguments.out or ROOT / "runs") / f"{stem}-run" / self.commit
        self.tables = {key: table for key, table in TINY.items() if key != "rules"}
        self.tables = self.tables if self.tiny else {}

    def part(self, name: str, work: Callable[[], Any]) -> Any:
        """Return a part of the result, computed at most once by this commit."""
        path = self.folder / f"{name.replace(' ', '-')}.json"
        if not path.is_file():
            write_json(path, work())
        return read_json(path)

    def write(self, found: dict[str, Any]) -> None:
        """Write the result with all that it takes to make it again."""
        about = {"command": f"python benchmarks/{self.name}.py", "commit": self.commit}
        write_json(self.target, about | {"versions": versions(), "seeds": self.seeds} | found)
        print(self.target)
