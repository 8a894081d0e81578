"""BiLLP's recorded runs as trajectories: what GPT-3.5 said, what was shown, what it earned."""

from __future__ import annotations

import ast
import gzip
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from minirec._io import UserError
from minirec.data.catalogue import Catalogue
from minirec.world.trajectory import Trajectory

K = 15  # length of the observations; as many titles are known of a user beforehand
HIDDEN = -1000.0  # logged in place of the reward at which a user quits
ENDS = {"continue": "max_turn", "finished, User Stop": "quit"}  # if nothing comes after it
_HISTORY = re.compile(r"The user's viewing history is (\[.*\]), please recommend item .* user\.?")
_STEP = re.compile(
    r"\n(?P<reply>Thought (?P<number>\d+): ?(?P<thought>(?s:.*?))\n"
    r"Action (?P=number): recommend\[(?P<title>.*)\])\n"
    r"(?:Observation (?P=number): \[(?P=title)\] can not be recommened, instead, "
    r"recommend\[(?P<instead>.*)\]\n)?"
    r"Observation (?P=number): Episode (?P<goes>continue|finished, User Stop), "
    r"reward=(?P<reward>-?\d+(?:\.\d+)?)(?=\n|$)"
)
_INVALID = re.compile(r"\nThought (\d+):(?s:.*?)\nAction \1:.*\nObservation \1: Invalid Action\..*")


def read_billp(
    path: str | Path, env: str | Path | None = None
) -> tuple[Catalogue, list[Trajectory]]:
    """Read trajectories that BiLLP published.

    The data: Shi et al., Large Language Models are Learnable Planners for Long-Term
    Recommendation, SIGIR 2024; https://github.com/jizhi-zhang/BiLLP, under the MIT licence.
    Built in chapter 7.

    Observations hold 15 items and begin with the titles of the viewing history that the catalogue
    holds; their ratings are not in the log, and 0 here. Each step's info has the raw ``reply``, the
    ``thought``, the ``title`` as written, whether it is ``literal``, ``how`` it was grounded
    (``exact``, or ``vector``: the nearest by LLaMA's text vectors) and ``score``, which is None.
    The log hides the reward at which a user quits: it is 0 here, and the info says ``hidden``.
    An action that recommends nothing ends its episode, reason ``invalid``, and is no step. A quit
    has the reason ``quit``, since the log does not say which rule it was, a cut ``max_turn``.

    Args:
        path: A file of ``trajs_agent``, plain or ``.gz``, or a folder of such files.
        env: The folder of ``datamaps.json`` and ``list_genre.json``, plain or ``.gz``; None takes
            ``../env``, seen from the file's folder.

    Returns:
        The catalogue, its titles as logged, and the episodes, file after file.

    Raises:
        UserError: If a file is missing or a line cannot be read; it names file, user and line.
    """
    path = Path(path)
    files = sorted(path.glob("*.json*")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"no trajectories in {path}; name a file of BiLLP's trajs_agent")
    folder = Path(env) if env else files[0].parent.parent / "env"
    maps, genres = (_read(_either(folder / name)) for name in ("datamaps.json", "list_genre.json"))
    titles = [maps["id2item_dict"][str(item)] for item in range(len(maps["id2item_dict"]))]
    named = (map(html.unescape, ast.literal_eval(genres.get(title, "[]"))) for title in titles)
    catalogue = Catalogue(
        tuple(map(str, range(len(titles)))), tuple(titles), tuple(map(tuple, named)),
        np.zeros(len(titles), int),
    )  # fmt: skip
    return catalogue, [
        _episode(run, maps["item2id_dict"], len(titles), f"{file}, user {run['userid']}")
        for file in files for run in _read(file).values()
    ]  # fmt: skip


def _either(path: Path) -> Path:
    """Return the path of a file, or of the same one compressed."""
    return path if path.is_file() else path.with_name(f"{path.name}.gz")


def _read(path: Path) -> Any:
    """Read a JSON file, plain or compressed."""
    try:
        data = path.read_bytes()
        return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f"cannot read {path} ({error}); fetch BiLLP's files again") from None


def _episode(run: dict[str, Any], items: dict[str, int], n_items: int, where: str) -> Trajectory:
    """Turn one user's log into a trajectory; every character of it must be understood."""
    text: str = run["traj"]
    start = _HISTORY.match(text)
    if not start:
        raise UserError(f"{where}, line 1: no viewing history; fetch BiLLP's files again")
    known = [items[title] for title in ast.literal_eval(start[1]) if title in items][-K:]
    infos, acts, rews = list[dict[str, Any]](), list[int](), list[float]()
    reason, at = "max_turn", start.end()
    while reason == "max_turn" and (step := _STEP.match(text, at)):
        title, instead = step["title"], step["instead"]
        item = items.get(title if instead is None else instead)
        if int(step["number"]) != len(acts) + 1 or item is None:
            break
        said = {"reply": step["reply"], "thought": step["thought"], "title": title}
        how = {"how": "exact" if instead is None else "vector", "score": None}
        reward, reason = float(step["reward"]), ENDS[step["goes"]]
        infos.append(said | how | {"literal": title in items})
        infos[-1] |= {"hidden": True} if reward == HIDDEN else {}
        acts.append(item)
        rews.append(0.0 if reward == HIDDEN else reward)
        at = step.end()
    if reason == "max_turn" and _INVALID.fullmatch(text, at):
        reason = "invalid"
    elif at < len(text):
        line = text.count("\n", 0, at + 1) + 1
        raise UserError(f"{where}, line {line}: no step {len(acts) + 1}; fetch BiLLP's files again")
    start_items = [n_items] * (K - len(known)) + known
    return Trajectory.from_json({
        "user": int(run["userid"]), "start_items": start_items, "start_rewards": [0.0] * K,
        "acts": acts, "rews": rews, "infos": infos, "terminal": reason == "quit", "reason": reason,
    })  # fmt: skip
