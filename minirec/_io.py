"""What every room needs: atomic files, named generators, progress bars, one kind of error."""

from __future__ import annotations

import difflib
import json
import os
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]
A = TypeVar("A")
B = TypeVar("B")


class UserError(ValueError):
    """A mistake that the user can mend: the message names the thing, the value and the fix."""


def suggest(value: str, names: Iterable[str]) -> str:
    """Return the words ``Did you mean 'x'?`` for the nearest of ``names``, or no word."""
    near = difflib.get_close_matches(value, list(names), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def setting(default: Any, unit: str, meaning: str, *, least: float | None = None) -> Any:
    """Return a dataclass field that knows its unit and meaning; ``minirec config`` prints them.

    Unless ``least`` says otherwise, a count is at least 1 and any other number at least 0.
    """
    return field(default=default, metadata={"unit": unit, "meaning": meaning, "least": least})


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and move it into place if nothing was raised.

    A reader sees the old file or the new one, never half of it. The temporary file keeps the
    suffix of ``path``, because NumPy and matplotlib look at it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically; NumPy scalars and arrays become plain."""
    write_text(path, json.dumps(value, indent=1, default=_plain, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read one JSON file.

    Raises:
        UserError: If the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not readable as JSON ({error}); restore or delete it") from None


def write_jsonl(path: str | Path, rows: Iterable[Any]) -> None:
    """Write one JSON value a line, atomically."""
    lines = (json.dumps(row, default=_plain, ensure_ascii=False) for row in rows)
    write_text(path, "".join(line + "\n" for line in lines))


def append_jsonl(path: str | Path, row: Any) -> None:
    """Append one JSON value as a line with a single write."""
    line = json.dumps(row, default=_plain, ensure_ascii=False) + "\n"
    with Path(path).open("ab") as file:
        file.write(line.encode("utf-8"))


def read_jsonl(path: str | Path) -> list[Any]:
    """Read one JSON value a line; a last line cut off by a crash is left out."""
    with Path(path).open("rb") as file:
        return [json.loads(line) for line in file if line.endswith(b"\n")]


def save_tensors(path: str | Path, state: Mapping[str, Any]) -> None:
    """Write tensors and plain values, atomically; ``torch.load(weights_only=True)`` reads them."""
    import torch

    with atomic(path) as temporary:
        torch.save(state, temporary)


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return the NumPy generator of one purpose; purposes of one seed are independent."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode())])


def torch_generator(seed: int, purpose: str) -> torch.Generator:
    """Return the torch generator (CPU) of one purpose; purposes of one seed are independent."""
    import torch

    return torch.Generator().manual_seed(int(generator(seed, purpose).integers(2**62)))


def in_order(work: Callable[[A], B], jobs: Sequence[A], workers: int) -> Iterator[B]:
    """Yield ``work(job)`` for each job in order, while up to ``workers`` threads do the jobs.

    The threads die with the program, so nothing has to be waited for after Ctrl-C.
    """
    if workers == 1:
        yield from map(work, jobs)
        return
    tasks = [(job, Future[B]()) for job in jobs]
    waiting = iter(tasks)
    lock = threading.Lock()

    def labour() -> None:
        while True:
            with lock:
                job, future = next(waiting, (None, None))
            if future is None or not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work(cast(A, job)))
            except BaseException as error:
                future.set_exception(error)

    for _ in range(min(workers, len(tasks))):
        threading.Thread(target=labour, daemon=True).start()
    try:
        for _, future in tasks:
            yield future.result()
    finally:
        for _, future in tasks:
            future.cancel()


@contextmanager
def progress(total: int, label: str) -> Iterator[Callable[..., None]]:
    """Show a bar on a terminal and nothing elsewhere; yield ``advance(n, note="")``."""
    if not sys.stderr.isatty():
        yield lambda n, note="": None
        return
    from rich import progress as rich
    from rich.console import Console

    columns = rich.TextColumn("{task.description:<24}"), rich.BarColumn(), rich.MofNCompleteColumn()
    rest, console = rich.TextColumn("{task.fields[note]}"), Console(stderr=True)
    with rich.Progress(*columns, rich.TimeRemainingColumn(), rest, console=console) as bar:
        task = bar.add_task(label, total=total, note="")
        yield lambda n, note="": bar.update(task, advance=n, note=note)


def _plain(value: Any) -> Any:
    """Turn NumPy values and paths into what JSON knows."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return value.as_posix()
    raise TypeError(f"{type(value).__name__} is not JSON")
