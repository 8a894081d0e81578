"""Every command behind a number of the book still runs, in its tiny form."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from test_demos_billp import LOG, QUIT, STOP, write
from test_rl import agrees

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


def test_environment(tmp_path):
    pytest.importorskip("resource")
    call = [sys.executable, ROOT / "benchmarks/environment.py", "--tiny", "--out", tmp_path]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "environment.json").read_text())
    assert not (tmp_path / "environment-run").exists()  # nothing is left to go on with
    labels = "environment", "reward", "rules", "users", "items"
    rows = {tuple(row[label] for label in labels): row for row in results["rows"]}
    assert len(rows) == len(results["rows"])
    for key, row in rows.items():
        if row["rate"] is None:  # a peer that is not installed
            assert key[0] == "DummyVecEnv"
            continue
        assert 0 < row["lowest"] <= row["rate"] <= row["highest"] and row["of_plain"] > 0
        if key[:2] == ("BatchedRecEnv", "matrix") or key[:2] == ("RecEnv", "matrix"):
            plain = rows["plain NumPy loop", *key[1:]]  # the same episodes end at the same steps
            assert (row["steps"], row["ended"]) == (plain["steps"], plain["ended"])
    assert 0 < results["memory"]["libraries"] <= results["memory"]["peak"]
    stored = ROOT / "book/_results/environment.json"
    if stored.exists():
        book = json.loads(stored.read_text())
        assert [[row[label] for label in labels] for row in book["rows"]] == list(map(list, rows))


def test_a_world_of_steams_size_takes_little_more_than_its_log(tmp_path):
    pytest.importorskip("resource")
    call = [sys.executable, ROOT / "benchmarks/environment.py", "--memory"]
    found = json.loads(subprocess.run(call, capture_output=True, check=True).stdout)
    assert found["users"] > 190_000
    assert found["peak"] < found["libraries"] + 0.25  # GB; the log itself takes 0.09


def written(script, out, *more, python=sys.executable):
    """Run a benchmark in its tiny form; return what it wrote and, if it is there, the book's."""
    call = [python, ROOT / f"benchmarks/{script}.py", "--tiny", "--out", out, *more]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    name = f"{script.replace('_', '-')}.json"
    files = [folder / name for folder in (out, ROOT / "book/_results")]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def tiny(script, out, *more, python=sys.executable):
    """Return what the tiny form of a benchmark writes, and the book's."""
    found, book = written(script, out, *more, python=python)
    return found, book


def test_controls(tmp_path):
    found, book = tiny("controls", tmp_path, "--only", "small world")
    stored = {(row["domain"], row["preset"]): row["methods"] for row in book["rows"]}
    assert len(stored) == 15
    for row in found["rows"]:
        methods = row["methods"]
        assert methods.keys() == stored["small world", row["preset"]].keys()
        oracle, upper = methods["feasible oracle"]["r_traj"], methods["upper bound"]["r_traj"]
        for name, method in methods.items():
            assert all(np.array(method["r_traj"]) <= np.array(upper) + 1e-6), name
        assert all(np.array(oracle) > methods["uniform random"]["r_traj"])
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*run/*/*.json"))
    assert tiny("controls", tmp_path, "--only", "small world")[0] == found  # goes on, at no cost
    after = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*run/*/*.json"))
    assert before == after and len(after) == 6


def test_world_models(tmp_path):
    found, book = tiny("world_models", tmp_path, "--only", "small world")
    [world], stored = found["domains"], {one["name"]: one for one in book["domains"]}
    assert len(stored) == 5 and book["coat"]["errors"].keys() == world["errors"].keys()
    assert {"rows", "users", "items"} <= world.keys() == stored["small world"].keys()
    assert max(world["errors"]["world model"]) < min(world["errors"]["mean"])


def test_log_size(tmp_path):
    found, book = tiny("log_size", tmp_path)
    assert found["arms"].keys() == book["arms"].keys() and len(book["sizes"]) == 5
    assert np.shape(found["arms"]["greedy on the world model"]["truth"]) == (2, 2)
    assert np.shape(book["oracle"]) == (5, 5)


