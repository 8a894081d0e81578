"""minirec: recommend with a language model once, then serve without it (IL-Rec, step by step)."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "BatchedRecEnv": "world.batched",
    "Catalogue": "data.catalogue",
    "Config": "config",
    "DeepFM": "world.deepfm_model",
    "Demonstrations": "rl.imitation",
    "EnsembleSource": "world.ensemble",
    "Grounder": "demos.grounding",
    "Histories": "world.histories",
    "ILRec": "rl.learner",
    "Interactions": "data.interactions",
    "QuitRules": "world.rules",
    "RULES": "world.rules",
    "RecEnv": "world.env",
    "RecPolicy": "rl.policy",
    "Recommender": "serve",
    "SimulatedChat": "demos.simulated",
    "Trajectory": "world.trajectory",
    "TruthSource": "world.sources",
    "UserError": "_io",
    "demonstrate": "demos.actor",
    "fit_deepfm": "world.deepfm",
    "load_config": "config",
    "load_folder": "data.folder",
    "run": "runs",
    "small_world": "data.smallworld",
}
"""Public name -> module. Names are imported when first used, so ``import minirec`` is fast."""

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'minirec' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"minirec.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
