"""The learner's settings do what they say: what is paid, how the discriminator starts, weights."""

import math
from dataclasses import replace

import pytest
import torch

from minirec import UserError
from minirec.irl.rewards import RewardForm
from minirec.rl.imitation import Demonstrations
from minirec.rl.learner import ILRec
from minirec.rl.settings import LearnerConfig
from minirec.world.rules import QuitRules
from test_rl import N, demonstration, make_collector, make_env

STAY = QuitRules(min_reward=-1, max_turns=4, repeats="masked")
CONFIG = LearnerConfig(segment=4, disc_batch=16, memory_steps=0)


def learner(**changed):
    env = make_env(STAY)
    shown = [demonstration(env, [5, 6, 7]), demonstration(env, [7, 8], 1)]
    demos = Demonstrations.pack(shown, env.histories)
    return ILRec(
        torch.eye(N), make_collector(env), demos, replace(CONFIG, **changed), seed=0,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def paid_by(made, monkeypatch):
    """Run one adversarial round and return what the actor-critic step was paid, (T, B)."""
    seen = []
    monkeypatch.setattr(made, "improve_on", lambda segment, rewards: seen.append(rewards))
    made.adversarial()
    return seen[0]


def test_the_learned_reward_alone_as_it_is(monkeypatch):
    made = learner(task=0.0, bonus=1.0, standardise=False, form="gail")
    paid = paid_by(made, monkeypatch)
    from minirec.rl.learner import as_transitions

    expected = made.discriminator.pay(as_transitions(made.segment), RewardForm.GAIL)
    assert torch.allclose(paid.flatten(), expected) and (paid > 0).all()
    assert not made.discriminator.structured and learner().discriminator.structured


def test_the_learned_reward_as_a_standardised_bonus(monkeypatch):
    made = learner(bonus=0.1)
    bonus = paid_by(made, monkeypatch) - made.segment.rewards
    assert bonus.mean().item() == pytest.approx(0, abs=1e-5)
    assert bonus.std().item() == pytest.approx(0.1, abs=1e-3)


def test_an_even_start_takes_the_uniform_policys_surprise_out_of_the_logits():
    logits = {}
    for even in (True, False):
        made = learner(even_start=even, disc_steps=1)
        made.adversarial()
        logits[even] = made.statistics["logit_policy"]
    assert logits[False] - logits[True] == pytest.approx(math.log(N), abs=1e-4)
    plain, even = (learner(form="gail", even_start=e).discriminator for e in (False, True))
    pairs = zip(plain.parameters(), even.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_weights_follow_the_learner():
    made = learner()
    assert (made.weights == 1).all()
    before = made.weights.clone()
    for _ in range(3):
        made.adversarial()
        now = made.weights[made.demos.valid]
        assert now.mean().item() == pytest.approx(1, abs=1e-5)
        assert not torch.equal(made.weights, before)
        before = made.weights.clone()


def test_an_unknown_form_is_refused():
    with pytest.raises(UserError, match=r"learner\.form is 'gale'; use one of reward"):
        LearnerConfig(form="gale")