def test_thin_logs(tmp_path):
    found, book = tiny("thin_logs", tmp_path)
    assert found["after"].keys() == book["after"].keys() == book["dials"].keys()
    for who, sizes in book["after"].items():
        assert np.shape(sizes) == (len(book["users"]), len(book["seeds"])) == (6, 5)
        for one, of_book in zip(found["after"][who][0], sizes[-1], strict=False):
            assert one["arms"].keys() == of_book["arms"].keys()
            assert all(0 <= trust <= 1 for trust in one["trust"])
            assert one["arms"]["minirec"]["points"][-1]["steps"] >= found["judged_at"][-1]
            shown = sum(one["arms"]["minirec"]["shown"])
            assert shown == pytest.approx(20 * one["arms"]["minirec"]["points"][-1]["len"])


def test_ceilings(tmp_path):
    found, book = tiny("ceilings", tmp_path)
    assert found["returns"].keys() == book["returns"].keys()
    truth = book["returns"].pop("truth")
    assert all(np.mean(values) < np.mean(truth) for values in book["returns"].values())
    assert len(truth) == 10


def test_practice(tmp_path):
    found, book = tiny("practice", tmp_path)
    assert found["found"][0][0].keys() == book["found"][0][0].keys()
    assert np.shape(book["found"]) == (3, 5)
    for seed in found["found"][0]:
        none = [point["r_traj"] for point in seed["none"]]
        assert len(set(none)) == 1  # nothing learns


def test_ppo(tmp_path):
    python = ROOT / ".venv-peers/sb3/bin/python"
    if not python.is_file():
        pytest.skip("Stable-Baselines3 is not there; `make peers` installs it")
    found, book = tiny("ppo", tmp_path, python=python)
    for row, stored in zip(found["rows"], book["rows"], strict=True):
        assert row["preset"] == stored["preset"]
        assert row["returns"].keys() == stored["returns"].keys()


def test_tabular_irl(tmp_path):
    python = ROOT / ".venv-peers/imitation/bin/python"
    book = json.loads((ROOT / "book/_results/tabular-irl.json").read_text())
    assert len(book["rows"]) == 20
    runs = [book]
    if python.is_file():
        runs.append(tiny("tabular_irl", tmp_path, python=python)[0])
    for found in runs:
        largest = found["largest"]
        assert largest.keys() == book["largest"].keys()
        for name, difference in largest.items():
            assert difference < (1e-3 if "learned" in name else 1e-9), name


def test_irl(tmp_path):
    pytest.importorskip("resource")
    book = json.loads((ROOT / "book/_results/irl.json").read_text())
    runs, python = [book], ROOT / ".venv-peers/imitation/bin/python"
    if python.is_file():
        runs.append(tiny("irl", tmp_path, python=python)[0])
    arms = [{(row["who"], row["form"]) for row in found["rows"]} for found in runs]
    assert len(arms[0]) == 10 and all(found == arms[0] for found in arms)
    for found in runs:
        assert found["tuned_on"] not in found["seeds"]
        sizes = {row["weights"] for row in found["timings"] if row["what"] in ("AIRL", "GAIL")}
        assert max(sizes) - min(sizes) <= 1  # ours keeps one of its weights at 0
        for row in found["timings"]:
            assert all(np.array(row["seconds"]) > 0)
        for one in found["shares"].values():
            assert sum(one.values()) == pytest.approx(1) and min(one.values()) > 0
        for one in found["memory"].values():
            assert 0 < one["before"] <= one["peak"]
    assert len(book["rows"]) == 10 * len(book["seeds"])
    for who, form in arms[0] - {("demonstrator", None), ("uniform random", None)}:
        tried = [way for way in book["tried"] if (way["who"], way["form"]) == (who, form)]
        for row in book["rows"]:
            if tried and (row["who"], row["form"]) == (who, form):
                best = max(tried, key=lambda way: way["r_traj"])
                assert row["rate"] == best["rate"]  # each was given its best


