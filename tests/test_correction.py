"""What demonstrations tell beyond a log, and how much of it the log bears out."""

import numpy as np
import pytest
import torch

from minirec import fit_deepfm, pipeline
from minirec.config import config_from
from minirec.irl.choices import Choices, Learned, fit_choices
from minirec.problem import load_problem, prepare
from minirec.rl.correction import choices_of, corrected, trust_in
from minirec.runs import TINY
from minirec.world.deepfm import held_out
from test_rl import demonstration

N, D, M = 12, 2, 3000


def chosen(taste_error=None, fashion=None, sharpness=3.0, size=M):
    """Choices by a demonstrator that knows more than the scores say, or follows a fashion."""
    rng = np.random.default_rng(0)
    tastes, vectors = rng.normal(size=(size, D)), rng.normal(size=(N, D))
    free = rng.random((size, N)) < 0.8
    free[:, 0] = True
    scores = tastes @ vectors.T
    more = np.zeros((N, D)) if taste_error is None else taste_error
    logits = sharpness * (scores + tastes @ more.T) + (0 if fashion is None else fashion)
    noise = rng.gumbel(size=logits.shape)
    return Choices(scores, tastes, np.where(free, logits + noise, -np.inf).argmax(1), free)


def test_choices_tell_what_the_scores_lack():
    taste_error, fashion = np.zeros((N, D)), np.zeros(N)
    taste_error[3], fashion[5] = [1.0, -1.0], 2.0
    told = fit_choices(chosen(taste_error, fashion), np.where(np.arange(N) == 3, 0, 50), spread=3)
    assert told.sharpness == pytest.approx(3, rel=0.15)
    others = np.delete(told.vectors, 3, 0)
    differs = told.vectors[3] - others.mean(0)  # what all share, no choice tells
    assert np.allclose(differs, taste_error[3], atol=0.3)
    assert np.linalg.norm(others - others.mean(0), axis=1).max() < 0.4
    liked = told.common * told.sharpness
    assert liked[5] - np.median(liked) == pytest.approx(2, abs=0.3)
    assert abs(told.common.sum()) < 1e-2  # a level in common would not show


def test_the_fit_is_where_no_direction_is_more_probable():
    choices, counts = chosen(), np.arange(N)
    told = fit_choices(choices, counts, spread=0.5, common=1.0)

    def loss(vectors, common, sharpness):
        total = (vectors**2 * (1 + counts[:, None]) / 0.25).sum() / 2
        total += ((common * sharpness) ** 2).sum() / 2
        for row in range(M):
            logits = sharpness * (choices.scores[row] + vectors @ choices.tastes[row] + common)
            free = np.exp(logits[choices.free[row]])
            total += np.log(free.sum()) - logits[choices.acts[row]]
        return total

    best = loss(told.vectors, told.common, told.sharpness)
    rng = np.random.default_rng(1)
    for _ in range(6):
        step = 0.05 * rng.normal(size=(N, D))
        assert loss(told.vectors + step, told.common, told.sharpness) > best
        assert loss(told.vectors, told.common + step[:, 0], told.sharpness) > best
    assert loss(told.vectors, told.common, 1.2 * told.sharpness) > best


def test_what_many_have_rated_moves_less():
    taste_error = np.random.default_rng(2).normal(size=(N, D))
    few = fit_choices(chosen(taste_error), np.zeros(N, int))
    many = fit_choices(chosen(taste_error), np.full(N, 1000))
    assert np.linalg.norm(many.vectors) < 0.2 * np.linalg.norm(few.vectors)


def test_choices_without_noise_are_sharp_and_no_more():
    told = fit_choices(chosen(sharpness=1e6, size=40), np.full(N, 50))
    assert 10 < told.sharpness < 31
    assert all(np.isfinite(part).all() for part in told)


def test_trust_is_what_the_ratings_bear_out():
    rng = np.random.default_rng(0)
    told = Learned(rng.normal(size=(N, D)), rng.normal(size=N), 3.0)
    users, items, noise = rng.normal(size=(M, D + 2)), rng.integers(0, N, M), rng.normal(size=M)
    suits, shared = (users[:, :D] * told.vectors[items]).sum(1), told.common[items]
    for truth in (0, 0), (1, 0), (0, 0.5), (1, 1):
        errors = truth[0] * suits + truth[1] * shared + 0.3 * noise
        assert trust_in(told, users, items, errors).tolist() == pytest.approx(truth, abs=0.05)
    assert trust_in(told, users, items, -suits - shared).tolist() == [0, 0]
    assert trust_in(told, users, items, 3 * suits + 3 * shared).tolist() == [1, 1]


