"""Data cards of real logs: what each filter leaves, and where self-selection was measured.

    python benchmarks/data_cards.py                        # needs MINIREC_DATA
    python benchmarks/data_cards.py anime --out elsewhere  # one card

The result is ``book/_results/data-cards.json``: counts and means over whole logs, never a row. In
``coat`` the same people rated coats that they chose, and coats that were drawn for them at random.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from main_results import ROOT, commit

from minirec import load_folder
from minirec._io import UserError, write_json
from minirec.data.sources import cards
from minirec.runs import versions

CARDS: dict[str, dict[str, Any]] = {
    "movielens-latest-small": {}, "steam-playtime": {"min_rating": 0.0}, "steam-reviews": {},
    "amazon-books": {}, "anime": {},
}  # fmt: skip
"""Name of the folder -> settings."""
COAT = "coat"
K_CORE = 5


def top_share(items: Any, n_items: int, share: float = 0.01) -> float:
    """Return which share of the rows the most popular items have, at least one item."""
    counts = np.sort(np.bincount(items, minlength=n_items))[::-1]
    return float(counts[: math.ceil(share * n_items)].sum() / counts.sum())


def card(folder: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Load one folder and count."""
    data = load_folder(folder, k_core=K_CORE, min_rating=about.get("min_rating"))
    log, n_items = data.log, data.catalogue.n_items
    about = {key: cards()[folder.name][key] for key in ("domain", "licence", "cite")} | about
    counts = {
        "density": len(log.items) / (log.n_users * n_items), "mean": float(log.ratings.mean()),
        "top_share": top_share(log.items, n_items),
    }  # fmt: skip
    return {"name": folder.name, **about, **data.card, **counts, "sha256": digests(folder)}


def coat(folder: Path) -> dict[str, Any]:
    """Count the chosen and the random ratings of the same people, and average them."""
    table = folder / "interactions.csv.gz"
    if not table.is_file():
        raise UserError(f"no such file: {table}; MINIREC_DATA must hold the folder {COAT}")
    by = pd.read_csv(table).groupby("split")["rating"]
    about = cards()[COAT]
    return {
        "name": COAT, "licence": about["licence"], "cite": about["cite"],
        "rows": by.size().to_dict(), "mean": by.mean().to_dict(), "sha256": digests(folder),
    }  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    """Return the hashes of a folder's tables, as they are on disk."""
    paths = sorted([*folder.glob("interactions.csv*"), *folder.glob("items.csv*")])
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def main() -> int:
    """Make the cards."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="some folders only")
    parser.add_argument("--out", type=Path, help="a folder (default: book/_results)")
    arguments = parser.parse_args()
    names = arguments.names or [*CARDS, COAT]
    if unknown := set(names) - {*CARDS, COAT}:
        parser.error(f"no card is known for {', '.join(sorted(unknown))}")
    if arguments.names and arguments.out is None:
        parser.error("NAME needs --out: the book holds all cards or none")
    if not os.environ.get("MINIREC_DATA"):
        raise UserError("MINIREC_DATA is not set; point it at the folder that holds the data")
    root, where = Path(os.environ["MINIREC_DATA"]), arguments.out or ROOT / "book/_results"
    made = [card(root / name, CARDS[name]) for name in names if name != COAT]
    results = {"command": "python benchmarks/data_cards.py", "commit": commit()}
    results |= {"versions": versions(), "k_core": K_CORE, "cards": made}
    results |= {"coat": coat(root / COAT)} if COAT in names else {}
    write_json(where / "data-cards.json", results)
    print(pd.DataFrame(made)[["name", "rows", "users", "items", "density", "top_share"]])
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"data_cards: {error}")
