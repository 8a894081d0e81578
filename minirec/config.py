"""All settings of a run, their units and meanings; read from TOML, checked, printed."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minirec._io import UserError, setting, suggest
from minirec.demos.roles import roles_named
from minirec.demos.simulated import SimulatedDials
from minirec.rl.settings import LearnerConfig
from minirec.world.rules import rules_named


@dataclass(frozen=True)
class DataConfig:
    """Where the catalogue and the log come from."""

    folder: str | None = setting(None, "path", "folder with interactions.csv[.gz] and items.csv[.gz]; unset: the small world")  # noqa: E501 fmt: skip
    world: int = setting(0, "seed", "which small world; nothing was tuned on 1", least=0)
    k_core: int = setting(5, "rows", "keep users and items with at least this many rows", least=0)
    min_rating: float | None = setting(None, "rating", "keep rows rated above this, on the log's own scale", least=-math.inf)  # noqa: E501 fmt: skip
    test_share: float = setting(0.2, "share", "users that no stage sees before the evaluation")


@dataclass(frozen=True)
class RulesConfig:
    """When users quit."""

    preset: str = setting("no_repeat", "name", "no_repeat, ilrec or billp")
    min_reward: float | None = setting(None, "rating points", "quit below this; unset: 2.0 under the truth, by first_failure under a model", least=-math.inf)  # noqa: E501 fmt: skip
    first_failure: float = setting(0.33, "share", "how often a uniformly random first pick fails, wherever min_reward is not set")  # noqa: E501 fmt: skip
    near_pairs: float = setting(0.024, "share", "how many pairs of items are too near, under ilrec and billp; 0: an item and itself")  # noqa: E501 fmt: skip
    max_turns: int | None = setting(None, "items", "longest episode; unset: the preset's")

    def __post_init__(self) -> None:
        rules_named(self.preset)


@dataclass(frozen=True)
class WorldConfig:
    """The world model (DeepFM over histories)."""

    dim: int = setting(16, "numbers", "size of an embedding")
    hidden: int = setting(64, "numbers", "width of the deep part")
    epochs: int = setting(30, "passes", "most passes over the log; training stops early", least=0)


@dataclass(frozen=True)
class DemosConfig:
    """The demonstrations."""

    chat: str = setting("simulated", "name", "chat model: simulated, ollama:MODEL, openai:MODEL, or transcript:FILE")  # noqa: E501 fmt: skip
    hosts: str | None = setting(None, "addresses", "of the servers, commas between them; unset: OLLAMA_HOST, or the client's default")  # noqa: E501 fmt: skip
    calls: int = setting(8, "calls", "how many at a time, unless the model is simulated")
    timeout: float = setting(120.0, "seconds", "longest wait for one reply")
    roles: str = setting("think", "name", "who speaks: act, think, reflect or billp")
    json: bool = setting(False, "yes or no", "ask for JSON objects, to a schema where the model knows how")  # noqa: E501 fmt: skip
    vectors: str = setting("none", "name", "where no spelling is near, ground by text vectors: ngrams, ollama:MODEL or sentences:MODEL; none: by spelling alone")  # noqa: E501 fmt: skip
    episodes: int = setting(90, "episodes", "one for each of so many training users")
    turns: int = setting(12, "items", "longest demonstration, so that many users are shown")
    judged: int = setting(200, "users", "unseen users that the demonstrator itself is judged on")
    knowledge_noise: float = setting(SimulatedDials.knowledge_noise, "standard deviations", "simulated: noise on what it knows of the items")  # noqa: E501 fmt: skip
    hallucination: float = setting(SimulatedDials.hallucination, "share", "simulated: how often it writes a title wrongly")  # noqa: E501 fmt: skip
    popularity_bias: float = setting(SimulatedDials.popularity_bias, "rating points", "simulated: bonus for a standard deviation of fame")  # noqa: E501 fmt: skip
    format_error: float = setting(SimulatedDials.format_error, "share", "simulated: how often its reply breaks the format")  # noqa: E501 fmt: skip

    def __post_init__(self) -> None:
        chats = "simulated", "ollama:MODEL", "openai:MODEL", "transcript:FILE"
        _known("demos.chat", self.chat, *chats)
        _known("demos.vectors", self.vectors, "none", "ngrams", "ollama:MODEL", "sentences:MODEL")
        roles_named(self.roles)


@dataclass(frozen=True)
class EvaluationConfig:
    """Judging."""

    users: int = setting(400, "users", "at most so many unseen users in the results table")
    curve_users: int = setting(200, "users", "at most so many of them in the learning curves")
    judged_at: tuple[int, ...] = setting((500, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 20_000), "environment steps", "when the learning curves are judged")  # noqa: E501 fmt: skip


@dataclass(frozen=True)
class Config:
    """All settings; each field is a table of the TOML file."""

    data: DataConfig = field(default_factory=DataConfig)
    rules: RulesConfig = field(default_factory=RulesConfig)
    world: WorldConfig = field(default_factory=WorldConfig)
    demos: DemosConfig = field(default_factory=DemosConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as nested plain values."""
        return dataclasses.asdict(self)


