from __future__ import annotations

import dataclasses
import json
import tomllib

import pytest

from minirec._io import UserError
from minirec.config import Config, DemosConfig, RulesConfig, config_from, load_config, reference

CHANGED = {"rules": {"min_reward": 2, "preset": "billp"}, "evaluation": {"judged_at": [5, 7]}}


def test_the_reference_is_toml_and_says_the_defaults():
    tables = tomllib.loads(reference())
    defaults = json.loads(json.dumps(Config().to_json()))
    assert tables == {
        name: {key: value for key, value in table.items() if value is not None}
        for name, table in defaults.items()
    }


def test_the_reference_tells_unit_and_meaning_of_every_setting():
    lines = reference().splitlines()
    for section in dataclasses.fields(Config):
        for item in dataclasses.fields(getattr(Config(), section.name)):
            told = lines.index(f"# {item.metadata['meaning']} [{item.metadata['unit']}]")
            assert lines[told + 1].removeprefix("# ").startswith(f"{item.name} =")


def test_settings_come_back_from_files(tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text(reference(), encoding="utf-8")
    assert load_config(file) == load_config(None) == Config()
    file.write_text("[rules]\nmin_reward = 2\npreset = 'billp'\n[evaluation]\njudged_at = [5, 7]\n")
    assert load_config(file) == config_from(CHANGED)


def test_settings_come_back_from_json_and_reading_changes_nothing():
    stored = json.dumps(config_from(CHANGED).to_json())
    tables = json.loads(stored)
    config = config_from(tables)
    assert (config.rules.min_reward, config.evaluation.judged_at) == (2.0, (5, 7))
    assert json.dumps(tables) == stored
    assert json.dumps(config.to_json()) == stored


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"learner": {"step": 5}}, "no setting 'step'. Did you mean 'steps'?"),
        ({"leaner": {}}, "no table [leaner].* Did you mean 'learner'?"),
        ({"learner": 5}, "no table [learner]"),
        ({"learner": {"steps": "many"}}, "learner.steps is 'many'; it must be int"),
        ({"learner": {"steps": 5.5}}, "learner.steps is 5.5; it must be int"),
        ({"learner": {"steps": True}}, "learner.steps is True; it must be int"),
        ({"learner": {"steps": 0}}, "learner.steps is 0; it must be at least 1"),
        ({"learner": {"rate": float("nan")}}, "learner.rate is nan; it must be at least 0"),
        ({"learner": {"discount": 1.5}}, "is 1.5; it must be at least 0 and at most 1"),
        ({"rules": {"min_reward": float("inf")}}, "is inf; it must be finite"),
        ({"rules": {"min_reward": "low"}}, "must be float"),
        ({"rules": {"preset": "no_repeats"}}, "Did you mean 'no_repeat'?"),
        ({"data": {"test_share": -0.5}}, "data.test_share is -0.5"),
        ({"data": {"k_core": -1}}, "data.k_core is -1; it must be at least 0"),
        ({"demos": {"chat": "gpt"}}, "demos.chat is 'gpt'; use one of simulated, ollama:MODEL"),
        ({"demos": {"chat": "ollama:"}}, "demos.chat is 'ollama:'; use one of simulated"),
        ({"demos": {"vectors": "bert"}}, "demos.vectors is 'bert'; use one of none, ngrams"),
        ({"evaluation": {"judged_at": [5, "x"]}}, "judged_at is 'x'; it must be int"),
        ({"evaluation": {"judged_at": [0]}}, "judged_at is 0; it must be at least 1"),
        ({"evaluation": {"judged_at": 5}}, "judged_at is 5; it must be"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named_with_its_value(tables, said):
    with pytest.raises(UserError) as caught:
        config_from(tables)
    first, _, second = said.partition(".* ")
    assert first in str(caught.value)
    assert second in str(caught.value)


def test_names_are_checked_however_settings_are_made():
    with pytest.raises(UserError, match="no quit rules"):
        RulesConfig(preset="forever")
    with pytest.raises(UserError, match="ollama"):
        DemosConfig(chat="gpt")
