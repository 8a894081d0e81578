"""Official files: what is read, what is refused, and that it quits as the official code says."""

from __future__ import annotations

import builtins
import dataclasses
import gzip
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minirec._io import UserError
from minirec.world.artefacts import load_official, official_catalogue, read_matrix
from minirec.world.batched import BatchedRecEnv
from minirec.world.env import RecEnv
from minirec.world.histories import Histories
from minirec.world.oracle import best_plans
from minirec.world.rules import RULES
from test_data_real import folder as real

TITLES = ["Ape", "Bee", "Cat", "Dog", "Eel", "Fox", "Gnu", "Hen"]
U, N = 6, len(TITLES)


@pytest.fixture
def official(tmp_path: Path) -> Path:
    """A folder as BiLLP's readers have it; its distances are not symmetric."""
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        rewards = rng.integers(1, 6, (U, N)) if split == "test" else rng.uniform(0, 5.3, (U, N))
        np.save(tmp_path / f"steam_{split}.npy", rewards)
        distances = rng.uniform(40, 140, (N, N)).round() * ~np.eye(N, dtype=bool)
        distances[1, 2] = 50  # not nearer than the threshold
        (tmp_path / f"{split}_distance_mat.pickle").write_bytes(pickle.dumps(distances))
    names = {str(i): title for i, title in enumerate(TITLES)}
    maps = {"id2item_dict": names, "item2id_dict": {title: int(i) for i, title in names.items()}}
    (tmp_path / "datamaps.json").write_text(json.dumps(maps), "utf-8")
    genres = {"Ape": "['Action', 'Indie', 'Action']", "Bee": "['RPG']", "Yak": "['RPG']"}
    (tmp_path / "list_genre.json").write_text(json.dumps(genres), "utf-8")
    return tmp_path


def test_all_files_are_read(official):
    source, catalogue = load_official(official)
    assert catalogue.item_ids == tuple(map(str, range(N))) and catalogue.titles == tuple(TITLES)
    assert catalogue.genres[:3] == (("Action", "Indie"), ("RPG",), ())
    assert isinstance(source.matrix, np.memmap)
    assert (source.n_users, source.n_items) == (U, N)
    assert source.item_vectors().shape == (N, 3)
    train, _ = load_official(official, "train")
    assert not np.array_equal(source.matrix, train.matrix)
    assert not np.array_equal(source.distances, train.distances)
    (official / "list_genre.json").unlink()
    source, catalogue = load_official(official)
    assert catalogue.genres == ((),) * N and source.item_vectors().shape == (N, 0)


def as_published(
    rewards: np.ndarray, apart: np.ndarray, limit: float, acts: list[int]
) -> tuple[list[float], str | None]:
    """Write the official rules down once more: rewards paid, and why it ended."""
    paid: list[float] = []
    for turn, act in enumerate(acts):
        paid.append(float(rewards[act]))
        if rewards[act] < 2:
            return paid, "low_reward"
        if any(apart[act, acts[turn - back]] < limit for back in range(1, 5) if back <= turn):
            return paid, "distance"
        if turn + 1 >= 100:
            return paid, "max_turn"
    return paid, None


@pytest.mark.parametrize("split", ["train", "test"])
def test_it_quits_as_the_official_environment(official, split):
    source, _ = load_official(official, split)
    rules, nothing = dataclasses.replace(RULES["ilrec"], min_distance=50), Histories.empty(U, N)
    rng, reasons = np.random.default_rng(1), set()
    single = RecEnv(source, rules, nothing, history="none")
    batched = BatchedRecEnv(source, rules, nothing, history="none")
    for user in np.arange(300) % U:
        liked = np.flatnonzero(source.matrix[user] >= 2)
        acts = rng.choice(liked if rng.random() < 0.7 else N, size=100).tolist()
        paid, reason = as_published(source.matrix[user], source.distances, 50, acts)
        single.reset(options={"user": user})
        steps = [single.step(act) for act in acts[: len(paid)]]
        assert [reward for _, reward, *_ in steps] == pytest.approx(paid)
        assert [info.get("reason") for *_, info in steps] == [None] * (len(paid) - 1) + [reason]
        batched.reset(np.array([user]))
        total = sum(float(batched.step(np.array([act]))[1][0]) for act in acts)
        assert total == pytest.approx(sum(paid)) and batched.reasons[0] == reason
        reasons.add(reason)
    assert reasons == {"low_reward", "distance"}
    for user, plan in enumerate(best_plans(source, rules, nothing, np.arange(U))):
        acts = plan[plan >= 0].tolist()
        assert len(as_published(source.matrix[user], source.distances, 50, acts)[0]) == len(acts)


