"""A state tracker of your own: a mean in which a pair counts less, the longer ago it was."""

import numpy as np
import torch
from torch import nn

from minirec._io import generator, torch_generator
from minirec.data.smallworld import small_world
from minirec.rl.agents import A2C, train
from minirec.rl.policy import load_policy
from minirec.rl.rollout import Collector
from minirec.rl.settings import LearnerConfig
from minirec.rl.trackers import TRACKERS, Tracker
from minirec.world.batched import BatchedRecEnv
from minirec.world.histories import Histories
from minirec.world.rules import RULES
from minirec.world.sources import TruthSource


class DecayTracker(Tracker):
    """How fast the past fades is learned: by the factor sigmoid(rate) with each new pair."""

    def __init__(self, dim, width):
        super().__init__(dim, width)
        self.size = 2 * dim + 2  # of the memory: sums of vectors, products and likings; a count
        self.rate, self.layer = nn.Parameter(torch.tensor(1.0)), nn.Linear(2 * dim + 1, width)

    def step(self, memory, vectors, liking):
        pair = torch.cat([vectors, vectors * liking, liking, torch.ones_like(liking)], 1)
        return self.rate.sigmoid() * memory + pair

    def read(self, memory):
        return torch.tanh(self.layer(memory[:, :-1] / memory[:, -1:].clamp(min=1)))


TRACKERS["decay"] = DecayTracker
world = small_world()
env = BatchedRecEnv(TruthSource(world), RULES["no_repeat"], Histories.from_log(world.log))
features = torch.from_numpy(env.source.item_vectors())
items, rewards = torch.tensor([[1, 2, 3], [3, 2, 1]]), torch.tensor([[5.0, 3, 1], [1, 3, 5]])
for name in "average", "decay":
    draws = generator(0, "users"), torch_generator(0, "actions")
    collector, batches = Collector(env, np.arange(1600), 16, *draws), torch_generator(0, "batches")
    learner = A2C(features, collector, LearnerConfig(tracker=name), seed=0, generator=batches)
    train(learner, 2_000, lambda steps: None)
    policy = load_policy(learner.policy.state_dict(), tracker=name)
    there, back = policy.read(policy.start(policy.table(), items, rewards))[0]  # the same three
    print(f"{name}: order matters: {not torch.allclose(there, back, atol=1e-4)}")
moved = abs(policy.tracker.rate.item() - 1)
print(f"the rate is trained with the rest: {moved > 1e-4}")
