"""A run is a folder: settings, artefacts with the hash of what they were made from, results."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from minirec import __version__, pipeline
from minirec._io import UserError, append_jsonl, read_json, read_jsonl, write_json, write_text
from minirec.config import Config
from minirec.demos.roles import roles_named
from minirec.evidence.tables import Results, results_table
from minirec.problem import Problem, Setup, load_problem, prepare
from minirec.rl.arms import ARMS
from minirec.world.deepfm import DeepFM
from minirec.world.trajectory import load_trajectories

Work = Callable[..., None]
"""Makes the outputs of a stage: gets a folder for what it wants to keep, and their paths."""

TINY: dict[str, Any] = {
    "data": {"test_share": 0.8},
    "world": {"epochs": 5, "dim": 6, "hidden": 16},
    "demos": {"episodes": 12, "judged": 8},
    "learner": {"steps": 1_000, "clone_epochs": 2, "rounds": 8, "hidden": 16, "dim": 8},
    "evaluation": {"users": 20, "curve_users": 10, "judged_at": [250, 500, 750]},
    "rules": {"max_turns": 20},
}
"""Settings under which all five stages run in seconds: for tests and for ``minirec doctor``."""

SAME_RESULT = ("hosts", "calls", "timeout")
"""Settings of the demonstrations that say how to get them, not what they are."""

PACKAGES = ("minirec", "torch", "numpy", "gymnasium", "pandas", "rapidfuzz")


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    found = {"python": platform.python_version(), "system": platform.system()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


class RunFolder:
    """One run on disk. Every file in it is written whole or not at all.

    Args:
        path: The folder.
        config: The settings of this run.
        resume: Go on with an existing folder.

    Raises:
        UserError: If the folder holds a run and ``resume`` is False, or holds something else.
    """

    def __init__(self, path: str | Path, config: Config, *, resume: bool = False) -> None:
        self.path = Path(path)
        if self.path.is_file():
            raise UserError(f"{path} is a file; choose a folder with --out")
        if self.path.is_dir() and (items := list(self.path.iterdir())):
            # a start that was killed leaves nothing but a temporary file
            leftovers = all(item.name.startswith(".config.") for item in items)
            if not leftovers and not self._holds_run():
                raise UserError(f"{path} is not empty and holds no run; choose another with --out")
            if not resume:
                raise UserError(f"{path} holds a run; go on with --resume or choose another --out")
        write_json(self.path / "config.json", {"config": config.to_json(), "versions": versions()})

    def _holds_run(self) -> bool:
        """Whether the folder's ``config.json`` is one of ours."""
        settings = self.path / "config.json"
        found = read_json(settings) if settings.is_file() else None
        return isinstance(found, dict) and {"config", "versions"} <= found.keys()

    def stage(self, name: str, inputs: dict[str, Any], outputs: list[Path], work: Work) -> None:
        """Run one stage unless its outputs are there and were made from the same inputs.

        Args:
            name: For example ``"seed-0/world"``.
            inputs: Settings and hashes that the outputs depend on.
            outputs: Files that ``work`` writes, in this folder.
            work: Gets a folder for what it wants to keep until it is done, which belongs to these
                very inputs, so that whatever lies in it can be gone on with; then the outputs.
        """
        key = hashlib.sha256(json.dumps([name, inputs], sort_keys=True).encode()).hexdigest()
        stamp = self.path / f"{name}.stage.json"
        if stamp.is_file() and read_json(stamp) == {"key": key, "files": _hashes(outputs)}:
            return
        started = time.perf_counter()
        kept = self.path / f"{name}.{key[:12]}.partial"
        kept.mkdir(parents=True, exist_ok=True)
        work(kept, *outputs)
        for leftover in stamp.parent.glob(f"{stamp.name.split('.')[0]}.*.partial"):
            shutil.rmtree(leftover)
        write_json(stamp, {"key": key, "files": _hashes(outputs)})
        seconds = round(time.perf_counter() - started, 2)
        append_jsonl(self.path / "metrics.jsonl", {"stage": name, "seconds": seconds})

    def seconds(self) -> dict[str, float]:
        """Return how long each stage took when it was last run."""
        file = self.path / "metrics.jsonl"
        rows = read_jsonl(file) if file.is_file() else []
        return {row["stage"]: row["seconds"] for row in rows}


def _hashes(files: list[Path]) -> dict[str, str]:
    """Return the hash of each file that is there, by name."""
    return {file.name: file_hash(file) for file in files if file.is_file()}


def run(
    config: Config, out: str | Path, *, seeds: list[int], resume: bool = False,
    device: str = "cpu", command: str = "",
) -> dict[str, Any]:  # fmt: skip
    """Run the five stages for each seed and write results, table and figures into ``out``.

    Args:
        config: The settings.
        out: The run folder.
        seeds: One whole run for each; they vary users, demonstrations and training.
        resume: Go on with an existing folder; stages whose inputs have not changed are skipped.
        device: ``cpu``, ``cuda`` or ``mps``.
        command: What the user typed; kept with the results.

    Returns:
        What ``results.json`` holds.

    Raises:
        UserError: If the folder is taken, or settings or data are not usable.
    """
    problem = load_problem(config)
    setups = [prepare(problem, config, seed) for seed in seeds]
    folder = RunFolder(out, config, resume=resume)
    done = [run_seed(folder, setup, device) for setup in setups]
    results = gather(problem, config, seeds, done)
    results |= {"command": command, "seconds": folder.seconds(), "versions": versions()}
    write_json(folder.path / "results.json", results)
    report(results, folder.path)
    return results


