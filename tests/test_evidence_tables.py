"""Tables say what the numbers say, also when it is not what we hoped for."""

from __future__ import annotations

import copy
import io
import json

import numpy as np
import pytest
from rich.console import Console

from evidence_results import audited, made_up
from minirec._io import UserError
from minirec.demos.audit import audit
from minirec.evidence.tables import (
    AUDIT,
    COLUMNS,
    METHODS,
    OURS,
    PLAIN,
    audit_table,
    compare,
    results_table,
)  # fmt: skip


def notes(results) -> str:
    return "\n".join(results_table(results).notes)


def test_rows_are_in_the_order_of_the_book_and_absent_methods_stay_absent():
    results = made_up(3)
    results["methods"] = [m for m in results["methods"][::-1] if m["name"] != "informed bound"]
    shown = [row[0].removesuffix(" (simulated)") for row in results_table(results).rows]
    assert shown == [name for name in METHODS if name != "informed bound"]


def test_a_simulated_demonstrator_is_called_so():
    assert "demonstrator (simulated)" in results_table(made_up(2)).markdown()


def test_cells_are_mean_and_half_width():
    results = made_up(5)
    index = METHODS.index(OURS)
    values = [row["r_traj"] for row in results["methods"][index]["per_seed"]]
    half = 2.7764451 * np.std(values, ddof=1) / np.sqrt(5)
    assert results_table(results).rows[index][3] == f"{np.mean(values):.1f} ± {half:.1f}"
    assert results_table(results).data[OURS]["r_traj"]["high"] == pytest.approx(
        np.mean(values) + half, rel=1e-6
    )


@pytest.mark.parametrize("seeds", [1, 5])
def test_data_is_plain_json(seeds):
    data = results_table(made_up(seeds)).data
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert set(data[OURS]) == set(COLUMNS)
    assert data["feasible oracle"]["gap"]["estimate"] is None


def test_markdown_is_aligned_and_the_winner_bold():
    report = results_table(made_up(5))
    table, _, below = report.markdown().partition("\n\n")
    lines = table.splitlines()
    pipes = {tuple(i for i, mark in enumerate(line) if mark == "|") for line in lines}
    assert len(lines) == 2 + len(METHODS) and len(pipes) == 1
    assert [line for line in lines if "**" in line] == [lines[2 + METHODS.index(OURS)]]
    assert below.count("- ") == len(report.notes)


@pytest.mark.parametrize("width", [80, 140])
def test_terminal_table_cuts_nothing_off(width):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(results_table(made_up(5)).rich())
    text = console.export_text()
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    assert "Highest R_traj" in text


def test_bounds_never_win():
    assert 'Highest R_traj, bounds aside: "IL-Rec"' in notes(made_up(5))
    assert "No other method is ahead of IL-Rec" in notes(made_up(5))


def test_a_control_that_beats_us_is_named():
    results = made_up(5, popularity=("control", 60.0, 4.0))
    assert 'bounds aside: "popularity", ahead of "IL-Rec" by' in notes(results)
    assert 'Ahead of IL-Rec: "popularity" by' in notes(results)
    assert results_table(results).best == METHODS.index("popularity")


def test_a_lead_within_chance_is_not_called_a_win():
    results = made_up(5, popularity=("control", 31.2, 3.8))
    for method in results["methods"]:
        if method["name"] in ("popularity", OURS):
            shift = 1 if method["name"] == "popularity" else 0
            for seed, row in enumerate(method["per_seed"]):
                row["r_traj"] = 120 + shift + (-1) ** seed * 20 * shift
    assert notes(results).count("so not beyond chance") == 2
    assert 'Ahead of IL-Rec: "popularity"' in notes(results)


def test_one_seed_establishes_nothing():
    text = notes(made_up(1, popularity=("control", 60.0, 4.0)))
    assert 'Ahead of IL-Rec: "popularity" by' in text and "(no interval)" in text
    assert "One seed: no interval" in text and "±" not in results_table(made_up(1)).markdown()


def test_who_pays_is_said():
    results = made_up(2)
    assert "paid by the truth" in notes(results)
    results["data"]["judge"] = {"rmse": 0.912}
    assert "judge with its own error (RMSE 0.91 rating points)" in notes(results)
    results["data"]["judge"]["rmse_mean"] = 1.1
    assert "(RMSE 0.91 rating points; the mean rating's: 1.10)" in notes(results)