def test_the_threshold_itself_is_far_enough_and_a_full_episode_is_cut(official):
    np.save(official / "steam_test.npy", np.full((U, N), 2))
    apart = np.full((N, N), 50.0) * ~np.eye(N, dtype=bool)
    (official / "test_distance_mat.pickle").write_bytes(pickle.dumps(apart))
    source, _ = load_official(official)
    rules = dataclasses.replace(RULES["ilrec"], min_distance=50)
    env = RecEnv(source, rules, Histories.empty(U, N), history="none")
    env.reset(options={"user": 0})
    infos = [env.step(turn % 5)[-1] for turn in range(100)]
    assert [info.get("reason") for info in infos] == [None] * 99 + ["max_turn"]
    env.reset(options={"user": 0})
    assert [env.step(item)[-1].get("reason") for item in (0, 1, 2, 1)] == [None] * 3 + ["distance"]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("steam_test.npy", None, r"0 files \*_test.npy in .*README of github"),
        ("test_distance_mat.pickle", None, r"0 files \*test_distance_mat.pickle"),
        ("datamaps.json", None, "0 files datamaps.json"),
        ("other_test.npy", np.ones((U, N)), r"2 files \*_test.npy"),
        ("steam_test.npy", np.ones((U, N + 1)), rf"shape \({U}, {N + 1}\) but .* {N} items"),
        ("steam_test.npy", np.full((U, N), np.nan), "user 0 has a reward .* not finite"),
        ("steam_test.npy", np.full((U, N), None), "no matrix of numbers .*objects"),
        ("test_distance_mat.pickle", np.ones((N, 2)), rf"\({U}, {N}\) but .* \({N}, 2\)"),
        ("datamaps.json", {"id2item_dict": {"1": "Ape"}}, "not as it was .*'0'"),
        ("datamaps.json", {}, "id2item_dict"),
        ("list_genre.json", {"Ape": "['Action'"}, "list_genre.json is not as it was"),
        ("list_genre.json", {"Ape": "__import__('os')"}, "list_genre.json is not as it was"),
    ],
)
def test_what_does_not_fit_is_told(official, file, content, words):
    path = official / file
    if content is None:
        path.unlink()
    elif path.suffix == ".npy":
        np.save(path, content)
    elif path.suffix == ".json":
        path.write_text(json.dumps(content), "utf-8")
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=words):
        load_official(official)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["<f4", "<f8", ">f8", "<i8", "u1", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_all_protocols_are_read(tmp_path, protocol, kind, order):
    matrix = np.array([[0, 1.5, 130], [7, 0, 255]]).astype(kind, order=order)
    path = tmp_path / "x.pickle"
    for stored in (matrix, list(matrix), dict(enumerate(matrix))):
        path.write_bytes(pickle.dumps(stored, protocol))
        found = read_matrix(path)
        assert found.dtype.newbyteorder("=") == matrix.dtype.newbyteorder("=")
        assert np.array_equal(found, matrix)
    path.write_bytes(pickle.dumps(matrix.tolist(), protocol))
    assert np.array_equal(read_matrix(path), matrix)


def test_files_of_an_older_numpy_are_read(tmp_path):
    stored = pickle.dumps(np.eye(3), 2)
    for module in (b"numpy._core", b"numpy.core"):
        path = tmp_path / "x.pickle"
        path.write_bytes(stored.replace(b"numpy._core", module).replace(b"numpy.core", module))
        assert np.array_equal(read_matrix(path), np.eye(3))


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def named(module: str, name: str) -> bytes:
    """A pickle, protocol 4, that calls this with the text "touched"."""
    words = [b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name, "touched")]
    return b"\x80\x04" + words[0] + words[1] + b"\x93" + words[2] + b"\x85R."


