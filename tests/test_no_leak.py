"""What the time bound hides stays hidden, end to end: labels that only a later row gives away."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rle import DuckDBConnector, OutputConfig, TrainerConfig
from rle.pipeline import fit_predict
from rle.testing.shop import make_shop
from rle.testing.shop_dataset import shop_dataset

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("mlflow_there")]


def auroc_of_test(folder, *, leak: timedelta, current_time: bool) -> float:
    """Train on a shop whose labels are coin flips, given away by one row at t + `leak`."""
    shop = make_shop(leak=leak).write_duckdb(folder / "shop.duckdb")
    connector = DuckDBConnector(database=str(shop))
    config = TrainerConfig(
        connector=connector,
        device="cpu",
        n_epochs=12,
        patience=12,
        lr=0.01,
        fanouts=[8],
        channels=16,
        num_workers=0,
    )
    result = fit_predict(
        shop_dataset(connector, current_time=current_time, tables=("customers", "transactions")),
        config,
        output_alias="a",
        output_config=OutputConfig.local(artifacts_dir=folder / "out"),
        compute_test_metrics=True,
    )
    return result.prediction.test_metrics["roc_auc"]


@pytest.mark.parametrize(
    ("leak", "current_time"),
    [(timedelta(microseconds=1), True), (timedelta(0), False)],
    ids=["one microsecond after t", "at t, which < hides"],
)
def test_a_row_beyond_the_bound_says_nothing(tmp_path, leak, current_time):
    assert abs(auroc_of_test(tmp_path, leak=leak, current_time=current_time) - 0.5) < 0.12


def test_a_row_at_t_is_visible_where_it_is_asked_for(tmp_path):
    """The same leak inside the bound is found, so the tests above would have seen it."""
    assert auroc_of_test(tmp_path, leak=timedelta(0), current_time=True) > 0.95
