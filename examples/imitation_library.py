"""Demonstrations to the `imitation` library, and what its policy plays back to minirec."""

import numpy as np
from gymnasium.wrappers import FlattenObservation
from imitation.algorithms.bc import BC
from imitation.data.rollout import make_min_episodes, rollout
from imitation.util import logger
from stable_baselines3.common.vec_env import DummyVecEnv

from minirec.data.smallworld import small_world
from minirec.demos.actor import demonstrate
from minirec.demos.audit import audit
from minirec.demos.grounding import Grounder
from minirec.demos.simulated import SimulatedChat
from minirec.world.env import RecEnv
from minirec.world.histories import Histories
from minirec.world.rules import RULES
from minirec.world.sources import TruthSource
from minirec.world.trajectory import from_imitation, to_imitation

world = small_world()
titles, genres = world.catalogue.titles, world.catalogue.genres
given = TruthSource(world), RULES["no_repeat"], Histories.from_log(world.log)
chat = SimulatedChat(titles, genres, world.item_factors, world.quality)
shown = [t for t in demonstrate(*given, range(40), chat, Grounder(titles)) if len(t)]

space = RecEnv(*given).observation_space
flat = [to_imitation(trajectory, space) for trajectory in shown]
back = [from_imitation(trajectory, space) for trajectory in flat]
same = [a.infos == b.infos and (a.acts == b.acts).all() for a, b in zip(shown, back, strict=True)]
print(f"{len(flat)} demonstrations, flat: {flat[0].obs.shape[1]} numbers; back: {all(same)}")

venv = DummyVecEnv([lambda: FlattenObservation(RecEnv(*given))])
cloning = BC(
    observation_space=venv.observation_space, action_space=venv.action_space,
    demonstrations=flat, rng=np.random.default_rng(0), custom_logger=logger.configure(None, ()),
)  # fmt: skip
cloning.train(n_epochs=1, progress_bar=False)
told = {"unwrap": False, "exclude_infos": False, "rng": np.random.default_rng(0)}
played = rollout(cloning.policy, venv, make_min_episodes(20), **told)
found = audit([from_imitation(trajectory, space) for trajectory in played])
print(f"{found['episodes']} episodes of its policy end by {' or '.join(sorted(found['ends']))}")
