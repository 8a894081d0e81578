"""What nbval does not look at: notebooks are stored executed, whole, clean and described."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
EXEMPT_TAGS = {"nbval-ignore-output", "nbval-skip"}
EXEMPT_COMMENT = re.compile(r"^\s*# *NBVAL_(IGNORE_OUTPUT|SKIP)", re.MULTILINE)
MARKDOWN_IMAGE = re.compile(r"!\[([^\]]*)\]\(")
MIN_ALT = 60

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[Any]:
    """Return the code cells that hold code."""
    cells = nbformat.read(path, as_version=4).cells
    return [cell for cell in cells if cell.cell_type == "code" and cell.source.strip()]


def is_exempt(cell: Any) -> bool:
    """Tell whether nbval leaves this cell's output uncompared."""
    tags = {tag.lower() for tag in cell.metadata.get("tags", [])}
    return bool(tags & EXEMPT_TAGS or EXEMPT_COMMENT.search(cell.source))


def images(cell: Any) -> int:
    """Count the pictures among a cell's outputs."""
    return sum(any(m.startswith("image/") for m in out.get("data", {})) for out in cell.outputs)


def test_there_is_a_tour() -> None:
    assert "00-tour" in {path.stem for path in NOTEBOOKS}


@each_notebook
def test_stored_in_order_and_without_errors(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        assert "execution" not in cell.metadata, "time stamps change at every run"
        assert not cell.source.rstrip().endswith(";"), "nbval does not honour a last semicolon"
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr"


@each_notebook
def test_small_enough(path: Path) -> None:
    assert path.stat().st_size < 500_000


@each_notebook
def test_most_outputs_are_compared(path: Path) -> None:
    cells = [cell for cell in code_cells(path) if cell.outputs]
    assert 3 * sum(map(is_exempt, cells)) <= len(cells)


@each_notebook
def test_every_picture_says_what_it_shows(path: Path) -> None:
    for cell in code_cells(path):
        if count := images(cell):
            assert count == 1, "the alt text belongs to a cell, so draw one figure a cell"
            alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(alt) >= MIN_ALT, f"alt text of cell {cell.execution_count}: {alt!r}"
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            assert all(len(alt) >= MIN_ALT for alt in MARKDOWN_IMAGE.findall(cell.source))


@pytest.mark.parametrize("stored", ["42\n", "43\n"])
def test_nbval_catches_a_changed_output(tmp_path: Path, stored: str) -> None:
    output = nbformat.v4.new_output("stream", name="stdout", text=stored)
    cell = nbformat.v4.new_code_cell("print(41 + 1)", execution_count=1, outputs=[output])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "planted.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "planted.ipynb"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == (0 if stored == "42\n" else 1), run.stdout
    assert ("Cell outputs differ" in run.stdout) == (stored != "42\n")
