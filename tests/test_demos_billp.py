"""BiLLP's recorded runs: read to the last character, or refused; equal to the derived table."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirec._io import UserError
from minirec.demos.billp import K, read_billp
from minirec.world.trajectory import Trajectory, load_trajectories, save_trajectories
from test_data_real import folder

TITLES = ["Kite", "Rune [Remastered]", 'The "Quiet" Rose', "Kite & Co", "Kite"]
GENRES = {"Kite": "['Sport']", "Kite & Co": "['Sport', 'Design &amp; Art']"}
LOG = """The user's viewing history is ['Kite & Co', "Nobody's Game", 'Kite'], please recommend \
item for this user.
Thought 1: Likes kites.
Perhaps more [of them].
Action 1: recommend[Rune [Remastered]]
Observation 1: Episode continue, reward=4
Thought 2: Action 2: is next.
Action 2: recommend[Rune [2], Rune [3]]
Observation 2: [Rune [2], Rune [3]] can not be recommened, instead, recommend[The "Quiet" Rose]
Observation 2: Episode continue, reward=-0.25
"""
QUIT = """Thought 3:
Action 3: recommend[Kite]
Observation 3: Episode finished, User Stop, reward=-1000.00000"""
STOP = """Thought 3: Enough.
Action 3: Stop
Observation 3: Invalid Action. Valid Actions are recommend[item]."""


def write(where: Path, *logs: str, compressed: bool = False, name: str = "run") -> Path:
    """Write a run of one user a log as BiLLP does; return its path."""
    numbers = {title: item for item, title in enumerate(TITLES)}
    maps = {"id2item_dict": dict(enumerate(TITLES)), "item2id_dict": numbers}
    runs = {n: {"userid": 70 + n, "prompt": "", "traj": log} for n, log in enumerate(logs)}
    names = ("env/datamaps.json", "env/list_genre.json", f"trajs_agent/{name}.json")
    for place, value in zip(names, (maps, GENRES, runs), strict=True):
        path, data = where / place, json.dumps(value).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        if compressed:
            path, data = path.with_name(f"{path.name}.gz"), gzip.compress(data)
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_a_log_written_by_hand(tmp_path: Path, compressed: bool) -> None:
    path = write(tmp_path, LOG + QUIT, LOG + STOP, LOG.rstrip(), compressed=compressed)
    catalogue, (quits, stops, cut) = read_billp(path)
    assert catalogue.titles == tuple(TITLES) and catalogue.genres[3] == ("Sport", "Design & Art")
    assert [t.user for t in (quits, stops, cut)] == [70, 71, 72]
    ends = [(len(t), t.reason, t.terminal) for t in (quits, stops, cut)]
    assert ends == [(3, "quit", True), (2, "invalid", False), (2, "max_turn", False)]
    assert quits.acts.tolist() == [1, 2, 4] and quits.rews.tolist() == [4, -0.25, 0]
    assert quits.obs["items"].shape == (4, K)
    assert quits.obs["items"][0].tolist() == [5] * (K - 2) + [3, 4]
    assert quits.obs["items"][-1].tolist() == [5] * (K - 5) + [3, 4, 1, 2, 4]
    first, second, third = quits.infos
    assert first["thought"] == "Likes kites.\nPerhaps more [of them]."
    assert first["reply"] == "\n".join(LOG.splitlines()[1:4])
    assert second["thought"] == "Action 2: is next." and third["thought"] == ""
    found = [tuple(info.get(key) for key in ("title", "how", "literal", "score", "hidden"))
             for info in quits.infos]  # fmt: skip
    assert found == [
        ("Rune [Remastered]", "exact", True, None, None),
        ("Rune [2], Rune [3]", "vector", False, None, None),
        ("Kite", "exact", True, None, True),
    ]


def test_a_folder_is_read_file_after_file_and_stored_like_any_demonstration(tmp_path: Path) -> None:
    path = write(tmp_path, LOG + QUIT)
    path.with_name("another.json").write_bytes(path.read_bytes())
    _, played = read_billp(path.parent)
    _, elsewhere = read_billp(path, tmp_path / "env")
    save_trajectories(tmp_path / "demos.jsonl", played)
    for back in load_trajectories(tmp_path / "demos.jsonl"):
        assert np.array_equal(back.obs["items"], elsewhere[0].obs["items"])
        assert back.infos == elsewhere[0].infos
    assert len(played) == 2


@pytest.mark.parametrize(
    ("right", "wrong", "line"),
    [
        ("The user's viewing", "Viewing", 1),
        ("Action 1: recommend[", "Action 1: show[", 2),
        ("Thought 2", "Thought 3", 6),
        ("[Rune [2], Rune [3]] can", "[Rune] can", 6),
        ("instead, recommend[The", "instead, recommend[A", 6),
        ("recommend[Rune [Remastered]]", "recommend[Rune]", 2),
        ("reward=-0.25", "reward=low", 6),
        ("-1000.00000", "-1000.00000\nThought 4: More.", 13),
        ("-1000.00000", "-1000.00000\n" + STOP.replace("3:", "4:"), 13),
        ("Episode finished, User Stop, reward=-1000.00000", "Episode fin", 10),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, right: str, wrong: str, line: int) -> None:
    assert right in LOG + QUIT
    path = write(tmp_path, (LOG + QUIT).replace(right, wrong))
    with pytest.raises(UserError, match=rf"run\.json, user 70, line {line}: no "):
        read_billp(path)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, LOG)
    with pytest.raises(UserError, match=r"cannot read .*datamaps\.json"):
        read_billp(path, tmp_path)
    path.write_text("{")
    with pytest.raises(UserError, match=r"cannot read .*run\.json"):
        read_billp(path)
    with pytest.raises(UserError, match="no trajectories in"):
        read_billp(path.parent.parent)


def test_every_recorded_step_equals_the_derived_table() -> None:
    import pandas as pd

    root = folder("llm-demos")
    steps = pd.read_csv(root / "steps.csv.gz", keep_default_na=False, na_values={"reward": [""]})
    seen, ends = 0, Counter[str]()
    for (domain, split, run), rows in steps.groupby(["domain", "split", "run"]):
        (path,) = (root / domain / "trajs_agent").glob(f"*_{split}_*{run}.json.gz")
        catalogue, played = read_billp(path)
        ends.update(t.reason for t in played)
        found = [step for t in played for step in told(t)]
        columns = rows.user_id, rows.step, rows.llm_title, rows.grounded, rows.item_id, rows.done
        assert found == list(zip(*map(list, columns), strict=True))
        rewards = np.concatenate([t.rews for t in played])
        hidden = [info.get("hidden", False) for t in played for info in t.infos]
        assert np.array_equal(hidden, rows.reward.isna())
        np.testing.assert_allclose(rewards, rows.reward.fillna(0), atol=1e-4)
        shown = [catalogue.titles[item] for item in np.concatenate([t.acts for t in played])]
        assert shown == list(rows.item_title)
        seen += len(rows)
    assert seen == 10_388 and ends == {"quit": 997, "invalid": 3}


def told(played: Trajectory) -> list[tuple[Any, ...]]:
    """Return an episode's steps in the words of the table."""
    last = len(played) - 1 if played.terminal else len(played)
    return [
        (played.user, turn, info["title"], int(not info["literal"]), item, int(turn == last))
        for turn, (info, item) in enumerate(zip(played.infos, played.acts.tolist(), strict=True))
    ]
