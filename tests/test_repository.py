"""The house rules that a machine can check: imports, sizes, docstrings, README, lock file."""

from __future__ import annotations

import ast
import io
import re
import runpy
import shlex
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "minirec"
MODULES = sorted(PACKAGE.rglob("*.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")

ROOMS = {"_io", "data", "world", "demos", "irl", "rl", "evidence"}
MAY_IMPORT = {
    "_io": set(),
    "data": {"_io"},
    "world": {"_io", "data"},
    "demos": {"_io", "data", "world"},
    "irl": {"_io", "data", "world"},
    "rl": {"_io", "data", "world", "irl"},
    "evidence": ROOMS,
}
SKIPPED_TOKENS = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def name_of(path: Path) -> str:
    """Return a module's short name: ``world.env`` for ``minirec/world/env.py``."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports(source: str, module: str) -> Iterator[str]:
    """Yield the full name of everything imported anywhere in ``source``."""
    package = f"minirec.{module}".split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join(base + ([node.module] if node.module else []))
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def forbidden(source: str, module: str) -> list[str]:
    """Return the imports that the rooms' rule does not allow to ``module``."""
    room = module.split(".")[0]
    allowed = MAY_IMPORT.get(room)
    wrong = []
    for name in imports(source, module):
        top, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if top == "minirec" and allowed is not None and target not in allowed | {room}:
            wrong.append(name)
        if top in {"matplotlib", "seaborn"} and module != "evidence.plots":
            wrong.append(name)
    return wrong


def code_lines(source: str) -> int:
    """Count the lines that hold code: no blank line, comment or docstring."""
    rows = {
        row
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in SKIPPED_TOKENS
        for row in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(source)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node):
            rows -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    return len(rows)


def incomplete(source: str) -> Iterator[str]:
    """Yield each public name of a module that lacks its docstring or an annotation."""

    def visit(nodes: list[ast.stmt], prefix: str) -> Iterator[str]:
        for node in nodes:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            name = prefix + node.name
            if node.name.startswith("_") and node.name != "__init__":
                continue
            if node.name != "__init__" and not ast.get_docstring(node):
                yield f"{name}: no docstring"
            if isinstance(node, ast.ClassDef):
                yield from visit(node.body, f"{name}.")
                continue
            spec = node.args
            given = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, spec.vararg, spec.kwarg]
            bare = [a.arg for a in given if a and not a.annotation and a.arg not in {"self", "cls"}]
            if bare or node.returns is None:
                yield f"{name}: annotate {bare or 'the result'}"

    tree = ast.parse(source)
    if not ast.get_docstring(tree):
        yield "the module: no docstring"
    yield from visit(tree.body, "")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_rooms_import_one_way(path: Path) -> None:
    assert forbidden(path.read_text(encoding="utf-8"), name_of(path)) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("irl.rewards", "def f():\n    from minirec.demos.chat import ChatModel"),
        ("rl.a2c", "from ..demos import actor"),
        ("data.folder", "import minirec.world.env"),
        ("world.env", "from minirec import Recommender"),
        ("evidence.tables", "from minirec.cli import main"),
        ("pipeline", "import matplotlib.pyplot as plt"),
    ],
)
def test_a_planted_import_is_caught(module: str, source: str) -> None:
    assert len(forbidden(source, module)) == 1


def test_allowed_imports_pass() -> None:
    source = "from minirec._io import generator\nfrom . import rules\nfrom .env import RecEnv"
    assert forbidden(source, "world.batched") == []
    assert forbidden("from minirec.demos import actor", "pipeline") == []


def test_the_package_is_compact() -> None:
    sources = {name_of(path): path.read_text(encoding="utf-8") for path in MODULES}
    long = {name: n for name, text in sources.items() if (n := len(text.splitlines())) > 350}
    assert not long, "a module of more than 350 lines has two jobs"
    assert sum(map(code_lines, sources.values())) <= 7170


def test_code_lines_leave_out_what_is_not_code() -> None:
    docstring = '"""Two\n    lines."""'
    code = 'x = """two\nlines"""\n\n# comment\ndef f():\n    {}\n    return (\n        x)  # two\n'
    assert code_lines(docstring + "\n" + code.format(docstring)) == 5


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_names_are_documented_and_annotated(path: Path) -> None:
    assert list(incomplete(path.read_text(encoding="utf-8"))) == []


def test_a_planted_gap_is_caught() -> None:
    source = "'M.'\nclass C:\n  'C.'\n  def f(self, x) -> None: 'F.'\n  def g(self) -> int: ...\n"
    assert list(incomplete(source)) == ["C.f: annotate ['x']", "C.g: no docstring"]


def test_import_is_quick_and_leaves_torch_alone() -> None:
    code = (
        "import sys, time; start = time.perf_counter(); import minirec;"
        "print(time.perf_counter() - start, 'torch' in sys.modules)"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    seconds, torch = zip(*(run.stdout.split() for run in runs), strict=True)
    assert set(torch) == {"False"}
    assert min(map(float, seconds)) < 0.3


def test_readme_commands_parse() -> None:
    from minirec.cli import build_parser

    lines = re.findall(r"^ *minirec .*$", README, re.MULTILINE)
    commands = [shlex.split(line, comments=True)[1:] for line in lines]
    for command in commands:
        build_parser().parse_args(command)  # raises SystemExit if README is out of date
    assert {c[0] for c in commands} == {
        "run", "recommend", "export", "data", "demos", "config", "compare", "doctor"
    }  # fmt: skip


def test_readme_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", README, re.MULTILINE))
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    assert {"book", "test", "run", "notebooks", "lab", "peers"} <= named <= targets


def test_lock_file_holds_hashes_and_no_torch() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z0-9])", text)[1:]
    locked = {entry.split("==")[0] for entry in entries}
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not [name for name in locked if re.match(r"torch|triton|nvidia", name)]
    assert not re.search(r"://|file:|--(extra-)?index|--find-links", text)
    wanted = (ROOT / "requirements.in").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*wanted.splitlines(), *project["dependencies"]]
    names = {m[0].lower() for line in lines if (m := re.match(r"[A-Za-z][\w-]*", line))}
    assert names - {"torch"} <= locked


def test_pages_show_the_stored_results() -> None:
    tool = runpy.run_path(str(ROOT / "tools/stored_results.py"))
    for path in tool["PAGES"]:
        page = path.read_text(encoding="utf-8")
        assert tool["BLOCK"].search(page)
        assert tool["filled"](page) == page, "run tools/stored_results.py"


def test_the_bundled_results_are_those_of_the_book() -> None:
    bundled = ROOT / "minirec/_bundled/results.json"
    assert bundled.read_bytes() == (ROOT / "book/_results/small-world.json").read_bytes()