def load_config(path: str | Path | None) -> Config:
    """Read settings from a TOML file; what it does not name keeps its default.

    Raises:
        UserError: If the file cannot be read, or a name or value is not one of the settings.
    """
    if path is None:
        return Config()
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no settings file {path}; `minirec config > {path}` writes one") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not TOML ({error}); mend it") from None
    return config_from(tables, str(path))


def config_from(tables: dict[str, Any], origin: str = "settings") -> Config:
    """Build a :class:`Config` from nested dictionaries, checking every name and type."""
    config, names = Config(), Config.__dataclass_fields__
    for name, table in tables.items():
        if name not in names or not isinstance(table, dict):
            mend = f"use one of {', '.join(names)}.{suggest(name, names)}"
            raise UserError(f"{origin}: no table [{name}]; {mend}")
        section = getattr(config, name)
        hints, known = typing.get_type_hints(type(section)), section.__dataclass_fields__
        values = {}
        for key, value in table.items():
            if key not in known:
                mend = f"{suggest(key, known)} `minirec config` lists them all"
                raise UserError(f"{origin}: [{name}] has no setting {key!r}.{mend}")
            label = f"{origin}: {name}.{key}"
            values[key] = _checked(value, hints[key], label)
            _in_range(values[key], known[key], label)
        config = dataclasses.replace(config, **{name: dataclasses.replace(section, **values)})
    return config


def reference() -> str:
    """Return all settings with their defaults, units and meanings, as a valid TOML file."""
    lines = []
    for section in dataclasses.fields(Config):
        value = getattr(Config(), section.name)
        lines += [f"[{section.name}]  # {(type(value).__doc__ or '').splitlines()[0]}"]
        for item in dataclasses.fields(value):
            default, unit = getattr(value, item.name), item.metadata["unit"]
            shown = f"{item.name} = {_toml(default)}" if default is not None else f"# {item.name} ="
            lines += [f"# {item.metadata['meaning']} [{unit}]", shown]
        lines += [""]
    return "\n".join(lines)


def _known(name: str, value: str, *kinds: str) -> None:
    """Say so if a value is none of ``kinds``; ``KIND:NAME`` stands for any name."""
    kind, _, named = value.partition(":")
    if value not in kinds and not (named and any(k.startswith(f"{kind}:") for k in kinds)):
        raise UserError(f"{name} is {value!r}; use one of {', '.join(kinds)}")


def _checked(value: Any, kind: Any, name: str) -> Any:
    """Return ``value`` as ``kind`` or say what is wrong with it."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if typing.get_origin(kinds[0]) is tuple and isinstance(value, list):
        return tuple(_checked(item, int, name) for item in value)
    if float in kinds and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not any(k is type(value) for k in kinds):
        wanted = " or ".join(getattr(k, "__name__", str(k)) for k in kinds if k is not type(None))
        raise UserError(f"{name} is {value!r}; it must be {wanted}")
    return value


def _in_range(value: Any, item: dataclasses.Field[Any], name: str) -> None:
    """Say so if a number, or one of several, is out of its setting's range."""
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int | float) and not isinstance(number, bool):
            least = item.metadata["least"]
            if least is None:
                least = 1 if isinstance(number, int) else 0
            most = 1 if item.metadata["unit"] in ("share", "per step") else math.inf
            if not (math.isfinite(number) and least <= number <= most):
                above = "finite" if math.isinf(least) else f"at least {least}"
                upto = "" if math.isinf(most) else f" and at most {most}"
                raise UserError(f"{name} is {number}; it must be {above}{upto}")


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f"{value:_}" if type(value) is int else json.dumps(value)
