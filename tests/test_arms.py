"""The arms are settings of one loop, each as its name says."""

import numpy as np
import torch

from minirec import fit_deepfm, pipeline
from minirec.config import config_from
from minirec.problem import load_problem, prepare
from minirec.rl import agents, arms
from minirec.rl.agent import PolicyAgent
from minirec.runs import TINY
from test_rl import demonstration


def test_every_arm_learns_in_the_settings_that_it_names():
    config = config_from(TINY)
    problem = load_problem(config)
    setup = prepare(problem, config, 0)
    model = fit_deepfm(setup.split.train, problem.catalogue, seed=0, dim=6, hidden=16, epochs=2)
    env, users = setup.training_env(model), setup.split.train_users[:3]
    free = [np.flatnonzero(row)[:2] for row in setup.start.unseen(users)]
    shown = [demonstration(env, acts, user) for user, acts in zip(users, free, strict=True)]
    demos = {"": None} | pipeline.deal(setup, shown, "cpu")
    for name, spec in arms.ARMS.items():
        arm = pipeline.Arm(name, setup, model, demos[spec.shown], None, "cpu")
        learner = pipeline.make_learner(arm)
        assert type(learner) is spec.learner
        assert all(getattr(learner.config, key) == value for key, value in spec.settings.items())
        before = [parameter.clone() for parameter in learner.policy.parameters()]
        agents.train(learner, learner.steps + 1, lambda n: None)
        after = learner.policy.parameters()
        assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
        paid = learner.collector.env.source.rewards(np.zeros(3, int), np.arange(3))
        plain = env.source.rewards(np.zeros(3, int), np.arange(3))
        assert (paid < plain).all() == bool(learner.config.caution)
        assert (learner.policy.prior is not None) == learner.config.prior


def test_with_a_prior_an_untrained_policy_ranks_as_the_world_model_does():
    config = config_from(dict(TINY) | {"learner": TINY["learner"] | {"prior": True, "hidden": 16}})
    setup = prepare(load_problem(config), config, 0)
    model = fit_deepfm(setup.split.train, setup.problem.catalogue, seed=0, dim=6, epochs=8)
    learner = pipeline.make_learner(pipeline.Arm("any", setup, model, None, None, "cpu"))
    env, users = setup.training_env(model), setup.split.train_users[:40]
    agent, obs = PolicyAgent(learner.policy, "untrained"), env.reset(users)
    agent.start(obs, users)
    logits = learner.policy.act(agent.table, agent.state, torch.ones(40, env.n_items).bool())[0]
    expected = env.source.predict_histories(obs["items"], obs["rewards"])
    pairs = zip(logits.detach().numpy(), expected, strict=True)
    assert np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]) > 0.9
