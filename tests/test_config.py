"""A config is the same thing as an object, a dictionary and a YAML file."""

from dataclasses import replace

import pytest

from anyjepa import create, names
from anyjepa.config import from_dict, read_yaml, to_dict, to_yaml
from anyjepa.errors import ConfigError
from anyjepa.methods.ijepa import IJEPAConfig
from anyjepa.methods.lejepa import LeJEPAConfig
from anyjepa.registry import entry


@pytest.mark.parametrize("name", names())
def test_yaml_round_trip_of_every_method(name, tmp_path):
    config = entry(name).config(size="small") if name == "ijepa" else entry(name).config()
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config))
    assert from_dict(type(config), read_yaml(file)) == config


def test_a_fitted_config_round_trips():
    config = IJEPAConfig(size="nano").fit((1, 28, 32))
    assert from_dict(IJEPAConfig, to_dict(config)) == config


def test_a_group_keeps_the_constants_of_its_method():
    config = from_dict(
        LeJEPAConfig, {"optim": {"steps": 7}, "regularizer": {"weight": 0.1}, "local": {"flip": 0.0}}
    )
    default = LeJEPAConfig()
    assert config.optim == replace(default.optim, steps=7) and config.optim.lr == 2e-3
    assert config.regularizer == replace(default.regularizer, weight=0.1)
    assert config.local == replace(default.local, flip=0.0)


@pytest.mark.parametrize(
    "values, expected",
    [
        ({"imgae_size": [32, 32]}, "did you mean 'image_size'"),
        ({"optim": {"warmup": 3}}, "unknown key 'optim.warmup': did you mean 'warmup_steps'"),
        ({"size": "smal"}, "did you mean 'small'"),
        ({"target": "emma"}, "did you mean 'ema'"),
        ({"dim": "wide"}, "dim must be int"),
        ({"registers": True}, "registers must be int"),
        ({"image_size": [32]}, "image_size must have 2 values"),
        ({"ema": 0.9}, "ema must be a list"),
        ({"optim": 3}, "optim must be a group of keys"),
        ({"ema": [0.9, 1.5]}, "ema must lie in"),
    ],
)
def test_a_wrong_value_is_named_with_what_would_work(values, expected):
    with pytest.raises(ConfigError, match=expected):
        from_dict(IJEPAConfig, values)


def test_an_integer_serves_as_a_float():
    assert from_dict(IJEPAConfig, {"drop_path": 0, "optim": {"lr": 1}}).optim.lr == 1.0


def test_unknown_method_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'ijepa'"):
        create("ijpea")


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "just text"])
def test_a_file_that_is_no_config(tmp_path, text):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError):
        read_yaml(file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        read_yaml(tmp_path / "none.yaml")


def test_yaml_cannot_execute(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("size: !!python/object/apply:os.system ['touch pwned']\n")
    with pytest.raises(ConfigError):
        read_yaml(file)
