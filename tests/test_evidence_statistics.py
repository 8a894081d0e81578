"""Intervals must hold what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import trim_mean

from minirec.evidence.statistics import (
    Interval,
    iqm_interval,
    paired_interval,
    t_interval,
    t_quantile,
)


def coverage(runs: int, interval, worlds: int = 600) -> float:
    """Return how often ``interval(values, rng)`` holds the true mean 3 of ``runs`` normals."""
    rng = np.random.default_rng(1)
    found = [interval(rng.normal(3, 2, runs), rng) for _ in range(worlds)]
    return float(np.mean([low <= 3 <= high for _, low, high, _ in found]))


def bootstrap(values, rng):
    drawn = values[rng.integers(len(values), size=(400, len(values)))].mean(1)
    return Interval(values.mean(), *np.quantile(drawn, [0.025, 0.975]), len(values))


@pytest.mark.parametrize(
    ("df", "printed"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (7, 2.365), (10, 2.228), (100, 1.984)],
)
def test_t_quantile_is_that_of_printed_tables(df, printed):
    assert t_quantile(df) == pytest.approx(printed, abs=5e-4)


def test_t_interval_covers_with_five_seeds():
    assert coverage(5, lambda values, _: t_interval(values), 4000) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("runs", [10, 20])
def test_the_interquartile_mean_covers(runs):
    held = coverage(runs, lambda values, _: iqm_interval(values), 4000)
    assert held == pytest.approx(0.95, abs=0.02)


def test_the_interquartile_mean_leaves_out_the_quarters():
    values = np.random.default_rng(0).normal(size=11)
    assert iqm_interval(values).estimate == pytest.approx(trim_mean(values, 0.25))
    ruined = np.where(values == values.max(), 1e6, values)
    assert iqm_interval(ruined) == pytest.approx(iqm_interval(values))
    assert math.isnan(iqm_interval([1.0]).half) and math.isnan(iqm_interval([]).estimate)


def test_a_bootstrap_would_be_too_narrow_with_five_seeds():
    """This is why the tables use Student's t."""
    assert coverage(5, bootstrap) < 0.88


def test_pairing_removes_what_seeds_share():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, 6)
    a, b = hard + 1 + rng.normal(0, 0.1, 6), hard + rng.normal(0, 0.1, 6)
    paired = paired_interval(a, b)
    assert paired.excludes_zero and paired.low < 1 < paired.high
    assert paired.half < t_interval(a).half / 10


def test_one_seed_has_no_interval():
    interval = t_interval([2.5])
    assert interval.estimate == 2.5 and interval.n == 1
    assert math.isnan(interval.half) and not interval.excludes_zero


def test_no_value_has_no_mean():
    interval = t_interval([])
    assert interval.n == 0 and math.isnan(interval.estimate) and math.isnan(interval.half)


def test_pairs_must_match():
    with pytest.raises(ValueError, match="equal shapes"):
        paired_interval([1.0, 2.0], [1.0])
