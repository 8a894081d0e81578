"""Every command behind a number of the book still runs, in its tiny form."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


NAMES = (
    "small-world", "second-world", "stronger-demonstrator", "more-fits", "more-fits-in-practice",
    "without-irl",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_main_results(name, tmp_path):
    call = [sys.executable, ROOT / "benchmarks/main_results.py", name, "--tiny", "--out", tmp_path]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / f"{name}.json").read_text())
    stored = ROOT / "book/_results" / f"{name}.json"
    assert results["seeds"] == [0, 1] and results["commit"]
    if stored.exists():
        book = json.loads(stored.read_text())
        assert [m["name"] for m in book["methods"]] == [m["name"] for m in results["methods"]]
        assert book["data"]["sha256"] == results["data"]["sha256"]
