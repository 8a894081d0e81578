"""Execute notebooks in place, leaving nothing in a file that changes from run to run.

    python tools/run_notebooks.py notebooks/*.ipynb

Time stamps, the kernel's version and widget state are left out and cell ids are kept, so that a
second run on the same machine writes the same bytes and a diff shows changed results only.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from minirec._io import write_text

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def run(path: Path) -> None:
    """Execute one notebook from its own folder and store its outputs."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        store_widget_state=False,
        coalesce_streams=True,  # where a flush falls is a matter of time
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells, start=1):
        cell.metadata.pop("execution", None)
        if notebook.nbformat_minor < 5:  # older files have no ids; theirs must not be random
            cell["id"] = f"cell-{number:03d}"
    notebook.nbformat_minor = 5
    write_text(path, nbformat.writes(notebook) + "\n")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        run(Path(name))
        print("ran", name)