def test_policy(tmp_path):
    pytest.importorskip("resource")
    book = json.loads((ROOT / "book/_results/policy.json").read_text())
    runs, python = [book], ROOT / ".venv-peers/sb3/bin/python"
    if python.is_file():
        runs.append(tiny("policy", tmp_path, python=python)[0])
    for found in runs:
        agrees(found["agreement"])
        assert found["agreement"].keys() == book["agreement"].keys()
        for users in {row["users"] for row in found["timings"]}:
            rows = [row for row in found["timings"] if row["users"] == users]
            keys = [[(row["what"], row["who"]) for row in one] for one in (rows, book["timings"])]
            assert keys[0] == keys[1][: len(keys[0])] and len(keys[0]) == 9
            sizes = {row["weights"] for row in rows if row["what"] in ("A2C", "PPO")}
            assert len(sizes) == 1  # everybody trains the same network
            for row in rows:
                assert min(row["rates"]) <= row["rate"] <= max(row["rates"])
                assert len(row["times_as_long"]) == len(row["rates"])
        for row in found["shares"]:
            assert sum(row["shares"].values()) == pytest.approx(1)
            assert min(row["shares"].values()) > 0
        for seed in found["seeds"]:
            rows = [row for row in found["learned"] if row["seed"] == seed]
            assert len(rows) == 8 and rows[-1]["what"] == "uniform random"
            starts = {row["before"] for row in rows if row["what"] in ("A2C", "PPO")}
            assert len(starts) == 1  # ... and from the same first weights
    for seed in book["seeds"]:
        rows = [row for row in book["learned"] if row["seed"] == seed]
        assert all(row["r_traj"] > 1.2 * rows[-1]["r_traj"] for row in rows[:-1])


def test_half(tmp_path):
    pytest.importorskip("resource")
    python = ROOT / ".venv-peers/sb3/bin/python"
    if not python.is_file():
        pytest.skip("Stable-Baselines3 is not there; `make peers` installs it")
    for found in written("half", tmp_path, python=python):
        names = {row["name"] for row in found["rows"]}
        assert len(found["rows"]) == 6 * len(found["seeds"]) == 6 * len(found["worlds"])
        assert len(names) == 6
        for row in found["rows"]:
            assert row["reached"] == (row["best"] >= 0.5) and row["share"] <= row["best"]
            assert 0 < row["before"] <= row["peak"] and row["seconds"] > 0


def test_reward_ladder(tmp_path):
    found, book = tiny("reward_ladder", tmp_path)
    assert [row["rung"] for row in found["rows"]] == [row["rung"] for row in book["rows"]]
    for results in (found, book):
        rows = {row["rung"]: row["per_seed"] for row in results["rows"]}
        for seed in (*rows["linear, exact"], *rows["truth"]):
            assert seed["distance, all"] < 0.01 and seed["rank, all"] > 0.95
        for seed in rows["truth"]:
            for shares in seed["transfer"].values():
                assert shares["as it is"] == pytest.approx(1)
        for seed in rows["constant reward"]:
            assert seed["distance, all, no constant"] == pytest.approx(0.5**0.5, abs=0.01)
    assert len(book["rows"][0]["per_seed"]) == 5


def test_reward_recovery(tmp_path):
    found, book = tiny("reward_recovery", tmp_path)
    for part, label in (("recovered", "demonstrator"), ("survived", "form")):
        keys = [[{r[label] for r in one[part] if r["seed"] == s} for s in one["seeds"]]
                for one in (found, book)]  # fmt: skip
        assert all(names == keys[1][0] for one in keys for names in one)
    for row in found["survived"] + book["survived"]:
        if row["world"] == "twin":
            assert row["len"] == pytest.approx(100)  # nobody quits
    for row in book["recovered"]:
        assert row["world model"] > row["item means"] > 0.2


def test_weights(tmp_path):
    found, book = tiny("weights", tmp_path)
    cases = [(row["mix"], row["learner"]) for row in found["separation"][::2]]
    assert cases == [(row["mix"], row["learner"]) for row in book["separation"][::3]]
    arms = [(row["pupil"], row["weighting"]) for row in found["imitation"]]
    assert arms == [(row["pupil"], row["weighting"]) for row in book["imitation"]]
    assert found["rivals"].keys() == book["rivals"].keys() and found["data"] == book["data"]
    for results in (found, book):
        for row in results["separation"]:
            for level in ("step", "episode"):
                assert all(0 <= auc["estimate"] <= 1 for auc in row[level].values())
            for side in row["mean"].values():
                part = {name: value["estimate"] for name, value in side.items()}
                halves = part["f"] + part["-log pi"] * (row["learner"] != "classifier")
                assert part["logits"] == pytest.approx(halves, abs=2e-4)
            if not row["rounds"] and row["learner"] == "IL-Rec":  # f is still about nothing
                assert row["correlation with logits"]["-log pi"]["estimate"] > 0.9
        for row in results["imitation"]:
            assert row["difference"]["estimate"] == 0 or row["weighting"] != "equal"
    for row in book["separation"]:
        assert abs(row["step"]["fusion, shuffled"]["estimate"] - 0.5) < 0.05
    for rivals in book["rivals"].values():
        assert rivals["step"]["true reward"]["low"] > 0.5