@pytest.fixture(scope="module")
def small():
    config = config_from(TINY)
    problem = load_problem(config)
    setup = prepare(problem, config, 0)
    model = fit_deepfm(setup.split.train, problem.catalogue, seed=0, dim=6, hidden=16, epochs=2)
    env, users = setup.training_env(model), setup.split.train_users[:3]
    free = [np.flatnonzero(row)[:4] for row in setup.start.unseen(users)]
    shown = [demonstration(env, acts, user) for user, acts in zip(users, free, strict=True)]
    return setup, model, shown


def test_a_choice_is_made_by_a_user_as_known_by_then(small):
    setup, model, shown = small
    demos = pipeline.deal(setup, shown, "cpu")["demonstrations"]
    choices = choices_of(model, demos)
    assert len(choices.acts) == sum(map(len, shown)) == len(choices.scores)
    table, n_items = model.catalogue(), setup.problem.catalogue.n_items
    at = 0
    for t in range(4):
        for trajectory in shown:
            if t >= len(trajectory):
                continue
            first = {k: trajectory.obs[k][0] for k in ("items", "rewards")}
            items = np.append(first["items"], trajectory.acts[:t])
            rewards = np.append(first["rewards"], trajectory.rews[:t])
            there = items < n_items
            rows = torch.tensor(items[there]), torch.tensor(rewards[there]).float()
            owner = torch.zeros(there.sum(), dtype=torch.long)
            user = model.encode(table, *rows, owner, 1)
            assert np.allclose(choices.tastes[at], user[0, :-2].detach(), atol=1e-5)
            scores = model.all_items(table, user)[0]
            assert np.allclose(choices.scores[at], scores.detach(), atol=1e-4)
            free = setup.start.unseen(np.array([trajectory.user]))[0]
            free[trajectory.acts[:t]] = False
            assert choices.free[at].tolist() == free.tolist()
            assert choices.acts[at] == trajectory.acts[t]
            at += 1


def test_a_moved_model_predicts_by_so_much_more(small):
    setup, model, _ = small
    n_items = setup.problem.catalogue.n_items
    same = model.moved(torch.zeros(n_items, 5), torch.zeros(n_items))
    for name, weight in model.state_dict().items():
        assert torch.allclose(weight, same.state_dict()[name], atol=1e-6), name
    vectors, more = torch.randn(n_items, 5), torch.randn(n_items)
    moved, before = model.moved(vectors, more).catalogue(), model.catalogue()
    assert torch.allclose(moved.baseline, before.baseline + more, atol=1e-5)
    assert torch.allclose(moved.vectors[:, :-1], before.vectors[:, :-1] + vectors, atol=1e-5)
    assert torch.equal(moved.vectors[:, -1], before.vectors[:, -1])


def test_the_held_out_rows_are_those_that_the_fit_held_out(small):
    setup, model, _ = small
    users, items, errors = held_out(model, setup.split.train, 0)
    assert len(users) == len(items) == len(errors)
    assert len(errors) / len(setup.split.train.items) == pytest.approx(0.1, abs=0.03)
    assert float(errors.square().mean().sqrt()) == pytest.approx(float(model.errors[0]), abs=1e-6)


def test_what_the_log_does_not_bear_out_is_left(small, monkeypatch):
    setup, model, shown = small
    demos, log = pipeline.deal(setup, shown, "cpu")["demonstrations"], setup.split.train
    for trust in ([0.0, 0.0], [0.5, 1.0]):
        monkeypatch.setattr("minirec.rl.correction.trust_in", lambda *_, t=trust: np.array(t))
        mended, told, _ = corrected(model, demos, log, 0)
        difference = mended.catalogue().baseline - model.catalogue().baseline
        assert np.allclose(difference.detach(), trust[1] * told.common, atol=1e-5)
        turned = (mended.catalogue().vectors - model.catalogue().vectors)[:, :-1]
        assert np.allclose(turned.detach(), trust[0] * told.vectors, atol=1e-5)
        assert abs(told.vectors).max() > 0


def test_only_an_arm_that_corrects_plays_in_a_corrected_world(small):
    setup, model, shown = small
    dealt = pipeline.deal(setup, shown, "cpu")
    for name in ("minirec", "minirec without demonstrations", "IL-Rec"):
        demos = None if "without" in name else dealt["demonstrations"]
        learner = pipeline.make_learner(pipeline.Arm(name, setup, model, demos, None, "cpu"))
        expected = corrected(model, demos, setup.split.train, 0)[0] if name == "minirec" else model
        source = learner.collector.env.source
        playing = getattr(source, "source", source).model
        for key, weight in expected.state_dict().items():
            assert torch.equal(weight, playing.state_dict()[key]), (name, key)
