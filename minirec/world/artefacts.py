"""The published files of BiLLP and IL-Rec, for a reader who has them. Chapter: 04-users-who-quit.

Their environment is a table of rewards and a table of distances between items; neither repository
holds them, but the README of BiLLP links to them. The distances are pickled, and a pickle can run
any program. So a file may name the parts of a NumPy array and nothing else, and even these it does
not get: a stand-in notes what it is told, and the array is made of that when all is read.
"""

from __future__ import annotations

import ast
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from minirec._io import FloatArray, UserError, read_json
from minirec.data.catalogue import Catalogue
from minirec.world.sources import MatrixSource

WHERE = "the README of github.com/jizhi-zhang/BiLLP says where to get it"
PARTS = {"numpy.ndarray", "numpy.dtype", "numpy._core.multiarray._reconstruct",
         "numpy._core.numeric._frombuffer", "_codecs.encode"}  # fmt: skip


def load_official(folder: str | Path, split: str = "test") -> tuple[MatrixSource, Catalogue]:
    """Read one environment of BiLLP and IL-Rec from the folder with its files.

    These are ``<name>_<split>.npy``, rewards (U, N) in rating points; a pickled matrix of distances
    (N, N), ``<split>_distance_mat.pickle``; and the files of :func:`official_catalogue`. Play it
    under ``ilrec`` with a ``min_distance`` of 50 (Steam) or 15 (Amazon), and without histories.

    Args:
        folder: The folder.
        split: ``"train"`` pays IL-Rec's learner, ``"test"`` judges it.

    Returns:
        The source, whose rewards stay on the disk; its vectors are shares of genres. And the items.

    Raises:
        UserError: If a file is missing or unreadable, the files do not fit each other, or a reward
            is not finite.

    Source:
        BiLLP (Shi et al., SIGIR 2024) and IL-Rec (arXiv 2510.13229).
    """
    catalogue, path = official_catalogue(folder), _only(folder, f"*_{split}.npy")
    try:
        rewards = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{path} is no matrix of numbers ({error}); fetch it again") from None
    if rewards.ndim != 2 or rewards.shape[1] != catalogue.n_items:
        found = f"{path} has shape {rewards.shape} but datamaps.json {catalogue.n_items} items"
        raise UserError(f"{found}; take both from one data set")
    for user, row in enumerate(rewards):
        if not np.isfinite(row).all():
            raise UserError(f"user {user} has a reward in {path} that is not finite; mend it")
    distances = read_matrix(_only(folder, f"*{split}_distance_mat.pickle"))
    return MatrixSource(rewards, catalogue.genre_matrix(), distances), catalogue


def official_catalogue(folder: str | Path) -> Catalogue:
    """Read the items from ``datamaps.json`` and, if it is there, ``list_genre.json``.

    Args:
        folder: The folder with these files.

    Returns:
        N items; item ``i`` belongs to column ``i`` of the rewards and has the id ``str(i)``.

    Raises:
        UserError: If ``datamaps.json`` is missing, a file is unreadable, or the ids are not 0, 1,
            ... N - 1.
    """
    path, listed = _only(folder, "datamaps.json"), Path(folder) / "list_genre.json"
    known = read_json(listed) if listed.is_file() else {}
    try:
        titles = dict(read_json(path)["id2item_dict"])
        names = tuple(titles[str(item)] for item in range(len(titles)))
        lists = (ast.literal_eval(known.get(name, "[]")) for name in names)
        genres = tuple(tuple(dict.fromkeys(genres)) for genres in lists)
    except (KeyError, TypeError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} or {listed.name} is not as it was ({error!r}); {WHERE}") from None
    return Catalogue(tuple(map(str, range(len(names)))), names, genres, np.zeros(len(names), int))


def read_matrix(path: str | Path) -> FloatArray:
    """Read a pickled matrix, and refuse to build anything else.

    Args:
        path: A NumPy array of numbers, or a list, or a dictionary from 0, 1, ..., of its rows.

    Returns:
        The matrix, of the type in which it was stored.

    Raises:
        UserError: If the pickle names anything but the parts of an array, is damaged, or holds no
            matrix of numbers. Nothing that it names is imported or called.
    """
    try:
        with Path(path).open("rb") as file:
            loaded = _Arrays(file).load()
        rows = [loaded[i] for i in range(len(loaded))] if isinstance(loaded, dict) else loaded
        matrix = np.asarray(rows)
        if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
            raise UserError(f"it holds {matrix.dtype} of shape {matrix.shape}")
    except Exception as error:  # a damaged pickle may raise anything
        raise UserError(f"{path} is no pickled matrix of numbers: {error}; {WHERE}") from None
    return matrix


class _Part:
    """Stands in for whatever the pickle of an array calls; notes what it is told, does nothing."""

    state: Any = None

    def __init__(self, *args: Any) -> None:
        self.args = args

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __array__(self, dtype: Any = None, copy: Any = None) -> FloatArray:
        if self.state is None:  # protocol 5
            raw, kind, shape, order = self.args
        else:
            _, shape, kind, order, raw = self.state
        if isinstance(raw, _Part):  # protocol 2: text for bytes
            raw = raw.args[0].encode("latin1")
        flat: FloatArray = np.frombuffer(raw, kind.state[1] + kind.args[0])
        return flat.reshape(shape, order="F" if order in (True, "F") else "C")


class _Arrays(pickle.Unpickler):
    """Knows nothing but the stand-in."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module.replace('numpy.core', 'numpy._core')}.{name}" in PARTS:
            return _Part
        raise UserError(f"it asks for {module}.{name}, which no array needs")


def _only(folder: str | Path, pattern: str) -> Path:
    """Return the one file of this pattern."""
    found = sorted(Path(folder).glob(pattern))
    if len(found) != 1:
        raise UserError(f"{len(found)} files {pattern} in {folder}, not 1; {WHERE}")
    return found[0]