def test_policy_gradients(tmp_path):
    found, book = tiny("policy_gradients", tmp_path)
    names = [row["name"] for row in found["arms"] if row["seed"] == 0]
    assert names == [row["name"] for row in book["arms"] if row["seed"] == 0]
    assert found["controls"][0].keys() == book["controls"][0].keys()
    assert found["data"] == book["data"] and found["settings"] == book["settings"]
    for row in found["arms"] + book["arms"]:
        assert len(row["likeliest"]) == len(row["steps"]) and row["steps"][0] == 0
        assert (len(row["drawn"]) == 0) == row["name"].startswith("DQN")
    for row in found["controls"] + book["controls"]:
        assert row["uniform random"] < row["any taste"] < row["best fixed list"]
        assert row["best fixed list"] < row["informed bound"]
    starts = {tuple(row["drawn"][:1]) for row in found["arms"] if row["name"].startswith("no base")}
    assert len(starts) == len(found["seeds"])  # the rates start from the same weights


def test_weights_counts_pairs(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from weights import as_released, auc

    rng = np.random.default_rng(0)
    scores, good = rng.integers(0, 9, 60).astype(float), rng.random(60) < 0.3
    pairs = np.subtract.outer(scores[good], scores[~good])
    assert auc(scores, good) == pytest.approx(((pairs > 0) + (pairs == 0) / 2).mean())
    assert auc(-scores, good) == pytest.approx(1 - auc(scores, good))
    assert (auc(good, good), auc(0 * scores, good)) == (1, 0.5)
    weights = rng.exponential(size=1805)  # steps of IL-Rec's demonstrations on Steam
    left = as_released(weights)
    assert (left != 1).sum() == 160 and left.mean() == pytest.approx(1)


def test_official(tmp_path):
    runs = written("official", tmp_path)
    if len(runs) == 2:
        assert runs[0]["arms"].keys() == runs[1]["arms"].keys()
        assert runs[1]["arms"]["steam"]["per_seed"][0]["disc_steps"] == 4
    for found in runs:
        for arm in found["arms"].values():
            for run in arm["per_seed"]:
                last, interval = run["curve"][-1], arm["settings"]["disc_interval"]
                assert run["disc_steps"] == -(-last["episodes"] // interval)
                assert run["reweighted"] <= 8 * run["disc_steps"]
                assert last["steps"] == run["demo_steps"] + run["played_steps"]
                weighed = run["demo_steps"] * run["mean_weight"]
                due = weighed / (weighed + 0.05 * run["played_steps"])
                assert last["demo_share_due"] == pytest.approx(due, rel=0.1)
                assert run["judged users touched"] == 0  # the split sees to that
                assert run["entropy, unseen users"] <= found["uniform_entropy"] + 1e-5
                for judged in (run["judged"], run["judged, block list"]):
                    ends = [sum(judged[why]) for why in ("low_reward", "distance", "max_turn")]
                    assert sum(ends) == pytest.approx(found["samplings"])
        for row in found["untouched"]:
            never = row["test users never rolled out"]
            assert 0.3 < never <= row["test users as initialised"] <= 1


def test_ladder(tmp_path):
    found, book = tiny("ladder", tmp_path)
    names = [(row["knowledge"], row["way"]) for row in found["rows"]]
    assert names == [(row["knowledge"], row["way"]) for row in book["rows"]]
    assert [row["roles"] for row in found["rows"]] == [row["roles"] for row in book["rows"]]
    assert found["data"] == book["data"]
    for row in book["rows"]:
        for seed in row["per_seed"]:
            assert seed["r_traj"] == pytest.approx(seed["length"] * seed["r_each"])
            assert seed["calls"] >= seed["length"]


def test_demonstrators(tmp_path):
    found, book = tiny("demonstrators", tmp_path, "--only", "small world")
    (rows,) = found["audits"].values()
    stored = book["audits"]
    assert rows.keys() == stored["simulated small world"].keys()
    assert all(row["episodes"] == 20 for row in rows.values())
    recorded = [row for name in ("games", "books") for row in stored[f"recorded {name}"].values()]
    assert sum(row["steps"] for row in recorded) == 10_388
    ours = stored["simulated small world"]["as set"]
    for measure in ("invented_share", "top10_share", "mean_length"):  # what the dials were set by
        values = [row[measure] for row in recorded]
        assert min(values) <= ours[measure] <= max(values), measure


def test_serving(tmp_path):
    found, book = tiny("serving", tmp_path)
    for result in (found, book):
        assert [row["policy"] for row in result["rows"]] == ["untrained", "bundled"]
        for row in result["rows"]:
            for part in (row["call"], row["batch"]):
                ratio = part["torch"]["median"] / part["numpy"]["median"]
                assert part["ratio"] == pytest.approx(ratio) and ratio > 0
            assert row["call"]["numpy"]["median"] <= row["call"]["numpy"]["p99"]
            rate = 1000 * result["settings"]["users"] / row["batch"]["numpy"]["median"]
            assert row["batch"]["numpy"]["rate"] == pytest.approx(rate)
            difference = row["difference"]
            assert difference["largest"] < 1e-4 < difference["likeliest"]
            assert difference["equal lists"] >= 0.99 * difference["users"]
    large, bundled = book["rows"]
    assert large["items"] == book["settings"]["items"] == 13_864
    assert bundled["bytes"] == found["rows"][1]["bytes"]


def test_kill_and_resume(tmp_path):
    found, book = tiny("kill_and_resume", tmp_path)
    starts = found["found"]["killed"]["starts"]
    assert found["equal"] and [start["killed"] for start in starts] == [1, 1, 0]
    assert book["equal"] and book["episodes"] == 1000 and book["kills"] == 10
    for result in (found, book):
        peace, war = result["found"].values()
        differ = {key for key in peace if peace[key] != war[key]}
        assert differ <= {"starts", "retried", "attempts"}
        assert peace["doubles"] == 0 and peace["episodes"] == result["episodes"]
    assert book["found"]["killed"]["failed_for_good"]


needs_data = pytest.mark.skipif(not os.environ.get("MINIREC_DATA"), reason="no MINIREC_DATA")


def worlds_of(results):
    """Return all rows of each world of the real arms, by method."""
    for world in results["worlds"]:
        rows = {name: [seed[name] for seed in world["untrained"]] for name in world["untrained"][0]}
        arms = world["arms"].items()
        yield world, rows | {name: [row for seed in seeds for row in seed] for name, seeds in arms}


def test_real_arms_hold_what_they_say():
    results = json.loads((ROOT / "book/_results/real-arms.json").read_text())
    assert len(results["seeds"]) == 5 and len(results["worlds"]) == 4
    for world, rows in worlds_of(results):
        oracle = np.mean([row["r_traj"] for row in rows["feasible oracle"]])
        for name, found in rows.items():
            for row in found:
                if name == "recorded":
                    continue
                assert row["r_traj"] == pytest.approx(row["len"] * row["r_each"], rel=1e-6)
                assert 0 <= row["share_oracle"] <= 1 + 1e-9
                if "ends" in row:
                    assert sum(row["ends"].values()) == pytest.approx(1)
                if "repeats" in row and world["rules"] == "no_repeat":
                    assert row["repeats"] == 0
        assert all(np.mean([r["r_traj"] for r in rows[n]]) < oracle for n in world["arms"])
        assert len(world["arms"].get("official", [1] * 3)) == 3
        assert set(world["published"]) == {"BiLLP", "IL-Rec"}


@needs_data
def test_real_arms(tmp_path):
    found, book = tiny("real_arms", tmp_path, "--only", "steam-playtime")
    stored = {(world["domain"], world["rules"]): world for world in book["worlds"]}
    for world, rows in worlds_of(found):
        theirs = stored[world["domain"], world["rules"]]
        assert world["arms"].keys() == theirs["arms"].keys() == world["seconds"].keys() - {
            "untrained", "world model, judge and demonstrations"
        }  # fmt: skip
        assert world["untrained"][0].keys() == theirs["untrained"][0].keys()
        assert world["untrained"][0]["recorded"] == theirs["untrained"][0]["recorded"]
        assert world["published"] == theirs["published"]
        assert all(row["r_traj"] > 0 for row in rows["minirec"])


def test_taste_is_what_neither_user_nor_item_explains(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from taste import parts, regressed

    rng = np.random.default_rng(0)
    user, item, taste = rng.normal(size=(4, 1)), rng.normal(size=(1, 6)), rng.normal(size=(4, 6))
    taste -= taste.mean(0, keepdims=True) + taste.mean(1, keepdims=True) - taste.mean()
    found = parts(user + item + taste)
    assert np.allclose(found[2], taste)
    assert np.allclose(found[0].std(1), 0) and np.allclose(found[1].std(0), 0)
    said = 2 + 0.5 * found[0] + found[1] + 3 * taste
    assert np.allclose(regressed([part.ravel() for part in found], said.ravel()), [0.5, 1, 3])


@needs_data
def test_taste(tmp_path):
    found, book = tiny("taste", tmp_path)
    ours, theirs = found["beliefs"][0], book["beliefs"][0]
    assert ours["domain"] == theirs["domain"] == "small world" and len(book["beliefs"]) == 4
    assert ours["found"][0].keys() == theirs["found"][0].keys()
    assert found["arms"][0]["found"].keys() == book["arms"][0]["found"].keys()
    for one in book["beliefs"]:
        for seed in one["found"]:
            held_out = seed["held out"]
            assert held_out[str(seed["penalty"])] == min(held_out.values())
    for seed in found["arms"] + book["arms"]:
        for rows in seed["found"].values():
            for row in rows:
                other = row["judge that chooses"]
                assert row["share_oracle"] <= 1 + 1e-9 and other["share_oracle"] <= 1 + 1e-9


def test_part_one_says_what_is_missing(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "MINIREC_DATA"}
    for script, name in (
        ("controls", "anime"), ("world_models", "coat"), ("real_arms", "amazon-books"),
    ):  # fmt: skip
        call = [sys.executable, ROOT / f"benchmarks/{script}.py", "--only", name, "--out", tmp_path]
        done = subprocess.run(call, capture_output=True, text=True, env=environment)
        assert done.returncode and done.stderr.startswith(f"{script}: MINIREC_DATA is not set")
        assert not list(tmp_path.iterdir())


def data_cards(tmp_path, *arguments):
    call = [sys.executable, ROOT / "benchmarks/data_cards.py", *arguments]
    environment = os.environ | {"MINIREC_DATA": str(tmp_path)}
    return subprocess.run(call, capture_output=True, text=True, env=environment)


def test_data_cards(tmp_path):
    pairs = [(user, item) for user in range(6) for item in range(6)]
    for name, ratings in (("steam-playtime", [0, 2, 5]), ("amazon-books", [1])):
        folder = tmp_path / name
        folder.mkdir()
        items = "".join(f"{item},Title {item}\n" for item in range(7))
        (folder / "items.csv").write_text("item_id,title\n" + items)
        lines = [f"{u},{i},{ratings[-1]}\n" for u, i in pairs] + [f"6,6,{ratings[0]}\n"]
        (folder / "interactions.csv").write_text("user_id,item_id,rating\n" + "".join(lines))
    done = data_cards(tmp_path, "steam-playtime", "amazon-books", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "data-cards.json").read_text())
    games, books = results["cards"]
    assert [step["rows"] for step in games["steps"]] == [37, 36, 36, 36]
    assert [step["rows"] for step in books["steps"]] == [37, 37, 36]
    assert (books["rating_map"], books["density"]) == ("positives only -> 5", 1)
    assert games["top_share"] == pytest.approx(1 / 6)
    book = json.loads((ROOT / "book/_results/data-cards.json").read_text())
    assert book.keys() == results.keys() | {"coat"}
    assert all(card.keys() | {"min_rating"} == games.keys() for card in book["cards"])


def test_data_cards_says_what_is_missing(tmp_path):
    assert "no such folder" in data_cards(tmp_path, "anime", "--out", tmp_path).stderr
    assert "no such file" in data_cards(tmp_path, "coat", "--out", tmp_path).stderr
    assert "NAME needs --out" in data_cards(tmp_path, "anime").stderr


def grounding(data, out):
    call = [sys.executable, ROOT / "benchmarks/grounding.py", "--out", out]
    environment = os.environ | {"MINIREC_DATA": str(data)}
    return subprocess.run(call, capture_output=True, text=True, env=environment)


def test_grounding(tmp_path):
    again = QUIT.replace("Kite", "rune remastered").replace(
        "Observation 3: ", "Observation 3: [rune remastered] can not be recommened, instead, "
        "recommend[Rune [Remastered]]\nObservation 3: ", 1,
    )  # fmt: skip
    for domain in ("steam", "amazon"):
        for split, logs in (("train", [LOG + again]), ("test", [LOG + QUIT, LOG + STOP])):
            where = tmp_path / "llm-demos" / domain
            write(where, *logs, compressed=True, name=f"{domain}_{split}_0")
    done = grounding(tmp_path, tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "grounding.json").read_text())
    train = results["parts"]["steam train"]["counts"]
    assert (train["steps"], train["quits"], train["actions"], train["thoughts"]) == (3, 1, 3, 3)
    assert (train["literal"], train["invented"], train["ours normalised"]) == (1, 2, 1)
    assert (train["repeat quits"], train["repeats"], train["own repeats"]) == (1, 2, 2)
    assert (train["repeat quits, invented title"], train["repeat quits, new title"]) == (1, 0)
    assert (train["moved"], train["repeats, blocked"], train["own repeats, blocked"]) == (2, 0, 0)
    test = results["parts"]["steam test"]["counts"]
    assert (test["steps"], test["actions"], test["actions read"]) == (5, 6, 6)
    assert test["thoughts read"] == 5  # one of the six is empty
    assert results["parts"]["all"]["counts"]["steps"] == 2 * (3 + 5)
    assert all(part["shares"]["actions read"] == 1 for part in results["parts"].values())
    book = json.loads((ROOT / "book/_results/grounding.json").read_text())
    assert book.keys() == results.keys() and book["parts"].keys() == results["parts"].keys()
    assert book["parts"]["all"]["counts"]["steps"] == 10_388
    for part in book["parts"].values():
        assert part["shares"]["actions read"] == part["shares"]["thoughts read"] == 1
    assert book["settings"] == results["settings"]
    for row in (domain["all"] for domain in book["spoilt"].values()):
        best = max(row[least] for least in row.keys() - {"titles"})
        assert row[f"{book['settings']['fuzzy_from']:g}"] == best, "choose fuzzy_from anew"


def test_grounding_says_what_is_missing(tmp_path):
    assert "grounding: MINIREC_DATA is not set" in grounding("", tmp_path).stderr
    assert "grounding: no such files" in grounding(tmp_path, tmp_path).stderr


def test_arms(tmp_path):
    runs = written("arms", tmp_path)
    if len(runs) == 2:
        assert runs[0]["arms"].keys() == runs[1]["arms"].keys()
        assert runs[0]["untrained"][0].keys() == runs[1]["untrained"][0].keys()
        assert len(runs[1]["seeds"]) == 10
    for found in runs:
        goals = found["judged_at"]
        for name, arm in found["arms"].items():
            assert len(arm) == len(found["seeds"])
            for points in arm:
                early = [goal for goal in goals if goal <= 100_000]
                due = {"behaviour cloning": goals[:1], "official": early}
                assert len(points) == len(due.get(name, goals))
                if name != "behaviour cloning":
                    assert all(p["steps"] >= goal for p, goal in zip(points, goals, strict=False))
                for point in points:
                    assert point["gap"] == pytest.approx(point["model_return"] - point["r_traj"])
        for rows in found["untrained"]:
            bound, oracle = rows["informed bound"], rows["feasible oracle"]
            assert rows["uniform random"]["r_traj"] < bound["r_traj"] < oracle["r_traj"]
    kept = {file: file.stat().st_mtime_ns for file in (tmp_path / "arms-run").rglob("*.json")}
    assert written("arms", tmp_path)[0] == runs[0]
    assert kept == {file: file.stat().st_mtime_ns for file in kept}  # nothing was done again
