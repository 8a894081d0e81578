"""Put the results table of book/_results/small-world.json into the README."""

import json
from pathlib import Path

from minirec.evidence.tables import results_table

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->\n"


def with_results(readme: str) -> str:
    """Return the README's text with the table as it should be."""
    stored = json.loads((ROOT / "book/_results/small-world.json").read_text(encoding="utf-8"))
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{results_table(stored).markdown()}\n{END}{after}"


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(with_results(path.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")
