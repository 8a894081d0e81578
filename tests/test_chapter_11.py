"""What chapter 11 claims of its training runs can fail: each claim is broken at least once."""

import copy
from pathlib import Path

import nbformat
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks/11-policy-gradients.ipynb"
CELLS = [c.source for c in nbformat.read(NOTEBOOK, as_version=4).cells if c.cell_type == "code"]


def cell(text):
    """Return the one cell that holds ``text``."""
    (found,) = [source for source in CELLS if text in source]
    return found


@pytest.fixture
def names(monkeypatch):
    """Return what the chapter's cells about stored runs know."""
    monkeypatch.chdir(NOTEBOOK.parent)
    known = {"np": np}
    exec(cell('policy-gradients.json")').split("LOOKS = {")[0], known)
    exec(cell("def distinct(").split("lines = [")[0], known)
    rows = [row for row in known["stored"]["arms"] if row["name"] == "A2C, gru"]
    known["when"] = np.array([row["steps"] for row in rows]).mean(0)
    return known


def swapped(stored, one, other):
    """Return the stored results with two arms taken for each other."""
    changed, names = copy.deepcopy(stored), {one: other, other: one}
    for row in changed["arms"]:
        row["name"] = names.get(row["name"], row["name"])
    return changed


def test_the_stored_claims_hold(names):
    exec(cell("def lead("), names)
    exec(cell("reward head's lead"), names)


@pytest.mark.parametrize(
    ("claim", "one", "other"),
    [
        ("def lead(", "A2C, gru", "REINFORCE, rate 0.01"),
        ("def lead(", "no baseline, rate 0.03", "A2C with head, gru"),
        ("reward head's lead", "A2C with head, gru", "A2C, gru"),
        ("reward head's lead", "A2C with head, none", "REINFORCE, rate 0.003"),
        ("reward head's lead", "A2C, attention", "DQN"),
    ],
)
def test_a_stored_claim_fails_if_two_arms_change_places(names, claim, one, other):
    names["stored"] = swapped(names["stored"], one, other)
    with pytest.raises(AssertionError):
        exec(cell(claim), names)


def test_the_claim_about_the_head_fails_for_one_list_for_everybody(names):
    for row in names["stored"]["arms"]:
        row["distinct"] = 25
    with pytest.raises(AssertionError):
        exec(cell("reward head's lead"), names)


@pytest.mark.parametrize(
    ("claim", "arm", "how"),
    [
        ("def lead(", "A2C, gru", "likeliest"),  # by it A2C and REINFORCE are not told apart
        ("reward head's lead", "A2C, none", "drawn"),  # drawn, it is behind the GRU
    ],
)
def test_a_claim_about_one_measure_fails_if_an_arm_is_better_by_it(names, claim, arm, how):
    for row in names["stored"]["arms"]:
        if row["name"] == arm:
            row[how] = [20 + value for value in row[how]]
    with pytest.raises(AssertionError):
        exec(cell(claim), names)


GOOD = {"REINFORCE, no baseline": [3.5, 4.0, 3.2], "REINFORCE": [4.8, 5.0], "A2C": [3.8, 4.2]}


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ({}, True),
        ({name: [2.5, 2.5] for name in GOOD}, False),  # titles at random
        ({"A2C": [2.5, 3.0]}, False),
        ({"REINFORCE, no baseline": [4.8, 4.9]}, False),  # a baseline adds nothing
    ],
)
def test_the_claim_about_the_identity(changed, holds):
    claim, known = cell('found["REINFORCE"] > 4.3'), {"np": np, "identity": GOOD | changed}
    if holds:
        exec(claim, known)
    else:
        with pytest.raises(AssertionError):
            exec(claim, known)


@pytest.mark.parametrize(
    ("found", "holds"),
    [((3.5, 5, 5), True), ((5, 5, 5), False), ((3.5, 3.5, 5), False), ((3.5, 5, 3.5), False)],
)
def test_the_claim_about_order(found, holds):
    tail = cell("def told_apart(").split("order_pays = ")[1].split("\n", 1)[1]
    known = {"order_pays": dict(zip(("average", "gru", "attention"), found, strict=True))}
    if holds:
        exec(tail, known)
    else:
        with pytest.raises(AssertionError):
            exec(tail, known)


def test_the_claim_about_what_a_baseline_can_take_away():
    claim = "assert " + cell("ratio[name] = ").split("assert ")[1]
    exec(claim, {"ratio": {"identity": 6.3, "small world": 2.5}})
    for same in (2.5, 6.3):
        with pytest.raises(AssertionError):
            exec(claim, {"ratio": {"identity": same, "small world": same}})
