from __future__ import annotations

import copy
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from minirec import cli, runs
from minirec._io import UserError, read_json, read_jsonl
from minirec.config import Config, config_from
from minirec.pipeline import ARMS
from minirec.rl import arms
from minirec.runs import TINY

PARTS = {arm: ("reward", "policy") if arms.ARMS[arm].shown else ("policy",) for arm in ARMS}
LEARNING = [f"{part}-{arm.lower().replace(' ', '-')}" for arm in ARMS for part in PARTS[arm]]
UNTAUGHT = [stage for stage in LEARNING if "without" in stage or "constant" in stage]
STAGES = ["world", "demonstrations", *LEARNING, "evaluation"]
KEPT = ("world", "policy-constant-reward", "reward-il-rec", "policy-il-rec")
KEEPS = {stage: stage in KEPT for stage in STAGES}


def tiny_config(**changes: dict[str, Any]) -> Config:
    tables = {name: TINY.get(name, {}) | changes.get(name, {}) for name in {**TINY, **changes}}
    return config_from(tables)


def files(folder: Path) -> set[str]:
    """What somebody who looks for data finds: a name with a dot in front is none."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if not path.name.startswith(".")}


def check_whole(folder: Path) -> None:
    """Every file that is there can be read to its end."""
    for name in files(folder):
        path = folder / name
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".jsonl":
            read_jsonl(path)
        elif path.suffix == ".pt":
            torch.load(path, weights_only=True)


def same(a: Any, b: Any) -> bool:
    """Equality to the last bit, also of tensors."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def check_equal(run: Path, other: Path) -> None:
    assert files(run) == files(other)
    a, b = (read_json(folder / "results.json") for folder in (run, other))
    assert all(a[key] == b[key] for key in a.keys() - {"seconds", "command"})
    for path in (run / "seed-0").glob("*.pt"):
        stored = (torch.load(folder / "seed-0" / path.name, weights_only=True)
                  for folder in (run, other))  # fmt: skip
        assert same(*stored), path.name
    texts = ((folder / "seed-0" / "demos.jsonl").read_bytes() for folder in (run, other))
    assert len(set(texts)) == 1


# Killed and resumed


def run_and_die(command: list[str], stage: str, kept: bool, delay: float) -> None:
    """Run a command line in this process and kill it within a stage, without a warning.

    That is ``delay`` seconds after the stage has begun or, if ``kept``, has kept something anew;
    at the latest when its work is done, just before it would say so.
    """
    make, begun = runs.RunFolder.stage, time.time() - 0.01  # file systems' clocks are coarse

    def die() -> None:
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    def watch(folder: Path) -> None:
        while kept and not any(path.stat().st_mtime >= begun for path in folder.glob("[!.]*")):
            time.sleep(0.001)
        time.sleep(delay)
        die()

    def doomed(self: runs.RunFolder, name: str, *made_of: Any) -> None:
        *made_of, work = made_of

        def work_and_wait(folder: Path, *outputs: Path) -> None:
            threading.Thread(target=watch, args=(folder,), daemon=True).start()
            work(folder, *outputs)
            die()

        make(self, name, *made_of, work_and_wait if name.endswith(f"/{stage}") else work)

    runs.RunFolder.stage = doomed
    cli.main(command)


def test_a_run_killed_in_every_stage_ends_like_one_that_was_not(tiny, finished, tmp_path):
    """Once at a random moment of each stage, and in some again when they have kept something."""
    out, rng = tmp_path / "killed", random.Random(2)
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["minirec.cli", "minirec.runs"])
    command = ["run", "--config", str(tiny), "--out", str(out), "--resume"]
    rows = read_jsonl(finished / "metrics.jsonl")
    took = {Path(row["stage"]).name: row["seconds"] for row in rows}
    moments = [(stage, again) for stage in STAGES for again in (False, True)[: 1 + KEEPS[stage]]]
    assert len(moments) >= 10
    for stage, kept in moments:
        delay = took[stage] * rng.uniform(0, 0.1 if kept else 0.6)
        process = context.Process(target=run_and_die, args=(command, stage, kept, delay))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL or sys.platform == "win32"
        assert any((out / "seed-0").glob(f"{stage}.*.partial"))
        assert not (out / "seed-0" / f"{stage}.stage.json").exists()
        check_whole(out)
    print(f"killed {len(moments)} times: {moments}")
    assert cli.main(command) == 0
    check_equal(out, finished)


