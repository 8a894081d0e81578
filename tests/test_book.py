"""The book: builds without a warning, asks no other host, has no dead link, and tells the truth."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
LOADING = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("embed", "src")}
LOADING |= {("source", "src"), ("video", "src"), ("audio", "src"), ("object", "data")}
OUTSIDE = re.compile(r"^\s*([a-z]+:)?//", re.IGNORECASE)
CSS_LOAD = re.compile(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)")


class Page(HTMLParser):
    """What one page loads, links to, shows and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.alts: list[str | None] = []
        self.anchors: set[str] = {""}
        self.inline = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self._inside = tag
        self.loads += [values[name] for t, name in LOADING if t == tag and name in values]
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "img":
            self.alts.append(values.get("alt"))

    def handle_data(self, data: str) -> None:
        if self._inside in {"script", "style"}:
            self.inline += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the book as `make book` does, into a folder of its own."""
    out = tmp_path_factory.mktemp("book")
    builder = Path(sys.executable).with_name("jupyter-book")
    command = [builder, "build", ".", "-W", "--keep-going", "-n", "-q", "--path-output", out]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    return out / "_build" / "html"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Parse every page of the built book."""
    found = (path for path in site.rglob("*.html") if "_static" not in path.parts)
    return {path: Page(path.read_text(encoding="utf-8")) for path in found}


def test_the_pages_are_all_there(site: Path, pages: dict[Path, Page]) -> None:
    assert site / "index.html" in pages
    listed = re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
    assert {site / f"{name}.html" for name in listed} <= set(pages)


def test_pages_load_nothing_from_elsewhere(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert [url for url in page.loads if OUTSIDE.match(url)] == [], path.name
        assert re.findall(r"https?://\S+", page.inline) == [], path.name


def test_styles_load_nothing_from_elsewhere(site: Path) -> None:
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        for url in (first or second for first, second in CSS_LOAD.findall(text)):
            assert not OUTSIDE.match(url), f"{sheet.name} loads {url}"


def test_every_image_has_words(pages: dict[Path, Page]) -> None:
    assert [path.name for path, page in pages.items() if not all(page.alts)] == []


def test_no_link_inside_the_book_is_dead(site: Path, pages: dict[Path, Page]) -> None:
    dead = []
    for path, page in pages.items():
        for link in page.links + page.loads:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            fragment = unquote(url.fragment)
            if not target.exists() or (target in pages and fragment not in pages[target].anchors):
                dead.append(f"{path.relative_to(site)} -> {link}")
    assert dead == []


@pytest.mark.parametrize(
    "html",
    [
        "<script src='https://x.org/a.js'></script>",
        "<link href='//x.org/a.css'>",
        "<img src='HTTP://x.org/a'>",
    ],
)
def test_a_planted_outside_resource_is_caught(html: str) -> None:
    assert [bool(OUTSIDE.match(url)) for url in Page(html).loads] == [True]


def test_every_module_is_in_the_api_reference() -> None:
    page = (ROOT / "book/api.md").read_text(encoding="utf-8")
    listed = re.findall(r"automodule:: (\S+)", page)
    files = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "minirec").rglob("*.py"))
    modules = {".".join(path.parts) for path in files if path.stem not in ("__init__", "__main__")}
    assert sorted(listed) == sorted(modules)


def named_equations(code: str) -> set[str]:
    """Return the numbers of the equations that comments such as ``# eq. (1.5)`` name."""
    return set(re.findall(r"\((\d+\.\d+)\)", " ".join(re.findall(r"# eqs?\. .*", code))))


def test_code_names_equations_of_its_own_page(site: Path) -> None:
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        page = (site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        shown = set(re.findall(r'class="eqno">\((\d+\.\d+)\)', page))
        cells = nbformat.read(path, as_version=4).cells
        code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        assert named_equations(code) <= shown, path.name


def test_a_planted_equation_is_found() -> None:
    assert named_equations("x = 1  # eqs. (1.1) and (9.10)\ny = 2  # (8.1)") == {"1.1", "9.10"}


def texts(source: str) -> str:
    """Return the string constants of a module, a line each."""
    found = (n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant))
    return "\n".join(value for value in found if isinstance(value, str))


def unknown(page: str, known: str) -> list[str]:
    """Return the messages that a page quotes and no module says; ``...`` may be anything."""
    page = re.sub(r"\s*\n(?!\n|\|)", " ", page)
    heads = re.findall(r"\*\*(`[^*]+)\*\*|\n\|([^|]+)\|", page)
    quoted = re.findall(r"`([^`]+)`", " ".join(map("".join, heads)))
    parts = [(message, part.strip()) for message in quoted for part in message.split("...")]
    return [message for message, part in parts if part not in known]


def test_quoted_messages_are_real() -> None:
    known = "\n".join(texts(path.read_text("utf-8")) for path in (ROOT / "minirec").rglob("*.py"))
    page = (ROOT / "book/troubleshooting.md").read_text(encoding="utf-8")
    sections = dict(part.split("\n", 1) for part in page.split("\n## ")[1:])
    for name in ("Running", "Recommending", "Data", "A live language model"):
        assert unknown(sections[name], known) == []


def test_a_planted_message_is_caught() -> None:
    assert unknown("**`no such\nfolder: ...`.** x", "no such folder: ") == []
    assert unknown("| `no such dish: ...` | y |", "no such folder: ") == []
    assert unknown("| a |\n| `no dish: ...` | y |", "no such folder: ") == ["no dish: ..."]
