"""The example end to end, with a few steps of training: the second run finds the model."""

from __future__ import annotations

from functools import partial

import pytest

import rle
from examples import score_with_registered_model as example
from rle.runs.folders import home


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_there")
def test_a_table_is_scored_by_name_and_version_and_the_model_is_trained_once(monkeypatch, capsys):
    monkeypatch.setattr(rle, "TrainerConfig", partial(rle.TrainerConfig, max_iters=3))
    for _ in range(2):
        example.main()
    told = " ".join(capsys.readouterr().out.split())
    assert told.count("Successfully registered model 'player-out' with version '1'") == 1
    assert told.count("player-out.1 scored 1443 players: lahman.main.PREDICTIONS_ASKED_") == 2
    (model,) = rle.ModelManager().list_models(example.EXPERIMENT)
    connector = rle.DuckDBConnector(database=str(home() / "examples" / "lahman.duckdb"))
    made = [name for name in connector.sources() if "PREDICTIONS_ASKED_" in name]
    rows = connector.sample(made[0], max_rows=10**6)
    assert rows.num_rows == 1443
    assert rows["PREDICTION"].null_count == 0
    assert model.has_model