EVIL = "__import__('pathlib').Path('touched').touch()"
ATTACKS: dict[str, tuple[bytes, str]] = {
    "system": (pickle.dumps(Calls(os.system, "touch touched")), rf"{os.name}.system"),
    "eval": (pickle.dumps(Calls(eval, EVIL)), "builtins.eval"),
    "getattr": (pickle.dumps(Calls(getattr, Calls(getattr, np.ndarray, "dump"), "x")), "getattr"),
    "in a list": (pickle.dumps([[0.0, Calls(open, "touched", "w")]]), "asks for .*open"),
    "old": (b"cos\nsystem\n(S'touch touched'\ntR.", "os.system"),
    "inst": (b"(S'touch touched'\nios\nsystem\n.", "os.system"),
    "a chain of names": (named("numpy", "ndarray.__class__"), r"ndarray.__class__"),
    "through numpy": (named("numpy", "ma.core.os.system"), "ma.core.os.system"),
    "a loader": (named("numpy", "load"), "numpy.load"),
    "a codec": (named("_codecs", "lookup"), "_codecs.lookup"),
    "an import": (named("builtins", "__import__"), "builtins.__import__"),
    "any constructor": (named("copyreg", "_reconstructor"), "copyreg._reconstructor"),
    "our own names": (named("minirec.world.artefacts", "_Part"), "asks for minirec"),
    "state of a class": (b"cnumpy\nndarray\n}S'__array__'\nS'x'\nsb.", "no pickled matrix"),
    "slots of a class": (b"cnumpy\nndarray\nN}S'__array__'\nS'x'\ns\x86b.", "no pickled matrix"),
    "new": (b"\x80\x02cnumpy\nndarray\n)\x81.", "no pickled matrix"),
    "objects": (pickle.dumps(np.array([[1, "x"]], object)), "OBJECT|no pickled matrix"),
    "objects, old": (pickle.dumps(np.array([[1, None]], object), 2), "no pickled matrix"),
    "texts": (pickle.dumps(np.array([["a"]])), "no pickled matrix of numbers: it holds <U1"),
    "records": (pickle.dumps(np.zeros((2, 2), "f4,f4")), "no pickled matrix"),
    "a vector": (pickle.dumps(np.zeros(3)), r"shape \(3,\)"),
    "rows that differ": (pickle.dumps([[1.0], [1.0, 2.0]]), "no pickled matrix"),
    "no item 0": (pickle.dumps({1: [1.0]}), "no pickled matrix"),
    "cut off": (pickle.dumps(np.zeros((9, 9)))[:-20], "no pickled matrix"),
    "too short": (pickle.dumps(np.zeros((9, 9))).replace(b"K\tK\t", b"K\tK\x0a"), "reshape"),
    "nothing": (b"", "no pickled matrix"),
    "text": (b"not a pickle", "no pickled matrix"),
}


@pytest.mark.parametrize("name", list(ATTACKS))
def test_anything_else_is_refused_and_nothing_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stored, words = ATTACKS[name]
    before = builtins.__dict__.copy()
    path = tmp_path / "distance_mat.pickle"
    path.write_bytes(stored)
    with pytest.raises(UserError, match=words) as error:
        read_matrix(path)
    assert str(path) in str(error.value)
    assert not Path("touched").exists() and builtins.__dict__ == before
    path.write_bytes(pickle.dumps(np.eye(2)))  # and nothing of ours was changed
    assert np.array_equal(read_matrix(path), np.eye(2))


def test_the_attacks_would_do_harm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("system", "eval", "old", "inst"):
        pickle.loads(ATTACKS[name][0])
        assert Path("touched").exists()
        Path("touched").unlink()


@pytest.mark.parametrize(("domain", "sizes"), [("steam", (6012, 21)), ("amazon", (13864, 290))])
def test_the_published_items_are_read(domain, sizes, tmp_path):
    stored = real("llm-demos") / domain / "env"
    for name in ("datamaps.json", "list_genre.json"):
        (tmp_path / name).write_bytes(gzip.decompress((stored / f"{name}.gz").read_bytes()))
    catalogue = official_catalogue(tmp_path)
    assert (catalogue.n_items, len(catalogue.genre_names)) == sizes