def test_empty_results_are_refused():
    with pytest.raises(UserError, match="no method"):
        results_table({"methods": [], "seeds": []})
    with pytest.raises(UserError, match="in common"):
        compare(made_up(1), {"methods": [], "seeds": []})


def test_compare_pairs_common_seeds_and_names_what_differs():
    a, b = made_up(4), made_up(4)
    b["config"]["rl"] = {"lr": 0.003, "clip": 1}
    for method in b["methods"]:
        for row in method["per_seed"]:
            row["r_traj"] += 2
    report = compare(a, b)
    assert {row[3].removesuffix(" ± 0.0") for row in report.rows} == {"+2.0"}
    assert report.data[OURS]["difference"]["n"] == 4
    text = report.markdown()
    assert "Setting rl.lr: 0.001 -> 0.003." in text and "Setting rl.clip: None -> 1." in text
    assert "not comparable" not in text


def test_compare_warns_when_worlds_differ_or_seeds_do_not_meet():
    a, b = made_up(3), copy.deepcopy(made_up(3))
    b["seeds"] = [7, 8, 9]
    b["rules"] = {"name": "ilrec"}
    b["methods"].pop(0)
    for method in b["methods"]:
        for row in method["per_seed"]:
            row["seed"] += 7
    text = compare(a, b).markdown()
    assert "paired over common seeds (0): no interval" in text
    assert "differ in their rules: the returns are not comparable" in text
    assert "In one run only: uniform random." in text
    assert "+0.0 |" in text and "-0.0" not in text


def test_a_run_equals_itself():
    assert {row[3] for row in compare(made_up(1), made_up(1)).rows} == {"+0.0"}


def curves(**reached: float) -> list[dict]:
    """Straight learning curves that pass half of the oracle at these steps, or never (0)."""
    names = {"ours": OURS, "plain": PLAIN}
    return [
        {"name": names[who], "seed": int(seed), "steps": [0, 2 * steps or 9],
         "share_oracle": [0.0, 1.0 if steps else 0.4]}
        for key, steps in reached.items() for who, seed in [key.split("_")]
    ]  # fmt: skip


def test_the_head_start_is_told_in_environment_steps_and_as_a_paired_ratio():
    results = made_up(2)
    results["curves"] = curves(ours_0=100, plain_0=200, ours_1=300, plain_1=1000)
    assert "IL-Rec after 200 environment steps" in notes(results)
    assert "A2C without demonstrations after 600; ratio 0.40 (95 %" in notes(results)


def test_a_seed_that_never_gets_to_half_is_counted():
    results = made_up(2)
    results["curves"] = curves(ours_0=100, plain_0=0, ours_1=300, plain_1=1000)
    assert "IL-Rec in 2, A2C without demonstrations in 1 of 2 seeds." in notes(results)
    results["curves"] = []
    assert "Half of" not in notes(results)


def test_an_audit_has_one_column_a_source_and_says_what_it_counts():
    sources = {"recorded": audited(), "other": audited(grounding={}, cost={}, coherence=None)}
    report = audit_table(sources)
    rows = {row[0]: row[1:] for row in report.rows}
    assert report.headings == ("quantity", *sources) and report.data == sources
    assert rows["grounded: vector [%]"] == ("25.0", "-")
    assert rows["ended: low reward [% of episodes]"] == ("75.0", "75.0")
    assert rows["thoughts that name a genre of the item [%]"] == ("40.0", "-")
    assert rows["calls an episode"] == ("3.0", "-")
    assert report.markdown().startswith("| quantity") and "by chance" not in rows
    gone = audit_table({"bare": audited(popularity=None)})
    assert not [row for row in gone.rows if "popularity" in row[0]]
    with pytest.raises(UserError, match="no audit to show"):
        audit_table({})


def test_every_number_of_an_audit_is_in_the_table():
    told_otherwise = {"mean_return", "distinct_share", "invalid_episodes"}
    assert set(audit([])) == set(AUDIT) | told_otherwise
    assert audit_table({"nothing": audit([])}).rows
