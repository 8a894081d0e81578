"""`minirec demos`: demonstrations in a folder of their own, made or imported, and their audit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from minirec import pipeline
from minirec._io import IntArray, UserError, read_json, write_json, write_text
from minirec.config import Config
from minirec.data.catalogue import Catalogue
from minirec.demonstrations import live_chat, simulated_chat
from minirec.demos.audit import audit
from minirec.demos.billp import read_billp
from minirec.demos.transcript import Transcript
from minirec.evidence.tables import audit_table
from minirec.problem import load_problem, prepare
from minirec.runs import SAME_RESULT, RunFolder, always_matters, demo_files
from minirec.world.deepfm import DeepFM
from minirec.world.trajectory import load_trajectories, save_trajectories


def make(config: Config, out: str | Path, *, seed: int = 0, resume: bool = False) -> Path:
    """Let a chat model play the world model of a catalogue, one training user an episode.

    The folder gets ``transcript.jsonl``, every call; ``demos.jsonl``, the episodes;
    ``memory.jsonl`` where the roles remember anything; and ``catalogue.json``. Stopped at any
    moment and resumed, it holds the same demonstrations as if it had not been.

    Returns:
        The file of the demonstrations.

    Raises:
        UserError: If the chat model cannot be asked, there are too few users, or the folder is
            taken.
    """
    chat, problem = live_chat(config.demos), load_problem(config)
    setup = prepare(problem, config, seed)
    people, episodes = len(setup.split.train_users), config.demos.episodes
    if episodes > people:
        raise UserError(f"{episodes} episodes need as many training users; there are {people}: "
                        f"use --episodes {people} or fewer")  # fmt: skip
    folder = RunFolder(out, config, resume=resume)
    world, always = folder.path / "world.pt", always_matters(setup)
    folder.stage("world", always, [world], partial(pipeline.fit_world, setup))
    model = DeepFM.load(world)
    chat = simulated_chat(setup, model) if chat is None else chat
    if not isinstance(chat, Transcript):
        chat = Transcript(folder.path / "transcript.jsonl", chat, "record")
    asked = {key: v for key, v in config.to_json()["demos"].items() if key not in SAME_RESULT}
    inputs = always | {"asked": asked, "rules": config.to_json()["rules"], "chat": chat.settings}
    counts = np.bincount(setup.split.train.items, minlength=problem.catalogue.n_items)
    describe(folder.path, problem.catalogue, counts)
    outputs = [folder.path / name for name in demo_files(config)]
    play = partial(pipeline.demonstrate, setup, model, chat=chat)
    folder.stage("demonstrations", inputs, outputs, play)
    return outputs[0]


def bring(source: str | Path, out: str | Path, env: str | Path | None = None) -> Path:
    """Import published trajectories of BiLLP; return the file of the demonstrations.

    Arguments are those of :func:`.read_billp`, and the folder to write.

    Raises:
        UserError: If they cannot be read, or the folder is taken.
    """
    folder = Path(out)
    if folder.exists():
        raise UserError(f"{folder} is there; choose another --out")
    catalogue, trajectories = read_billp(source, env)
    save_trajectories(folder / "demos.jsonl", trajectories)
    describe(folder, catalogue, None)
    return folder / "demos.jsonl"


def describe(folder: Path, catalogue: Catalogue, counts: IntArray | None) -> None:
    """Write what an audit has to know of the catalogue, and how often each item was rated."""
    write_json(folder / "catalogue.json", vars(catalogue) | {"counts": counts})


def audits(files: Sequence[str | Path]) -> dict[str, dict[str, Any]]:
    """Audit files of demonstrations, each by what stands beside it.

    Each is called by its folder's name, or by its path if another one is called so already.

    Raises:
        UserError: If a file is missing.
    """
    found = {}
    for name in files:
        path = Path(name) / "demos.jsonl" if Path(name).is_dir() else Path(name)
        if not path.is_file():
            raise UserError(f"no such file: {path}; `minirec demos make` or `import` writes one")
        beside, catalogue, counts = path.with_name("catalogue.json"), None, None
        if beside.is_file():
            known = read_json(beside)
            genres = tuple(map(tuple, known["genres"]))
            names = tuple(known["item_ids"]), tuple(known["titles"]), genres
            catalogue = Catalogue(*names, np.array(known["years"]))
            counts = None if known["counts"] is None else np.array(known["counts"])
        called = path.resolve().parent.name
        called = str(path) if called in found else called
        found[called] = audit(load_trajectories(path), catalogue, counts)
    return found


def report(found: dict[str, dict[str, Any]], folder: Path) -> None:
    """Write audits as JSON, Markdown table and figure with its alt text."""
    from minirec.evidence import plots

    write_json(folder / "audit.json", found)
    write_text(folder / "audit.md", audit_table(found).markdown())
    figure, alt, caption = plots.audit_figure(found)
    plots.save_figure(figure, folder / "audit.png")
    write_json(folder / "audit-figure.json", {"alt": alt, "caption": caption})
