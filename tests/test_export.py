"""The forward pass in NumPy beside torch's, and the two files that it is kept in."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import BUNDLED, needs_bundled
from minirec import cli
from minirec._io import UserError, generator, torch_generator
from minirec.export import ABOUT, ARRAYS, export, freeze, load_export, load_run
from minirec.forward import Weights, best, chances
from minirec.rl.policy import RecPolicy, build_policy
from minirec.rl.trackers import AverageTracker
from minirec.serve import Recommender

NAMES = [f"Title {number}" for number in range(40)]


def made_up(seed: int = 0, n_items: int = 40, f: int = 5, dim: int = 7, hidden: int = 9, **how):
    """Return a policy none of whose weights is zero."""
    noise = torch_generator(seed, "weights")
    features = torch.randn(n_items, f, generator=noise)
    if how.pop("prior", False):
        how["prior"] = 3 + torch.randn(n_items, generator=noise)
    policy = build_policy(features, seed, dim=dim, hidden=hidden, **how)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=noise)
    return policy.eval()


def histories(seed: int, n_items: int, users: int = 6, length: int = 8):
    """Return items with padding anywhere, and ratings."""
    rng = generator(seed, "histories")
    items = rng.integers(n_items, size=(users, length))
    items[rng.random(items.shape) < rng.random((users, 1))] = n_items
    return items, rng.uniform(1, 5, items.shape).astype(np.float32)


@torch.no_grad()
def by_torch(policy: RecPolicy, items, ratings, mask=None):
    table = policy.table()
    state = policy.start(table, torch.from_numpy(items), torch.from_numpy(ratings))
    if mask is None:
        mask = np.ones((len(items), policy.n_items), bool)
    return policy.act(table, state, torch.from_numpy(mask))[0].numpy()


# The forward pass


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [(40, 5, 7, 9), (300, 16, 32, 64), (3, 1, 1, 1)])
@pytest.mark.parametrize("how", [{}, {"prior": True}, {"foresight": False}], ids=str)
def test_logits_are_those_of_torch(seed, sizes, how):
    policy = made_up(seed, *sizes, **how)
    frozen, (items, ratings) = freeze(policy), histories(seed, policy.n_items)
    state = frozen.read(frozen.start(len(items)), items, ratings)
    expected = by_torch(policy, items, ratings)
    assert expected.std() > (0.5 if policy.foresight else 0.001)
    np.testing.assert_allclose(frozen.logits(state), expected, atol=1e-4)
    assert all(array.dtype == np.float32 for array in (*state, frozen.logits(state)))


def test_lists_and_probabilities_are_those_of_torch_with_a_mask():
    policy = made_up()
    items, ratings = histories(1, 40)
    mask = np.ones((len(items), 41), bool)
    np.put_along_axis(mask, items, False, 1)
    mask[:, [3, 5]] = False
    rows = [row < 40 for row in items]
    given_ = [[list(row[known]) for row, known in zip(x, rows, strict=True)]
              for x in (items, ratings)]  # fmt: skip
    found, probabilities = Recommender(policy, NAMES).recommend_items(*given_, 9, exclude=[3, 5])
    expected = torch.from_numpy(by_torch(policy, items, ratings, mask[:, :40])).softmax(1).topk(9)
    np.testing.assert_array_equal(found, expected.indices.numpy())
    np.testing.assert_allclose(probabilities, expected.values.numpy(), rtol=1e-4)


def test_a_state_can_be_carried_on_and_padding_leaves_it():
    frozen, (items, ratings) = freeze(made_up()), histories(2, 40)
    once = frozen.read(frozen.start(len(items)), items, ratings)
    state = frozen.start(len(items))
    for k in range(items.shape[1]):
        state = frozen.read(state, items[:, k : k + 1], ratings[:, k : k + 1])
    same = frozen.read(state, np.full((len(items), 2), 40), ratings[:, :2])
    for a, b, c in zip(once, state, same, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        np.testing.assert_array_equal(b, c)


def test_what_cannot_be_frozen_is_refused():
    policy = made_up()
    policy.tracker = AverageTracker(5, 9)
    with pytest.raises(UserError, match="has a AverageTracker; only a GRUTracker"):
        freeze(policy)
    policy = made_up()
    with torch.no_grad():
        policy.quality.bias.fill_(float("nan"))
    with pytest.raises(UserError, match="bias holds numbers that are not finite"):
        freeze(policy)


# The best, and the probabilities


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 700), st.data())
def test_the_best_are_those_of_a_full_stable_sort(seed, rows, n_items, data):
    k = data.draw(st.integers(1, n_items))
    rng = np.random.default_rng(seed)
    keys = rng.standard_normal((rows, n_items), np.float32)
    if seed % 2:
        keys = keys.round(1)  # ties
    keys[rng.random(keys.shape) < 0.3] = -np.inf
    expected = np.argsort(-keys, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(best(keys, k), expected)


def test_chances_are_a_softmax():
    logits = np.array([[1000, 999, -np.inf, 0], [0, 0, 0, 0]], np.float32)
    items = np.tile(np.arange(4), (2, 1))
    expected = torch.from_numpy(logits).softmax(1).numpy()
    np.testing.assert_allclose(chances(logits.copy(), items), expected, rtol=1e-6)


# The files


def test_an_export_is_what_was_exported(tmp_path):
    policy = made_up()
    folder = export(policy, NAMES, tmp_path / "a")
    frozen, titles = load_export(folder)
    assert titles == tuple(NAMES)
    for one, other in zip(frozen.weights, freeze(policy).weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert Recommender.load(folder).recommend(NAMES[:3]) == Recommender(policy, NAMES).recommend(
        NAMES[:3]
    )
    about = json.loads((folder / ABOUT).read_text())
    assert about["sizes"] == {"items": 40, "features": 5, "hidden": 9}
    again = export(policy, NAMES, tmp_path / "b")
    assert {f.name for f in again.iterdir()} == {ABOUT, ARRAYS}
    for name in (ABOUT, ARRAYS):
        assert (folder / name).read_bytes() == (again / name).read_bytes()


def test_every_item_has_a_title(tmp_path):
    for make in (lambda p, t: export(p, t, tmp_path), Recommender):
        with pytest.raises(UserError, match="knows 40 items but there are 39 titles"):
            make(made_up(), NAMES[1:])
    assert not list(tmp_path.iterdir())


def change(about: dict, **values):
    return lambda content: json.dumps(json.loads(content) | values).encode()


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        (ARRAYS, lambda content: content[:-100], "is not the one that policy.json belongs to"),
        (ARRAYS, lambda content: b"", "is not the one that policy.json belongs to"),
        (ARRAYS, None, "no such file: .*policy.npz"),
        (ABOUT, lambda content: content[:200], "not readable as JSON"),
        (ABOUT, lambda content: b"[]", "has format None, not 1"),
        (ABOUT, change({}, format=2), "has format 2, not 1"),
        (ABOUT, change({}, titles=NAMES[1:]), "40 items but there are 39 titles"),
        (ABOUT, change({}, titles=None), "holds no whole export"),
        (ABOUT, change({}, ridge="wide"), "holds no whole export"),
    ],
)
def test_a_damaged_export_is_refused(tmp_path, name, spoil, message):
    file = export(made_up(), NAMES, tmp_path) / name
    content = file.read_bytes()
    file.unlink()
    if spoil:
        file.write_bytes(spoil(content))
    with pytest.raises(UserError, match=message):
        Recommender.load(tmp_path)


def test_arrays_of_another_kind_are_refused(tmp_path):
    export(made_up(), NAMES, tmp_path)
    objects = np.array([{}], object)
    for arrays in ({"vectors": np.ones(3)}, dict.fromkeys(Weights._fields, objects)):
        np.savez(tmp_path / ARRAYS, **arrays)
        digest = hashlib.sha256((tmp_path / ARRAYS).read_bytes()).hexdigest()
        about = tmp_path / ABOUT
        about.write_text(json.dumps(json.loads(about.read_text()) | {"sha256": digest}))
        with pytest.raises(UserError, match="holds no whole export"):
            Recommender.load(tmp_path)


def test_a_folder_without_a_whole_policy_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no trained policy"):
        Recommender.load(tmp_path)
    (tmp_path / "seed-0").mkdir()
    (tmp_path / "seed-0/titles.json").write_text("[]")
    whole = BUNDLED.read_bytes() if BUNDLED.is_file() else b"0" * 100
    for content in (b"", b"nothing", whole[:5000]):
        (tmp_path / "seed-0/serve-minirec.pt").write_bytes(content)
        with pytest.raises(UserError, match=r"serve-minirec\.pt is damaged"):
            Recommender.load(tmp_path)


@needs_bundled
def test_the_bundled_export_is_of_the_bundled_policy():
    """If not: ``minirec export --out minirec/_bundled/serve``."""
    policy, titles = load_run()
    frozen, same = load_export(BUNDLED.parents[1] / "serve")
    assert titles == same
    for one, other in zip(frozen.weights, freeze(policy).weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    served, trained = Recommender.load(), Recommender.load(BUNDLED.parents[1])
    for first in range(0, 100, 10):
        history = list(titles[first : first + 10])
        lists = [one.recommend(history) for one in (served, trained)]
        assert [r.title for r in lists[0]] == [r.title for r in lists[1]]


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # importing it raises ImportError
from minirec import Recommender, UserError
from minirec.serve import Session
served = Recommender.load(sys.argv[1])
titles = served.titles[:4]
print([title for title, _ in served.recommend(titles, 5)])
served.recommend_batch([titles, []], min_distance=0.1, exclude=titles)
Session(served, titles).recommend(5)
try:
    Recommender.load(sys.argv[2])
except UserError as error:
    print(error)
from minirec import cli
assert cli.main(["recommend", "--run", sys.argv[1], "--history", "", "-k", "1"]) == 0
assert not [name for name in sys.modules if name.startswith("torch.")]
"""


def test_serving_needs_no_torch(tmp_path, finished):
    policy, titles = load_run(finished)
    folder = export(policy, titles, tmp_path / "out")
    call = [sys.executable, "-c", WITHOUT_TORCH, folder, finished]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shown, refused, *_ = done.stdout.splitlines()
    expected = Recommender(policy, titles).recommend(titles[:4], 5)
    assert shown == str([title for title, _ in expected])
    assert refused.startswith(f"{finished} needs torch")


def test_the_command_exports_and_overwrites_nothing_else(tmp_path, finished, capsys):
    out = tmp_path / "out"
    for _ in range(2):
        assert cli.main(["export", "--run", str(finished), "--out", str(out)]) == 0
        assert "policy.json and policy.npz" in capsys.readouterr().out
    history = list(Recommender.load(finished).titles[:5])
    assert Recommender.load(out).recommend(history) == Recommender.load(finished).recommend(history)
    shutil.copy(out / ABOUT, out / "another")
    for taken in (out, finished, out / ABOUT):
        assert cli.main(["export", "--run", str(finished), "--out", str(taken)]) == 2
        assert "choose another folder with --out" in capsys.readouterr().err
