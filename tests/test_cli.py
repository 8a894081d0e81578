"""The command line: what it prints, and what it says about every kind of bad input."""

from __future__ import annotations

import gzip
import json
import tomllib
from pathlib import Path

import pytest

from conftest import needs_bundled, write_toml
from minirec import cli
from minirec.config import Config

ITEMS = "item_id,title\n" + "".join(f"{i},Film {i}\n" for i in range(8))
LOG = "user_id,item_id,rating\n" + "".join(
    f"{user},{item},{1 + (user * item) % 5}\n" for user in range(8) for item in range(8)
)


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Expect exit code 2 and one line of complaint; return it."""
    code = cli.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert code == 2, printed
    assert printed.err.startswith("minirec: "), printed.err
    assert printed.err.endswith("\n")
    assert len(printed.err.splitlines()) == 1, printed.err
    assert not printed.out
    return printed.err.removeprefix("minirec: ").strip()


# Data


def data_folder(tmp_path: Path, items: str | bytes = ITEMS, log: str | bytes = LOG) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name, content in (("items", items), ("interactions", log)):
        raw = content if isinstance(content, bytes) else content.encode()
        (folder / f"{name}.csv").write_bytes(raw)
    return folder


BAD_DATA = {
    "a missing column": ({"log": "user_id,rating\n1,5\n"}, "interactions.csv: no column 'item_id'"),
    "a missing title": ({"items": "item_id,name\n1,a\n"}, "items.csv: no column 'title'"),
    "an id without an item": ({"log": LOG + "1,404,5\n"}, "404"),
    "an empty file": ({"log": ""}, "the file is empty"),
    "no rows": ({"log": "user_id,item_id,rating\n"}, "no rows"),
    "not a number": ({"log": LOG + "9,1,good\n"}, "good"),
    "an encoding": ({"items": ITEMS.encode() + b"9,Am\xe9lie\n"}, "not UTF-8"),
    "damaged quotes": ({"log": LOG + '9,1,"5\n'}, "not a table"),
    "nothing left": ({"log": "user_id,item_id,rating\n1,1,5\n2,2,3\n"}, "5"),
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data_is_named(tmp_path, capsys, kind):
    written, said = BAD_DATA[kind]
    folder, out = data_folder(tmp_path, **written), tmp_path / "run"
    assert said in fails(capsys, "run", "--data", folder, "--out", out)
    assert not out.exists()


def test_a_missing_folder_or_file_is_named(tmp_path, capsys):
    out = tmp_path / "run"
    missing = tmp_path / "missing"
    assert str(missing) in fails(capsys, "run", "--data", missing, "--out", out)
    folder = data_folder(tmp_path)
    (folder / "items.csv").unlink()
    assert "items.csv" in fails(capsys, "run", "--data", folder, "--out", out)
    (folder / "items.csv.gz").write_bytes(gzip.compress(ITEMS.encode())[:-9])
    assert "damaged" in fails(capsys, "run", "--data", folder, "--out", out)


# Settings and arguments


def test_bad_settings_are_named(tmp_path, capsys):
    file = tmp_path / "settings.toml"

    def said(text: str) -> str:
        file.write_text(text, encoding="utf-8")
        return fails(capsys, "run", "--config", file, "--out", tmp_path / "run")

    assert "settings file" in fails(capsys, "run", "--config", tmp_path / "no.toml")
    assert str(tmp_path) in fails(capsys, "run", "--config", tmp_path)
    assert "is not TOML" in said("[learner")
    assert "Did you mean 'steps'?" in said("[learner]\nstep = 5")
    assert "Did you mean 'learner'?" in said("[lerner]\nsteps = 5")
    assert "learner.steps is 'x'; it must be int" in said("[learner]\nsteps = 'x'")
    assert "use one of" in said("[rules]\npreset = 'forever'")
    assert "ollama:MODEL" in said("[demos]\nchat = 'gpt'")
    assert not (tmp_path / "run").exists()
    file.write_bytes(b"# caf\xe9")
    assert "is not TOML" in fails(capsys, "run", "--config", file)


def test_bad_arguments_are_named(tmp_path, capsys, finished, tiny):
    out = tmp_path / "run"
    assert "--seeds is 0" in fails(capsys, "run", "--seeds", 0, "--out", out)
    assert "--seed is -1" in fails(capsys, "run", "--seed", -1, "--out", out)
    assert not out.exists()
    assert "is a file" in fails(capsys, "run", "--out", tiny)
    assert str(tiny / "run") in fails(capsys, "run", "--out", tiny / "run")
    assert "--resume" in fails(capsys, "run", "--out", finished)
    assert "holds no run" in fails(capsys, "run", "--out", tiny.parent, "--resume")


def test_a_test_share_that_leaves_nobody_is_named(tmp_path, capsys):
    file = write_toml(tmp_path / "settings.toml", {"data": {"test_share": 1.0}})
    assert "test_share" in fails(capsys, "run", "--config", file, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Serving


def test_bad_histories_are_named(tmp_path, capsys, finished):
    title = json.loads((finished / "seed-0" / "titles.json").read_text())[0]

    def said(history: str, *more: object) -> str:
        return fails(capsys, "recommend", "--run", finished, "--history", history, *more)

    assert "no title like 'zzzz'" in said("zzzz")
    assert f"nearest are {title!r}" in said(f"{title[:4]}{title[-3:]}")
    assert "is 9.0; ratings go from 1 to 5" in said(f"{title} = 9")
    assert "k is 0; this catalogue" in said(title, "-k", 0)
    assert "k is 9999; this catalogue" in said(title, "-k", 9999)
    unfinished = "holds no trained policy"
    assert unfinished in fails(capsys, "recommend", "--run", tmp_path, "--history", title)
    assert "no such file" in fails(capsys, "compare", finished, tmp_path)


def test_recommend_prints_a_numbered_list_and_its_time(capsys, finished):
    titles = json.loads((finished / "seed-0" / "titles.json").read_text())
    history = f"{titles[0]}; {titles[1]} = 2"
    assert cli.main(["recommend", "--run", str(finished), "--history", history, "-k", "5"]) == 0
    *rows, last = capsys.readouterr().out.splitlines()
    assert [row.split(".")[0].strip() for row in rows] == list("12345")
    assert last.startswith("5 titles in ") and last.endswith(" ms")


# The other commands


def test_config_prints_toml_with_every_table(capsys):
    assert cli.main(["config"]) == 0
    assert list(tomllib.loads(capsys.readouterr().out)) == list(Config.__dataclass_fields__)


def test_compare_prints_both_runs(capsys, finished):
    assert cli.main(["compare", str(finished), str(finished)]) == 0
    assert "IL-Rec" in capsys.readouterr().out


@needs_bundled
def test_doctor_finds_nothing(capsys):
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(": ok")


def test_a_run_leaves_table_and_figures(finished):
    table = (finished / "results.md").read_text(encoding="utf-8")
    assert "IL-Rec" in table and "feasible oracle" in table
    figures = json.loads((finished / "figures.json").read_text(encoding="utf-8"))
    assert {"learning-curves", "shares", "length-reward"} == figures.keys()
    for name, texts in figures.items():
        assert texts["alt"] and texts["caption"]
        assert (finished / f"{name}.png").read_bytes().startswith(b"\x89PNG")
