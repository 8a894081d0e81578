"""Figures: legal style, honest words, same bytes."""

from __future__ import annotations

import subprocess
import sys

import matplotlib.colors
import numpy as np
import pytest
from PIL import Image

from evidence_results import LEARNERS, audited, made_up
from minirec._io import UserError
from minirec.evidence import plots
from minirec.evidence.tables import METHODS
from minirec.irl.compare import rank_correlations

FIGURES = [plots.learning_curves, plots.shares, plots.length_reward]
OKABE_ITO = {
    "#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7",
    "#777777",
}  # fmt: skip


def test_every_method_has_a_style_of_its_own():
    assert tuple(plots.METHOD_STYLE) == METHODS
    styles = plots.METHOD_STYLE.values()
    assert len({style.marker for style in styles}) == len(METHODS)
    assert {matplotlib.colors.to_hex(style.colour) for style in styles} <= OKABE_ITO
    learners = [plots.METHOD_STYLE[name] for name in LEARNERS]
    assert len({str(style.line) for style in learners}) == len(learners)
    assert len({style.colour for style in learners}) == len(learners)


@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("draw", FIGURES)
def test_figures_have_words_and_the_books_format(draw, seeds):
    figure, alt, caption = draw(made_up(seeds))
    assert len(alt) >= 60 and "IL-Rec" in alt and any(map(str.isdigit, alt))
    assert f"n = {seeds}" in caption
    assert ("95 % Student-t interval" in caption) == (seeds > 1)
    assert "judged by the truth" in caption
    assert figure.get_figwidth() == plots.WIDTH
    for axes in figure.axes:
        assert not axes.get_title()
        assert axes.get_xlabel() == axes.get_xlabel().lower() and "[" in axes.get_xlabel()
        assert axes.get_ylabel() == axes.get_ylabel().lower()


@pytest.mark.parametrize("draw", FIGURES)
def test_equal_figures_give_equal_bytes(draw, tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        plots.save_figure(draw(made_up(3))[0], path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == paths
    with Image.open(paths[0]) as image:
        assert image.width == int(plots.WIDTH * 144)
        assert "Software" not in image.info
        corner = image.convert("RGBA").getpixel((0, 0))
    assert corner == (255, 255, 255, 255)  # opaque, so that axes stay readable on a dark page


def test_alt_text_follows_the_data():
    first = plots.shares(made_up(5))[1]
    assert first.startswith("IL-Rec earns most")
    upset = plots.shares(made_up(5, popularity=("control", 60.0, 4.0)))[1]
    assert upset.startswith("popularity earns most") and "rank 2 of 13" in upset


def test_learning_curves_say_when_half_the_oracle_is_reached():
    results = made_up(3)
    assert "never reaching half" in plots.learning_curves(results)[1]
    for curve in results["curves"]:
        curve["steps"], curve["share_oracle"] = [0, 10_000, 20_000], [0.0, 0.4, 0.6]
    assert "IL-Rec ends at 60 %, passing half at 15.0 thousand" in plots.learning_curves(results)[1]


def test_curves_with_different_steps_meet_on_a_common_grid():
    curves = [
        {"steps": [0, 1000, 2000], "share_oracle": [0.0, 0.1, 0.2]},
        {"steps": [500, 1500, 2500], "share_oracle": [0.05, 0.15, 0.25]},
    ]
    grid, values = plots._common_grid(curves)
    assert grid[0] == 0.5 and grid[-1] == 2.0
    np.testing.assert_allclose(values, np.tile(10 * grid, (2, 1)))


def test_single_seeds_are_drawn_when_there_are_few():
    few, many = (len(plots.learning_curves(made_up(n))[0].axes[0].lines) for n in (10, 11))
    assert few - many == 10 * len(LEARNERS)


def test_missing_rows_are_no_error():
    results = made_up(2)
    gone = ("informed bound", "demonstrator")
    results["methods"] = [m for m in results["methods"] if m["name"] not in gone]
    for draw in FIGURES:
        assert draw(results)[1]


@pytest.mark.parametrize("draw", FIGURES)
def test_nothing_to_draw_is_refused(draw):
    with pytest.raises(UserError, match="the results hold no"):
        draw({"methods": [], "curves": [], "seeds": [0]})


def test_the_audits_of_several_sources_stand_side_by_side(tmp_path):
    sources = {"recorded": audited(), "simulated": audited(coherence=None, popularity=None)}
    figure, alt, caption = plots.audit_figure(sources)
    assert len(caption) >= 60 and figure.get_figwidth() == plots.WIDTH and len(figure.axes) == 5
    for axes in figure.axes:
        assert not axes.get_title() and "[" in axes.get_xlabel()
    assert "recorded invents 25 % of its titles and gives 50 %" in alt
    assert "40 % of its thoughts fit the item, 30 % by chance. simulated" in alt
    top = figure.axes[2]
    assert [label.get_text() for label in top.get_yticklabels()] == list(sources)
    assert [bar.get_width() for bar in figure.axes[0].patches] == [75, 75, 25, 25]
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        plots.save_figure(plots.audit_figure(sources)[0], path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with pytest.raises(UserError, match="no audit to draw"):
        plots.audit_figure({})


def test_importing_evidence_loads_neither_matplotlib_nor_torch():
    code = (
        "import sys, minirec.evidence.tables, minirec.evidence.metrics; "
        "assert not {'matplotlib', 'torch'} & set(sys.modules); import minirec.evidence.plots; "
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_recovered_reward_is_drawn_beside_the_truth():
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 5, (30, 40))
    for learned, above in ((truth + rng.normal(size=truth.shape), 100), (-truth, 0)):
        figure, alt, caption = plots.reward_recovery(learned, truth)
        assert figure.get_figwidth() == plots.WIDTH and "n = 30 users" in caption
        mean = rank_correlations(learned, truth).mean()
        assert f"rank correlation of {mean:.2f}, above 0 for {above} % of the users" in alt
        assert sum(bar.get_height() for bar in figure.axes[1].patches) == 30
    with pytest.raises(UserError, match="must pair up"):
        plots.reward_recovery(truth, truth[:, 1:])
