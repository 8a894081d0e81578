"""A reward source of your own: what a user has given to the genres of an item so far."""

import numpy as np
import pandas as pd
import torch

from minirec._io import generator, torch_generator
from minirec.data.smallworld import small_world
from minirec.evidence.metrics import play
from minirec.rl.agent import PolicyAgent
from minirec.rl.agents import A2C, train
from minirec.rl.rollout import Collector
from minirec.rl.settings import LearnerConfig
from minirec.world.batched import BatchedRecEnv
from minirec.world.controls import UniformRandom
from minirec.world.env import RecEnv
from minirec.world.histories import Histories
from minirec.world.oracle import feasible_oracle
from minirec.world.rules import QuitRules
from minirec.world.sources import check_source
from minirec.world.thresholds import fail_quantile


class GenreMeans:
    """Pays the mean rating that the user has given to the item's genres, drawn to 3."""

    def __init__(self, log, genres):
        shares = pd.DataFrame(genres[log.items])  # (M, G), a row for each rating of the log
        given = shares.mul(log.ratings, axis=0).groupby(log.users).sum()
        means = (given + 3) / (shares.groupby(log.users).sum() + 1)
        self.means, self.genres = means.to_numpy(np.float32), genres  # (U, G) and (N, G)
        self.n_users, self.n_items = len(self.means), len(genres)

    def rewards(self, users, items):
        return (self.means[users] * self.genres[items]).sum(1)

    def item_vectors(self):
        return self.genres


world, (seen, unseen) = small_world(), np.split(np.arange(2000), [1600])
source = GenreMeans(world.log, world.catalogue.genre_matrix())
check_source(source)
least = fail_quantile(source, seen, 0.33, generator(0, "threshold"))
rules, histories = QuitRules(least, max_turns=30, repeats="masked"), Histories.from_log(world.log)
env = BatchedRecEnv(source, rules, histories)

collector = Collector(env, seen, 16, generator(0, "users"), torch_generator(0, "actions"))
features, batches = torch.from_numpy(source.item_vectors()), torch_generator(0, "batches")
learner = A2C(features, collector, LearnerConfig(), seed=0, generator=batches)
train(learner, 5_000, lambda steps: None)
oracle = feasible_oracle(source, rules, histories, unseen)[0].mean()
for policy in UniformRandom(generator(0, "random")), PolicyAgent(learner.policy, "A2C"):
    print(f"{policy.name}: {play(policy, env, unseen).returns.mean() / oracle:.0%} of the oracle")

single = RecEnv(source, rules, histories)  # the same world, for Gymnasium
single.reset(options={"user": 7})
print(f"user 7, item 0: {single.step(0)[1]:.2f} rating points")
