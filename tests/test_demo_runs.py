"""`minirec demos`: made, stopped and resumed, imported, audited; mistakes are named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import write_toml
from minirec._io import UserError, read_jsonl
from minirec.cli import main
from minirec.config import config_from
from minirec.demo_runs import audits, make
from minirec.demos.transcript import Transcript
from minirec.runs import TINY, run
from ollama_server import OllamaServer, simulated

TABLES = {"world": TINY["world"], "demos": {"episodes": 20, "roles": "billp", "turns": 5}}
FILES = ("demos.jsonl", "memory.jsonl", "transcript.jsonl")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(config_from(TABLES), tmp_path_factory.mktemp("whole") / "run").parent


def contents(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


def test_the_folder_tells_everything(whole: Path) -> None:
    memory = [json.loads(line) for line in (whole / "memory.jsonl").read_text().splitlines()]
    assert {row["memory"] for row in memory} == {"reflections", "experiences"}
    (found,) = audits([whole]).values()
    calls = len((whole / "transcript.jsonl").read_text().splitlines())
    assert found["episodes"] == 20 and found["coherence"] is not None
    assert 20 * found["cost"]["calls"] == pytest.approx(calls, abs=10)  # less what came to nothing
    infos = [info for line in (whole / "demos.jsonl").read_text().splitlines()
             for info in json.loads(line)["infos"]]  # fmt: skip
    assert any(info["recalled"] for info in infos) and all("plan" in info for info in infos)


def test_killed_and_resumed_it_is_the_same(whole: Path, tmp_path: Path) -> None:
    settings, out = write_toml(tmp_path / "s.toml", TABLES), tmp_path / "run"
    call = [sys.executable, "-m", "minirec", "demos", "make", "--config", str(settings)]
    call += ["--out", str(out)]
    first = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    transcript = out / "transcript.jsonl"
    while first.poll() is None and not (transcript.is_file() and transcript.stat().st_size > 9e4):
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert transcript.read_bytes() != (whole / "transcript.jsonl").read_bytes()
    assert main(call[3:]) == 2  # without --resume an existing folder is refused
    assert main([*call[3:], "--resume"]) == 0
    assert contents(out) == contents(whole)
    assert (out / "audit.md").is_file() and (out / "audit.png").is_file()


def test_a_whole_run_keeps_what_was_remembered(tmp_path: Path) -> None:
    demos = TINY["demos"] | {"roles": "billp", "json": True}
    run(config_from(TINY | {"demos": demos}), tmp_path / "run", seeds=[0])
    rows = read_jsonl(tmp_path / "run/seed-0/memory.jsonl")
    assert {row["memory"] for row in rows} == {"reflections", "experiences"}
    told = read_jsonl(tmp_path / "run/seed-0/demos.jsonl")
    assert all(info["reply"].startswith("{") for episode in told for info in episode["infos"])


def test_audits_tell_folders_of_one_name_apart(whole: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / whole.name
    shutil.copytree(whole, other)
    found = audits([whole, other])
    assert list(found) == [whole.name, str(other / "demos.jsonl")]
    assert len({str(audit) for audit in found.values()}) == 1


def test_a_transcript_stands_in_for_its_model(whole: Path, tmp_path: Path) -> None:
    chat = f"transcript:{whole / 'transcript.jsonl'}"
    tables = TABLES | {"demos": TABLES["demos"] | {"chat": chat, "calls": 8}}
    again = make(config_from(tables), tmp_path / "again").parent
    assert (again / "demos.jsonl").read_bytes() == (whole / "demos.jsonl").read_bytes()
    assert not (again / "transcript.jsonl").exists()
    with pytest.raises(UserError, match="does not hold this request"):
        make(config_from(tables), tmp_path / "other", seed=1)


def test_ctrl_c_stops_at_once_and_loses_nothing(tmp_path: Path) -> None:
    settings, out = write_toml(tmp_path / "s.toml", TABLES), tmp_path / "run"
    with OllamaServer(["small"], replies=simulated()) as server:
        server.delay = 0.3
        call = [sys.executable, "-m", "minirec", "demos", "make", "--config", str(settings)]
        call += ["--out", str(out), "--chat", "ollama:small", "--hosts", server.url]
        first = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                 preexec_fn=listen)  # fmt: skip
        transcript = out / "transcript.jsonl"
        while first.poll() is None and not transcript.is_file():
            time.sleep(0.01)
        server.delay = 60
        time.sleep(0.5)  # by now all eight calls wait for the server
        first.send_signal(signal.SIGINT)
        _, words = first.communicate(timeout=10)
        assert first.returncode == 130 and b"with --resume goes on" in words
        assert len(Transcript(transcript)) > 0
        server.delay = 0
        kept = transcript.read_bytes()
        assert main([*call[3:], "--resume"]) == 0
        assert transcript.read_bytes().startswith(kept)
        (found,) = audits([out]).values()
        assert found["episodes"] == 20


def listen() -> None:
    """Undo what a shell does to whatever it starts in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--episodes", "5000"], "use --episodes 1600 or fewer"),
        (["--episodes", "0"], "--episodes is 0; use 1 or more"),
        (["--roles", "bilp"], "no roles 'bilp'"),
        (["--chat", "gpt"], "demos.chat is 'gpt'"),
        (["--chat", "transcript:nowhere.jsonl"], "no transcript nowhere.jsonl"),
        (["--chat", "ollama:small", "--hosts", "http://127.0.0.1:9"], "run `ollama serve`"),
    ],
)
def test_mistakes_are_named_and_leave_nothing(
    asked: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(["demos", "make", "--out", str(out), *asked]) == 2
    assert said in capsys.readouterr().err and not out.exists()


def test_importing_and_auditing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = os.environ.get("MINIREC_DATA")
    runs = Path(data or "") / "llm-demos/amazon/trajs_agent"
    if not data or not runs.is_dir():
        pytest.skip("needs BiLLP's trajectories in MINIREC_DATA/llm-demos")
    out = tmp_path / "gpt"
    assert main(["demos", "import", str(runs), "--out", str(out)]) == 0
    assert main(["demos", "import", str(runs), "--out", str(out)]) == 2
    assert main(["demos", "audit", str(out), "--out", str(tmp_path / "audit")]) == 0
    assert "titles not in the catalogue" in capsys.readouterr().out
    (found,) = json.loads((tmp_path / "audit/audit.json").read_text()).values()
    assert (found["episodes"], found["steps"]) == (160, 951)
    assert main(["demos", "audit", str(tmp_path / "nothing.jsonl")]) == 2


def test_importing_says_where_it_looked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs.json").write_text("{}")
    call = ["demos", "import", str(tmp_path / "runs.json"), "--out", str(tmp_path / "out")]
    assert main([*call, "--env", str(tmp_path / "elsewhere")]) == 2
    assert "elsewhere" in capsys.readouterr().err and not (tmp_path / "out").exists()
