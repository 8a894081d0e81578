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


def chosen(taste_error=None, fashion=None, sharpness=3.0):
    """Choices by a demonstrator that knows more than the scores say, or follows a fashion."""
    rng = torch.Generator().manual_seed(0)
    tastes, vectors = torch.randn(M, D, generator=rng), torch.randn(N, D, generator=rng)
    free = torch.rand(M, N, generator=rng) < 0.8
    free[:, 0] = True
    scores = tastes @ vectors.T
    more = torch.zeros(N, D) if taste_error is None else taste_error
    logits = sharpness * (scores + tastes @ more.T)
    logits = logits + (torch.zeros(N) if fashion is None else fashion)
    shares = logits.masked_fill(~free, -torch.inf).softmax(1)
    acts = torch.multinomial(shares, 1, generator=rng).squeeze(1)
    return Choices(scores, tastes, acts, free)


def test_choices_tell_what_the_scores_lack():
    taste_error = torch.zeros(N, D)
    taste_error[3] = torch.tensor([1.0, -1.0])
    fashion = torch.zeros(N)
    fashion[5] = 2.0
    told = fit_choices(chosen(taste_error, fashion), torch.zeros(N), spread=3, steps=200)
    assert told.sharpness == pytest.approx(3, rel=0.15)
    others = torch.arange(N) != 3
    differs = told.vectors[3] - told.vectors[others].mean(0)  # what all share, no choice tells
    assert torch.allclose(differs, taste_error[3], atol=0.3)
    assert (told.vectors[others] - told.vectors[others].mean(0)).norm(dim=1).max() < 0.4
    liked = told.common * told.sharpness
    assert liked[5] - liked[others].median() == pytest.approx(2, abs=0.3)
    assert told.common.sum().abs() < 1e-3  # a level in common would not show


def test_the_fit_is_where_no_direction_is_more_probable():
    choices, counts = chosen(), torch.arange(N).float()
    told = fit_choices(choices, counts, spread=0.5, common=1.0, steps=300)

    def loss(vectors, common, sharpness):
        total = (vectors.square() * (1 + counts[:, None]) / 0.25).sum() / 2
        total += (common * sharpness).square().sum() / 2
        logits = sharpness * (choices.scores + choices.tastes @ vectors.T + common)
        for row in range(M):
            free = choices.free[row]
            total += logits[row][free].logsumexp(0) - logits[row, choices.acts[row]]
        return float(total)

    best = loss(told.vectors, told.common, told.sharpness)
    rng = torch.Generator().manual_seed(1)
    for _ in range(6):
        step = 0.05 * torch.randn(N, D, generator=rng)
        assert loss(told.vectors + step, told.common, told.sharpness) > best
        assert loss(told.vectors, told.common + step[:, 0], told.sharpness) > best
    assert loss(told.vectors, told.common, 1.2 * told.sharpness) > best


def test_what_many_have_rated_moves_less():
    taste_error = torch.full((N, D), 0.5)
    few = fit_choices(chosen(taste_error), torch.zeros(N))
    many = fit_choices(chosen(taste_error), torch.full((N,), 1000.0))
    assert many.vectors.norm() < 0.2 * few.vectors.norm()


def test_trust_is_what_the_ratings_bear_out():
    rng = torch.Generator().manual_seed(0)
    told = Learned(torch.randn(N, D, generator=rng), torch.randn(N, generator=rng), 3.0)
    users = torch.randn(M, D + 2, generator=rng)
    items = torch.randint(N, (M,), generator=rng)
    noise = torch.randn(M, generator=rng)
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
    demos = pipeline.deal(setup, shown, "cpu")["IL-Rec"]
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
            assert torch.allclose(choices.tastes[at], user[0, :-2], atol=1e-5)
            scores = model.all_items(table, user)[0]
            assert torch.allclose(choices.scores[at], scores, atol=1e-4)
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
    demos, log = pipeline.deal(setup, shown, "cpu")["IL-Rec"], setup.split.train
    for trust in ([0.0, 0.0], [0.5, 1.0]):
        monkeypatch.setattr("minirec.rl.correction.trust_in", lambda *_, t=trust: torch.tensor(t))
        mended, told, _ = corrected(model, demos, log, 0)
        difference = mended.catalogue().baseline - model.catalogue().baseline
        assert torch.allclose(difference, trust[1] * told.common, atol=1e-5)
        turned = (mended.catalogue().vectors - model.catalogue().vectors)[:, :-1]
        assert torch.allclose(turned, trust[0] * told.vectors, atol=1e-5)
        assert told.vectors.abs().max() > 0


def test_only_an_arm_that_corrects_plays_in_a_corrected_world(small):
    setup, model, shown = small
    dealt = pipeline.deal(setup, shown, "cpu")
    for name in ("minirec", "minirec without demonstrations", "IL-Rec"):
        demos = None if "without" in name else dealt["IL-Rec"]
        learner = pipeline.make_learner(pipeline.Arm(name, setup, model, demos, None, "cpu"))
        expected = corrected(model, demos, setup.split.train, 0)[0] if name == "minirec" else model
        source = learner.collector.env.source
        playing = getattr(source, "source", source).model
        for key, weight in expected.state_dict().items():
            assert torch.equal(weight, playing.state_dict()[key]), (name, key)
