"""A thousand demonstrations from a server that fails in every way, killed ten times and resumed.

    python benchmarks/kill_and_resume.py     # needs no data

``minirec demos make`` asks the Ollama server of the tests, eight calls at a time, all roles, with
faults of every kind. It runs once in peace. Then, with a new server, it is killed at ten random
moments, by SIGKILL, and each time started again with ``--resume``. The result is
``book/_results/kill-and-resume.json``: calls made, retried and failed for good, whether transcript
and demonstrations are complete and equal, peak memory [MB] and wall time [s].
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from domains import Experiment
from main_results import ROOT

from minirec._io import UserError, generator, read_jsonl, write_text
from minirec.demos.transcript import Transcript
from minirec.world.trajectory import load_trajectories

MODEL, CALLS, FAULTS = "small", 8, 0.1
SETTINGS = "[demos]\ntimeout = 0.5\n"


class Server:
    """The tests' server as a process of its own."""

    def __init__(self) -> None:
        call = [sys.executable, str(ROOT / "tests/ollama_server.py"), "--model", MODEL]
        call += ["--faults", str(FAULTS), "--seed", "0", "--stall", "1"]
        self.process = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]

    def __enter__(self) -> str:
        return self.url

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


def make(url: str, out: Path, episodes: int, seconds: float | None) -> dict[str, float]:
    """Run the command; kill it after so many seconds, or let it end."""
    settings = out.with_suffix(".toml")
    write_text(settings, SETTINGS)
    call = [sys.executable, "-m", "minirec", "demos", "make", "--chat", f"ollama:{MODEL}"]
    call += ["--hosts", url, "--episodes", str(episodes), "--calls", str(CALLS)]
    call += ["--roles", "billp", "--config", str(settings), "--out", str(out)]
    call += ["--resume"] * out.is_dir()
    started = time.monotonic()
    process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    alarm = threading.Timer(seconds or 36_000, process.kill)
    alarm.start()
    _, status, usage = os.wait4(process.pid, 0)
    alarm.cancel()
    assert process.stderr is not None
    words = process.stderr.read().decode()
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    if not killed and status:
        raise RuntimeError(words)
    return {"killed": killed, "seconds": time.monotonic() - started, "peak": usage.ru_maxrss / 1024}


def described(out: Path) -> dict[str, Any]:
    """Say what a finished folder holds."""
    lines = read_jsonl(out / "transcript.jsonl")
    Transcript(out / "transcript.jsonl")  # every byte checked, doubles refused
    episodes = load_trajectories(out / "demos.jsonl")
    errors = Counter(line["error"] for line in lines if line["error"])
    asked = {line["hash"]: (line["request"], line["reply"], line["error"]) for line in lines}
    same = json.dumps(sorted(asked.items()), sort_keys=True).encode()
    hashes = {"demonstrations": (out / "demos.jsonl").read_bytes(), "calls": same,
              "memory": (out / "memory.jsonl").read_bytes()}  # fmt: skip
    return {
        "episodes": len(episodes), "recommendations": sum(map(len, episodes)),
        "ends": dict(Counter(episode.reason for episode in episodes)),
        "calls": len(lines), "doubles": len(lines) - len(asked),
        "retried": sum(line["attempts"] > 1 for line in lines),
        "attempts": sum(line["attempts"] for line in lines),
        "failed_for_good": dict(errors),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in hashes.items()},
    }  # fmt: skip


def in_peace(episodes: int) -> dict[str, Any]:
    """Let the command end by itself."""
    with tempfile.TemporaryDirectory() as folder, Server() as url:
        start = make(url, out := Path(folder) / "run", episodes, None)
        return described(out) | {"starts": [start]}


def with_kills(episodes: int, kills: int, seconds: float) -> dict[str, Any]:
    """Kill the command at random moments, so that all of them fit into so many seconds."""
    rng, starts = generator(0, "kills"), list[dict[str, float]]()
    with tempfile.TemporaryDirectory() as folder, Server() as url:
        out, span = Path(folder) / "run", seconds / (kills + 1)
        while len(starts) < kills:
            starts.append(make(url, out, episodes, float(rng.uniform(0.2, 1.8)) * span))
            if not starts[-1]["killed"]:
                raise UserError("it ended before it was killed often enough; start again")
        starts.append(make(url, out, episodes, None))
        return described(out) | {"starts": starts}


def main() -> int:
    """Run in peace, run with kills, compare."""
    experiment = Experiment("kill_and_resume", __doc__.splitlines()[0], seeds=1)
    episodes, kills = (12, 2) if experiment.tiny else (1000, 10)
    peace = experiment.part("in peace", partial(in_peace, episodes))
    seconds = peace["starts"][0]["seconds"]
    war = experiment.part("killed", partial(with_kills, episodes, kills, seconds))
    same = peace["sha256"] == war["sha256"]
    experiment.write({
        "episodes": episodes, "calls_at_a_time": CALLS, "faults": FAULTS, "kills": kills,
        "equal": same, "found": {"in peace": peace, "killed": war},
    })  # fmt: skip
    return 0 if same else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"kill_and_resume: {error}")
