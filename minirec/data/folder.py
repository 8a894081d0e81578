"""Real data: a folder with ``interactions.csv[.gz]`` and ``items.csv[.gz]``. Chapter: 02-data."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from minirec._io import UserError
from minirec.data.catalogue import Catalogue
from minirec.data.frames import column, numbers
from minirec.data.interactions import Interactions, Scale


@dataclass(frozen=True)
class Dataset:
    """A catalogue, its log, and how they came about.

    Attributes:
        name: Name of the folder.
        catalogue: The items that are left after all filters.
        log: The ratings that are left, on these items.
        card: Counts of rows, users and items after each step (``steps``) and at the end; rows
            ``merged`` and ``unrated``; ``rating_map``, ``time`` and ``repeated_titles``.
    """

    name: str
    catalogue: Catalogue
    log: Interactions
    card: dict[str, Any]


def load_folder(
    path: str | Path, *, k_core: int = 5, min_rating: float | None = None,
    scale: Scale | None = None,
) -> Dataset:  # fmt: skip
    """Read a folder's catalogue and log, filter them, and count what each filter leaves.

    The columns are those of :meth:`.Interactions.from_frame` and :meth:`.Catalogue.from_frame`.
    Both files are UTF-8, plain or gzipped.

    Args:
        path: The folder.
        k_core: Keep users and items with at least this many rows; 0 keeps all.
        min_rating: Keep rows rated *above* this, on the scale of the source, before the ratings
            are mapped to 1..5; the map is chosen from the rows kept. None keeps all.
        scale: Lowest and highest possible rating in the source; None guesses.

    Raises:
        UserError: If the folder or a file is missing, unreadable or empty, a table is not as
            described, or the filters leave nothing.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}; name one with interactions.csv and items.csv")
    with table(folder, "items") as items:
        catalogue = Catalogue.from_frame(items)
    with table(folder, "interactions") as frame:
        steps = [_sizes("read", column(frame, "user_id"), column(frame, "item_id"))]
        if min_rating is not None:
            ratings = numbers(frame, "rating")
            if not np.any(ratings > min_rating):
                raise UserError(f"min_rating={min_rating:g} leaves nothing; choose a lower one")
            frame = frame.loc[~(ratings <= min_rating)]  # blank ones stay, to be counted later
            step = f"rating > {min_rating:g}"
            steps.append(_sizes(step, frame["user_id"], frame["item_id"]))
        full = Interactions.from_frame(frame, catalogue, scale=scale)
        steps.append(_sizes("rated, repeats merged", full.users, full.items))
        log, kept = full.k_core(k_core)
        steps.append(_sizes(f"{k_core}-core", log.users, log.items))
    catalogue = catalogue.subset(kept)
    card = {
        **steps[-1], "steps": steps, "merged": full.merged, "unrated": full.unrated,
        "rating_map": full.rating_map, "time": full.time_from,
        "repeated_titles": catalogue.n_items - len(set(catalogue.titles)),
    }  # fmt: skip
    return Dataset(folder.resolve().name, catalogue, log, card)


@contextmanager
def table(folder: Path, stem: str) -> Iterator[pd.DataFrame]:
    """Yield one table of a folder, cells as text; errors raised meanwhile get its path in front.

    Raises:
        UserError: If the file is missing, unreadable or empty, or one is raised meanwhile.
    """
    found = [path for path in (folder / f"{stem}.csv", folder / f"{stem}.csv.gz") if path.is_file()]
    if not found:
        raise UserError(f"no {stem}.csv or {stem}.csv.gz in {folder}; add it")
    try:
        yield _read(found[0])
    except UserError as error:
        raise UserError(f"{found[0]}: {error}") from None


def _read(path: Path) -> pd.DataFrame:
    """Read a CSV file as text, ``""`` where blank; its index, ``line``, counts the file's lines.

    Blank lines are left out. (A cell that itself spans lines shifts the count after it.)
    """
    options: dict[str, Any] = {"dtype": str, "na_filter": False, "skip_blank_lines": False}
    options |= {"index_col": False, "encoding": "utf-8-sig"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame: pd.DataFrame = pd.read_csv(path, **options)
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 ({error}); save the file as UTF-8") from None
    except pd.errors.EmptyDataError:
        raise UserError("the file is empty; it needs a line of column names and rows") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"damaged or not gzip ({error}); fetch it again") from None
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"not a table ({reason}); mend or quote that line") from None
    frame.columns = frame.columns.str.strip()
    frame.index = pd.RangeIndex(2, len(frame) + 2, name="line")
    frame = frame[(frame != "").any(axis=1)]
    if frame.empty:
        raise UserError("the file has column names but no rows; add some")
    return frame


def _sizes(step: str, users: Collection[Any], items: Collection[Any]) -> dict[str, Any]:
    """Count what a step leaves: rows, users with rows and items with rows."""
    return {"step": step, "rows": len(users), "users": len(set(users)), "items": len(set(items))}