LISTENING = """
import signal, sys  # whoever starts the tests in the background makes them ignore Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)
from minirec.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to one process there")
def test_a_run_stopped_by_ctrl_c_says_how_to_go_on_and_does(tiny, finished, tmp_path):
    out = tmp_path / "stopped"
    command = [sys.executable, "-c", LISTENING, "run", "--config", str(tiny), "--out", str(out)]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **quiet)
    while not any((out / "seed-0").glob("reward-il-rec.*.partial")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 130
    assert said == "minirec: stopped; the same command with --resume goes on\n"
    check_whole(out)
    assert not [path for path in out.rglob(".*") if path.is_file()]
    assert cli.main([*command[3:], "--resume"]) == 0
    check_equal(out, finished)


# Seeds, skipped stages and changed settings


def test_seeds_decide_a_run(finished, tmp_path):
    out = tmp_path / "two"
    two = runs.run(tiny_config(), out, seeds=[0, 1])
    one = read_json(finished / "results.json")
    curves = [curve for curve in two["curves"] if curve["seed"] == 0]
    assert json.loads(json.dumps(curves)) == one["curves"]
    for method, alone in zip(two["methods"], one["methods"], strict=True):
        first, second = method["per_seed"]
        assert [json.loads(json.dumps(first))] == alone["per_seed"]
        assert first["r_traj"] != second["r_traj"]


def stage_times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "seed-0").iterdir()
            if path.name != "titles.json"}  # fmt: skip


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "copied"))


def run_again(folder: Path, **changes: dict[str, Any]) -> set[str]:
    """Resume with changed settings; return the stages that ran."""
    before = len(read_jsonl(folder / "metrics.jsonl"))
    runs.run(tiny_config(**changes), folder, seeds=[0], resume=True)
    return {Path(row["stage"]).name for row in read_jsonl(folder / "metrics.jsonl")[before:]}


def test_what_has_not_changed_is_not_made_again(finished, copied):
    before = stage_times(copied)
    assert run_again(copied) == set()
    assert stage_times(copied) == before
    check_equal(copied, finished)


@pytest.mark.parametrize(
    ("changes", "again"),
    [
        ({"evaluation": {"users": 15}}, {"evaluation"}),
        ({"demos": {"judged": 5}}, {"evaluation"}),
        ({"demos": {"hallucination": 0.1}}, {*STAGES} - {"world", *UNTAUGHT}),
        ({"rules": {"max_turns": 19}}, {*STAGES} - {"world"}),
    ],
    ids=["users", "judged", "demonstrator", "rules"],
)
def test_a_changed_setting_makes_again_what_depends_on_it(copied, changes, again):
    assert run_again(copied, **changes) == again


def test_a_damaged_artefact_is_made_again(finished, copied):
    (copied / "seed-0" / "evaluation.json").write_text("{}", encoding="utf-8")
    assert run_again(copied) == {"evaluation"}
    check_equal(copied, finished)


# Folders


def test_the_default_settings_of_tests_are_left_as_they_were():
    before = copy.deepcopy(TINY)
    assert config_from(TINY) == config_from(TINY)
    assert before == TINY


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_taken_folder_is_refused_and_left_alone(finished, tmp_path):
    other, model, file = tmp_path / "other", tmp_path / "model", tmp_path / "file"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    model.mkdir()
    (model / "config.json").write_text('{"hidden_size": 64}')
    file.write_text("mine")
    before, run_before = listing(tmp_path), listing(finished)
    for taken, resume, what in [
        (finished, False, "holds a run"), (other, False, "holds no run"),
        (other, True, "holds no run"), (model, True, "holds no run"), (file, True, "is a file"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=what):
            runs.RunFolder(taken, Config(), resume=resume)
    assert (listing(tmp_path), listing(finished)) == (before, run_before)


def test_a_start_that_was_killed_can_be_resumed(tmp_path):
    (tmp_path / f".config.{os.getpid()}.json").write_text('{"conf')
    runs.RunFolder(tmp_path, Config(), resume=True)
    stored = read_json(tmp_path / "config.json")["config"]
    assert config_from(stored) == Config()
