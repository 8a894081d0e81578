"""Thresholds act as often as they were asked to, on rewards and vectors of any scale."""

from __future__ import annotations

import numpy as np
import pytest

from minirec import RULES, load_config
from minirec.config import config_from
from minirec.problem import load_problem, prepare
from minirec.world.rules import EXACT_REPEAT
from minirec.world.sources import MatrixSource
from minirec.world.thresholds import fail_quantile, near_quantile


@pytest.fixture(scope="module")
def source() -> MatrixSource:
    rng = np.random.default_rng(0)
    return MatrixSource(100 * rng.gamma(2, size=(60, 90)), 7 * rng.normal(size=(90, 3)))


def test_fail_quantile_fails_that_share(source: MatrixSource) -> None:
    users = np.arange(20, 60)
    threshold = fail_quantile(source, users, 0.33, np.random.default_rng(0))
    assert (source.matrix[users] < threshold).mean() == pytest.approx(0.33, abs=0.02)


@pytest.mark.parametrize("share", [0.024, 0.3])
def test_near_quantile_makes_that_share_of_pairs_too_near(
    source: MatrixSource, share: float
) -> None:
    distance = near_quantile(source, share, np.random.default_rng(0))
    apart = np.linalg.norm(source.vectors[:, None] - source.vectors, axis=-1)
    different = ~np.eye(len(apart), dtype=bool)
    assert (apart[different] < distance).mean() == pytest.approx(share, rel=0.15)


def test_without_near_pairs_an_item_is_near_itself_only(source: MatrixSource) -> None:
    assert near_quantile(source, 0.0, np.random.default_rng(0)) == EXACT_REPEAT
    same = MatrixSource(source.matrix, np.zeros((90, 3)))  # and identical vectors never make it 0
    assert near_quantile(same, 0.5, np.random.default_rng(0)) == EXACT_REPEAT


def test_environments_follow_the_settings() -> None:
    config = config_from({"rules": {"preset": "ilrec", "near_pairs": 0.1}})
    problem = load_problem(load_config(None))
    setup = prepare(problem, config, seed=0)
    env = setup.env(MatrixSource(np.ones((1, 600)), problem.truth.item_factors), np.arange(1), "x")
    vectors = problem.truth.item_factors
    apart = np.linalg.norm(vectors[:, None] - vectors, axis=-1)[~np.eye(600, dtype=bool)]
    assert (apart < env.rules.min_distance).mean() == pytest.approx(0.1, rel=0.1)
    masked = prepare(problem, load_config(None), seed=0)
    assert masked.env(env.source, np.arange(1), "x").rules.min_distance is None
    assert RULES["ilrec"].min_distance == EXACT_REPEAT
