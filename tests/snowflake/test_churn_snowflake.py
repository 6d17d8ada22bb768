"""The example end to end against the stand-in for Snowflake, with a few steps instead of all."""

from __future__ import annotations

import json
import sys
from functools import partial

import pytest

import rle
from examples import churn_snowflake
from rle.connectors.snowflake.session import close_sessions
from rle.errors import ConnectionError
from rle.testing.fake_snowflake import FakeSnowflake, server_python


@pytest.fixture
def one_engine():
    """The name stands in the file, so that what starts an engine runs in one process."""
    yield "local_engine"
    close_sessions()


@pytest.mark.snowflake
@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_there", "one_engine")
def test_the_example_tells_the_whole_story(monkeypatch, capsys):
    try:
        server_python()
    except ConnectionError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(rle, "TrainerConfig", partial(rle.TrainerConfig, max_iters=3))
    monkeypatch.setattr(sys, "argv", ["churn_snowflake"])
    churn_snowflake.main()
    text = capsys.readouterr().out
    for promised in (
        "SHOP.PUBLIC.TRANSACTIONS: 12,000 rows written",
        "Draft of SHOP.PUBLIC: 2 tables",
        "key customers.CUSTOMER_ID: 500 sampled rows are all different",
        "CUSTOMER_ID is named like customers.CUSTOMER_ID, which lacks 1 of",
        "train epoch 4/4: 3 steps",
        "PROBABILITY_1",
    ):
        assert promised in text
    summary = json.loads(text.splitlines()[-1])
    assert summary["table"].startswith("SHOP.PUBLIC.PREDICTIONS_CHURN_")
    assert summary["rows"] == 500
    assert summary["test"]["roc_auc"] > 0.6
    assert FakeSnowflake.password not in text
    assert rle.Provider().get_gnn(churn_snowflake.ENGINE) is None
