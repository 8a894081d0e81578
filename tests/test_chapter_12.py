"""What chapter 12 claims of its runs can fail: each claim is broken at least once."""

from pathlib import Path

import nbformat
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks/12-il-rec.ipynb"
CELLS = [c.source for c in nbformat.read(NOTEBOOK, as_version=4).cells if c.cell_type == "code"]


def cell(text):
    """Return the one cell that holds ``text``."""
    (found,) = [source for source in CELLS if text in source]
    return found


GOOD = {
    "the log alone": 172, "knows": 226, "knows, likes fame": 194,
    ("knows, likes fame", "believed"): 139, "renamed": 172,
    ("renamed", "believed"): 88,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "holds"),
    [
        ({}, True),
        ({"knows": 177}, False),  # demonstrations add nothing
        ({"knows, likes fame": 226}, False),  # fame does not matter
        ({"knows, likes fame": 172}, False),
        ({("knows, likes fame", "believed"): 194}, False),  # nor does it to believe it
        ({"renamed": 226}, False),  # it is not the choices that help
        ({("renamed", "believed"): 172}, False),  # there was nothing to notice
    ],
)
def test_the_claim_about_a_thin_log(changed, holds):
    claim, known = cell("base = earned"), {"earned": GOOD | changed}
    if holds:
        exec(claim, known)
    else:
        with pytest.raises(AssertionError):
            exec(claim, known)


@pytest.fixture
def names(monkeypatch):
    """Return what the chapter's cells about stored runs know."""
    monkeypatch.chdir(NOTEBOOK.parent)
    known = {"np": np, "Path": Path, "Markdown": str}
    exec(cell("ceilings = ").split("BARS = {")[0], known)
    exec(cell('"thin-logs.json"').split("axes = axes_of")[0], known)
    return known


STORED = "def gain(", "knowing_one, shuffled = ", "steps_shown = ", "apart = "
"""The cells about logs of several sizes, in their order."""


def test_the_stored_claims_hold(names):
    for text in STORED:
        exec(cell(text), names)


def minirec(one):
    """Return the arm that learns from one demonstrator, by size and seed."""
    return [[seed["arms"]["minirec"]["points"] for seed in size] for size in one]


def replaced(thin, who, points):
    """Put other points in the place of an arm's; None stands for the learner without any."""
    for k, size in enumerate(thin["after"][who]):
        for s, seed in enumerate(size):
            alone = thin["without"][k][s]["arms"]["minirec without demonstrations"]["points"]
            seed["arms"]["minirec"]["points"] = points[k][s] if points else alone


def nothing_gained(thin):
    replaced(thin, "knows", None)


def fame_is_no_loss(thin):
    best, fame = minirec(thin["after"]["knows"]), minirec(thin["after"]["like GPT-3.5"])
    replaced(thin, "knows, but shows the famous", best)
    replaced(thin, "knows", fame)


def harm_is_done(thin):
    for size in thin["after"]["like GPT-3.5"]:
        for seed in size:
            for point in seed["arms"]["minirec"]["points"]:
                point["r_traj"] -= 20


def shuffling_leaves_all(thin):
    for size in thin["after"]["knows"]:
        for seed in size:
            seed["arms"]["minirec, shuffled demonstrations"] = seed["arms"]["minirec"]


@pytest.mark.parametrize(
    "broken", [nothing_gained, fame_is_no_loss, harm_is_done, shuffling_leaves_all]
)
def test_a_stored_claim_fails_in_another_world(names, broken):
    broken(names["thin"])
    exec(cell("def gain("), names)
    with pytest.raises(AssertionError):
        exec(cell("knowing_one, shuffled = "), names)


def test_the_claim_about_imitation_fails_if_imitation_helps(names):
    for size in names["thin"]["after"]["knows"]:
        for seed in size:
            for point in seed["arms"]["minirec without demonstrations"]["points"]:
                point["r_traj"] -= 10
    for text in STORED[:-1]:
        exec(cell(text), names)
    with pytest.raises(AssertionError):
        exec(cell("apart = "), names)


def test_the_claim_about_practice(names):
    exec(cell("practice = "), names)
    exec(cell("practice never helps"), names)
    name = next(iter(names["lost"]))
    for better in (1600, "none"), name:
        span = names["lost"][better]
        names["lost"][better] = span._replace(estimate=5.0, low=4.0, high=6.0)
        with pytest.raises(AssertionError):
            exec(cell("practice never helps"), names)
        names["lost"][better] = span


def test_the_claim_about_classes_of_titles():
    log = np.array([0.27, 0.32, 0.35, 0.42])
    for gained, renamed, holds in (
        (0.07, 0.0, True), (0.0, 0.0, False), (np.array([0.2, 0.05, 0.05, 0.05]), 0.0, False),
        (0.07, 0.07, False),
    ):  # fmt: skip
        known = {"found": {"the log alone": log, "knows": log + gained, "renamed": log + renamed}}
        if holds:
            exec(cell("better = found"), known)
        else:
            with pytest.raises(AssertionError):
                exec(cell("better = found"), known)


@pytest.fixture
def arms(names):
    """Return what the cells about all arms know, before they look."""
    from minirec.evidence.statistics import iqm_interval, paired_interval

    names |= {"iqm_interval": iqm_interval, "paired_interval": paired_interval}
    exec(cell('"arms.json"').split("bound = ")[0], names)
    return names


def claimed(arms):
    """Look at the arms."""
    exec('bound = untrained("informed bound")', arms)
    for text in ("oracle, ended = ", "PAIRS = {", "nothing = ahead"):
        exec(cell(text), arms)


def test_the_claims_about_the_arms_hold(arms):
    claimed(arms)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("minirec", "A2C without demonstrations"),  # the same with and without its regression
        ("minirec without demonstrations", "A2C without demonstrations"),  # demonstrations help
        ("paper", "IL-Rec"),  # the head does not matter
        ("IL-Rec", "paper"),
        ("A2C without demonstrations", "DQN"),  # long practice does no harm
        ("DQN", "A2C without demonstrations"),  # ... or harms everybody
    ],
)
def test_a_claim_about_the_arms_fails_in_another_world(arms, name, other):
    arms["arms"]["arms"][name] = arms["arms"]["arms"][other]
    with pytest.raises(AssertionError):
        claimed(arms)


@pytest.fixture
def released(names):
    """Return what the cells about the released code know, before they look."""
    from minirec.evidence.statistics import t_interval

    text = cell('"official.json"')
    names["t_interval"] = t_interval
    exec(text.split("figure, (left")[0], names)
    exec("BOUNDS = {" + text.split("BOUNDS = {")[1].split("for arm, (label")[0], names)
    return names


def shown_too_long(official):
    for run in official["arms"]["steam"]["per_seed"]:
        run["curve"][3]["demo_share"] += 0.1


def sharp_at_one(official):
    official["arms"]["steam, bound 1"] = official["arms"]["steam"]


def busy_discriminator(official):
    official["arms"]["steam"]["per_seed"][0]["disc_steps"] = 400


def users_had_their_turn(official):
    official["untouched"][0]["test users as initialised"] = 0.1


@pytest.mark.parametrize(
    "broken", [None, shown_too_long, sharp_at_one, busy_discriminator, users_had_their_turn]
)
def test_the_claims_about_the_released_code(released, broken):
    if broken:
        broken(released["official"])
    exec(cell("WATCHED = {"), released)
    if broken:
        with pytest.raises(AssertionError):
            exec(cell("they fade as foreseen"), released)
    else:
        exec(cell("they fade as foreseen"), released)