def gather(
    problem: Problem, config: Config, seeds: list[int], done: list[dict[str, Any]]
) -> Results:
    """Put what the seeds found into one dictionary, the content of ``results.json``."""
    methods: dict[str, dict[str, Any]] = {}
    for seed, found in zip(seeds, done, strict=True):
        for name, kind, row in found["rows"]:
            entry = methods.setdefault(name, {"name": name, "kind": kind, "per_seed": []})
            entry["per_seed"].append({"seed": seed, **row})
    if "demonstrator" in methods:
        methods["demonstrator"]["simulated"] = config.demos.chat == "simulated"
    data = {"name": problem.name, "sha256": problem.digest(), **problem.card}
    errors = [found["judge"] for found in done if found["judge"]]
    if errors:
        data["judge"] = {key: sum(e[key] for e in errors) / len(errors) for key in errors[0]}
    curves = [
        {"name": name, "seed": seed, **{key: [point[key] for point in points] for key in points[0]}}
        for seed, found in zip(seeds, done, strict=True) for name, points in found["curves"].items()
    ]  # fmt: skip
    return {
        "config": config.to_json(), "data": data, "seeds": seeds, "rules": asdict(config.rules),
        "methods": list(methods.values()), "curves": curves,
        "demonstrations": [found["demonstrations"] for found in done],
    }  # fmt: skip


def report(results: Results, folder: Path) -> None:
    """Write the results table as Markdown and the three figures with their alt texts."""
    from minirec.evidence import plots

    write_text(folder / "results.md", results_table(results).markdown())
    texts = {}
    for draw in (plots.learning_curves, plots.shares, plots.length_reward):
        figure, alt, caption = draw(results)
        name = draw.__name__.replace("_", "-")
        plots.save_figure(figure, folder / f"{name}.png")
        texts[name] = {"alt": alt, "caption": caption}
    write_json(folder / "figures.json", texts)


def always_matters(setup: Setup) -> dict[str, Any]:
    """Return what every stage of a seed depends on."""
    return {
        "seed": setup.seed, "data": setup.problem.digest(), "version": __version__,
        "genres": setup.problem.catalogue.genres, "timed": setup.problem.log.times is not None,
        "world": setup.config.to_json()["world"], "test share": setup.config.data.test_share,
    }  # fmt: skip


def demo_files(config: Config) -> list[str]:
    """Return the names of what the demonstrations leave: episodes, and memories if there are."""
    return ["demos.jsonl"] + ["memory.jsonl"] * roles_named(config.demos.roles).remember


def run_seed(folder: RunFolder, setup: Setup, device: str) -> dict[str, Any]:
    """Run or resume all stages of one seed; return what its ``evaluation.json`` holds."""
    config, where = setup.config, f"seed-{setup.seed}"
    settings, always = config.to_json(), always_matters(setup)

    def stage(name: str, inputs: dict[str, Any], work: Work, *outputs: str) -> list[Path]:
        paths = [folder.path / where / output for output in outputs]
        folder.stage(f"{where}/{name}", always | inputs, paths, work)
        return paths

    rules, asked, judging = settings["rules"], settings["demos"], settings["evaluation"]
    judged_on = {"users": judging.pop("users"), "judged": asked.pop("judged")}
    asked = {name: value for name, value in asked.items() if name not in SAME_RESULT}
    by, learner = {"rules": rules, "demos": asked}, settings["learner"]
    learned = {"rules": rules, "learner": learner, "device": device, "curves": judging}

    [fitted] = stage("world", {}, partial(pipeline.fit_world, setup), "world.pt")
    model = DeepFM.load(fitted)
    show = partial(pipeline.demonstrate, setup, model)
    told, *_ = stage("demonstrations", by, show, *demo_files(config))
    imitated = learned | by | {"demonstrations": file_hash(told)}

    shown = load_trajectories(told)
    dealt = pipeline.deal(setup, shown, device)
    payer = pipeline.fit_payer(setup)
    judge = pipeline.judge_of(setup, model, payer, config.evaluation.users)
    few = pipeline.judge_of(setup, model, payer, config.evaluation.curve_users)

    write_json(folder.path / where / "titles.json", setup.problem.catalogue.titles)
    trained, inferred = dict[str, Path](), dict[str, Path]()
    for name in pipeline.ARMS:
        slug = name.lower().replace(" ", "-")
        arm = pipeline.Arm(name, setup, model, dealt.get(ARMS[name].shown), few, device)
        if arm.demos is not None:
            infer = partial(pipeline.infer_reward, arm)
            [inferred[name]] = stage(f"reward-{slug}", imitated, infer, f"reward-{slug}.pt")
        learn = partial(pipeline.train_policy, arm, inferred.get(name))
        inputs = learned if arm.demos is None else imitated
        files = f"policy-{slug}.pt", f"serve-{slug}.pt"
        trained[name], _ = stage(f"policy-{slug}", inputs, learn, *files)

    score = partial(pipeline.evaluate, setup, model, judge, shown, trained, inferred["IL-Rec"])
    made_of = imitated | judged_on | {arm: file_hash(path) for arm, path in trained.items()}
    [scored] = stage("evaluation", made_of, score, "evaluation.json")
    return dict(read_json(scored))
