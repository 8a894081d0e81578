"""Episodes go to the `imitation` library and come back; see ``imitation_checks.py``."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from imitation_checks import CHECKS, assert_equal, environment, played
from minirec.world.trajectory import Trajectory, from_imitation, to_imitation

ROOT = Path(__file__).parents[1]
PEER = ROOT / ".venv-peers/imitation/bin/python"


class DictObs:
    """As the library's: arrays by name, of one length."""

    def __init__(self, arrays):
        assert all(isinstance(array, np.ndarray) for array in arrays.values())
        self.arrays = dict(arrays)

    def __len__(self):
        [length] = {len(array) for array in self.arrays.values()}
        return length

    def unwrap(self):
        return dict(self.arrays)


@dataclass(frozen=True)
class TrajectoryWithRew:
    """As the library's, with what it checks."""

    acts: np.ndarray
    obs: Any
    infos: np.ndarray | None
    terminal: bool
    rews: np.ndarray

    def __post_init__(self):
        assert len(self.obs) == len(self.acts) + 1 and len(self.acts) > 0
        assert self.infos is None or len(self.infos) == len(self.acts)
        assert self.rews.shape == (len(self.acts),) and self.rews.dtype.kind == "f"


@pytest.fixture
def library(monkeypatch):
    """Put a stand-in in the library's place."""
    types = ModuleType("imitation.data.types")
    types.DictObs, types.TrajectoryWithRew = DictObs, TrajectoryWithRew
    for name in ("imitation", "imitation.data"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "imitation.data.types", types)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_with_a_stand_in(check, library):
    check()


def test_with_the_library():
    here = importlib.util.find_spec("imitation") is not None
    if not here and not PEER.is_file():
        pytest.skip("the imitation library is not there; `make peers` installs it")
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    call = [sys.executable if here else PEER, ROOT / "tests/imitation_checks.py"]
    done = subprocess.run(call, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == len(CHECKS) + 1


def test_a_changed_number_is_noticed(library):
    env = environment()
    theirs = to_imitation(played(env, 1), env.observation_space)
    theirs.obs[1, 0] += 1
    with pytest.raises(AssertionError):
        assert_equal(from_imitation(theirs, env.observation_space), played(env, 1))


def test_what_came_back_can_be_stored(library):
    ours = played(environment(), 1)
    back = from_imitation(to_imitation(ours))
    stored = Trajectory.from_json(back.to_json())
    assert stored.infos == ours.infos and stored.reason == ours.reason
    np.testing.assert_array_equal(stored.obs["items"], ours.obs["items"])
