"""The built wheel works by itself, in an environment that holds only it and its dependencies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = "Scripts" if os.name == "nt" else "bin"


def call(*command: str | Path, cwd: Path) -> str:
    """Run a command outside the repository and return what it printed."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.skipif(not (ROOT / "minirec/cli.py").exists(), reason="there is no command yet")
def test_wheel_passes_doctor(tmp_path: Path) -> None:
    source = tmp_path / "source"
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "minirec", source / "minirec", ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet"]
    flags = ["--no-deps", "--no-build-isolation"]
    call(*pip, "wheel", *flags, "-w", tmp_path, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("minirec-*.whl")

    # The dependencies are lent by a .pth file, which does not pass on the editable install.
    empty = tmp_path / "venv"
    venv.create(empty, with_pip=False)
    python = empty / BIN / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(call(python, "-c", ask, cwd=tmp_path).strip())
    (site / "lent.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    call(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=tmp_path)

    home = call(python, "-c", "import minirec; print(minirec.__file__)", cwd=tmp_path)
    assert Path(home.strip()).is_relative_to(site)
    files = {p.relative_to(ROOT) for p in (ROOT / "minirec").rglob("*") if p.is_file()}
    files = {p for p in files if "__pycache__" not in p.parts}
    assert all((site / p).exists() for p in files), "the wheel leaves files out"
    call(empty / BIN / "minirec", "doctor", cwd=tmp_path)
