from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import minirec
from minirec import cli
from minirec.runs import TINY

torch.set_num_threads(1)  # as the command line does: numbers agree to the last bit

BUNDLED = Path(minirec.__file__).parent / "_bundled" / "seed-0" / "serve-minirec.pt"
needs_bundled = pytest.mark.skipif(not BUNDLED.is_file(), reason="no bundled run in this checkout")


def write_toml(path: Path, tables: dict[str, dict[str, Any]]) -> Path:
    """JSON's numbers, texts and lists are TOML's too."""
    lines = [
        "\n".join([f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())])
        for name, table in tables.items()
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings under which a run takes seconds."""
    return write_toml(tmp_path_factory.mktemp("settings") / "tiny.toml", TINY)


@pytest.fixture(scope="session")
def finished(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run that was never stopped. Look, do not write."""
    out = tmp_path_factory.mktemp("runs") / "finished"
    assert cli.main(["run", "--config", str(tiny), "--out", str(out)]) == 0
    return out
