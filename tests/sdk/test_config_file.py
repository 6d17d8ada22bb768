"""A config from a file and from settings: typed, the nearest name, and which of two wins."""

from __future__ import annotations

import json

import pytest

from rle import DuckDBConnector
from rle.errors import UnknownNameError, ValidationError
from rle.sdk.config_file import read_config

BOTH = ["device=cpu", "n_epochs=2"]


@pytest.fixture
def connector(tmp_path):
    return DuckDBConnector(database=str(tmp_path / "shop.duckdb"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("lr=0.01", 0.01),
        ("lr=1e-3", 0.001),
        ("seed=010", 10),
        ("fanouts=[32, 8]", (32, 8)),
        ("max_iters=null", None),
        ("max_iters=", None),
        ("backtrack=true", True),
        ("class_weights=balanced", "balanced"),
        ("class_weights={1: 3}", {"1": 3.0}),
        (" channels = 64 ", 64),
        ("text_embedder=a=b", "a=b"),
    ],
)
def test_a_setting_has_the_type_of_its_field(connector, setting, value):
    config = read_config(settings=[*BOTH, setting], connector=connector)
    assert getattr(config, setting.partition("=")[0].strip()) == value
    assert config.connector == connector


def test_settings_win_over_the_file_and_the_last_of_two_wins(connector, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("device: cpu\nn_epochs: 3\nlr: 0.1\nfanouts: [4]\n")
    config = read_config(file, settings=["lr=0.5", "lr=0.2"], connector=connector)
    assert (config.n_epochs, config.lr, config.fanouts) == (3, 0.2, (4,))


def test_a_file_may_be_json_and_may_name_its_connector(connector, tmp_path):
    other = {"kind": "duckdb", "database": str(tmp_path / "other.duckdb")}
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"device": "cpu", "n_epochs": 3, "connector": other}))
    config = read_config(file, connector=connector)
    assert config.connector.stem == "other"


@pytest.mark.parametrize("setting", ["lr", "=3", " = ", ""])
def test_a_setting_without_a_name_or_a_value_is_refused(connector, setting):
    with pytest.raises(ValidationError, match="name=value"):
        read_config(settings=[*BOTH, setting], connector=connector)


def test_an_unknown_field_names_the_nearest(connector, tmp_path):
    with pytest.raises(ValidationError, match="Did you mean 'n_epochs'"):
        read_config(settings=["device=cpu", "nepochs=3"], connector=connector)
    file = tmp_path / "config.yaml"
    file.write_text("device: cpu\nn_epoch: 3\n")
    with pytest.raises(ValidationError, match=r"(?s)config\.yaml.*Did you mean 'n_epochs'"):
        read_config(file, connector=connector)


def test_what_yaml_cannot_read_is_refused(connector, tmp_path):
    with pytest.raises(ValidationError, match="'fanouts'"):
        read_config(settings=[*BOTH, "fanouts=[1,"], connector=connector)
    file = tmp_path / "config.yaml"
    binary = tmp_path / "data.yaml"
    binary.write_bytes(b"\xd9\x00")
    with pytest.raises(ValidationError, match="neither YAML nor JSON: it is no text"):
        read_config(binary, connector=connector)
    for text, reason in {"a: [": "neither YAML nor JSON", "- 1": "a config, but list"}.items():
        file.write_text(text)
        with pytest.raises(ValidationError, match=reason):
            read_config(file, connector=connector)
    with pytest.raises(ValidationError, match="There is no file"):
        read_config(tmp_path / "none.yaml", connector=connector)


def test_a_missing_field_is_named(connector):
    with pytest.raises(ValidationError, match="n_epochs") as caught:
        read_config(settings=["device=cpu"], connector=connector)
    assert not isinstance(caught.value, UnknownNameError)
