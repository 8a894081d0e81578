"""What tables from outside have in common: columns, ids, numbers, and errors that name the row.

A row is named by the table's index. A table whose index is called ``line`` (as
:mod:`minirec.data.folder` makes them) is one whose index counts the lines of a file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minirec._io import BoolArray, FloatArray, UserError, suggest

if TYPE_CHECKING:
    import pandas as pd


def column(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Return one column.

    Raises:
        UserError: If there is none of this name.
    """
    if name not in frame:
        names = [str(other) for other in frame.columns]
        near = suggest(name, names)
        raise UserError(f"no column {name!r}, only {', '.join(names)}.{near} Add it or rename one")
    return frame[name]


def optional(frame: pd.DataFrame, *names: str) -> str | None:
    """Return the first of ``names`` that is a column, or None.

    Raises:
        UserError: If there is none, but one that looks like the first of them misspelt.
    """
    found = next((name for name in names if name in frame), None)
    if found is None and (near := suggest(names[0], map(str, frame.columns))):
        raise UserError(f"no column {names[0]!r}.{near} Rename it, or drop it if it is not that")
    return found


def refuse(values: pd.Series[Any], wrong: BoolArray | pd.Series[Any], why: str) -> None:
    """Do nothing if no cell of a column (M,) is ``wrong`` (M,).

    Raises:
        UserError: If one is; the message names the first, counts all and says ``why``.
    """
    bad = np.asarray(wrong, dtype=bool)
    if bad.any():
        row = int(bad.argmax())
        where = f"{values.index.name or 'row'} {values.index[row]}"
        count = f" ({bad.sum()} of {len(bad)} rows are wrong)" if bad.sum() > 1 else ""
        raise UserError(f"{where}: {values.name} {str(values.iloc[row])!r} {why}{count}")


def ids(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Return a column of ids as text without blanks around it, so that ``"007"`` stays one.

    Raises:
        UserError: If the column is missing or an id is blank.
    """
    values = column(frame, name)
    text = values.astype(str).str.strip()
    refuse(values, values.isna() | (text == ""), "is blank; fill it in or remove the row")
    return text


def numbers(frame: pd.DataFrame, name: str) -> FloatArray:
    """Return a column as numbers: (M,) float64, NaN where blank; dates count in their own unit.

    Raises:
        UserError: If the column is missing or holds something else than finite numbers.
    """
    import pandas as pd

    values = column(frame, name)
    parsed = pd.to_numeric(values, errors="coerce").astype(float).mask(values.isna())
    blank = values.isna() | (values.astype(str).str.strip() == "")
    wrong = ~np.isfinite(parsed) & ~blank
    refuse(values, wrong, "is not a number; correct it or leave it blank")
    return parsed.to_numpy()
