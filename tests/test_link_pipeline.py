"""Link tasks through the spine: trained, predicted, found again; on a shop of a few rows."""

from __future__ import annotations

import pytest

import rle
from rle.errors import ValidationError
from rle.pipeline import fit_predict, predict
from rle.spec.metric import EvaluationMetric
from rle.values import TaskType
from tests.small_db import SmallDatabase

# Each customer buys the same three of 12 products over and over.
SHOP = """
CREATE TABLE products AS SELECT i AS product_id, CAST(i % 4 AS DOUBLE) AS price FROM range(12) r(i);
CREATE TABLE items AS SELECT order_id AS item_id, customer_id, ordered_at,
    (customer_id * 5 + (order_id // 60) % 3) % 12 AS product_id FROM orders;
CREATE TABLE next_train AS SELECT i AS customer_id, TIMESTAMP '2021-01-20' AS bought_at,
    [(i * 5) % 12, (i * 5 + 1) % 12] AS wanted FROM range(60) r(i);
CREATE TABLE next_validation AS SELECT * REPLACE (TIMESTAMP '2021-01-22' AS bought_at)
    FROM next_train;
CREATE TABLE next_test AS SELECT * REPLACE (TIMESTAMP '2021-01-24' AS bought_at) FROM next_train;
CREATE TABLE next_today AS SELECT customer_id, bought_at FROM next_test
    UNION ALL VALUES (999, TIMESTAMP '2021-01-24');
"""
TYPES = [TaskType.LINK_PREDICTION, TaskType.REPEATED_LINK_PREDICTION]


@pytest.fixture(scope="module")
def place(tmp_path_factory, copy_mlflow):
    folder = tmp_path_factory.mktemp("links")
    copy_mlflow(folder / "home")
    return folder, SmallDatabase.create(folder, SHOP)


@pytest.fixture(autouse=True)
def _same_home(place, monkeypatch):
    monkeypatch.setenv("RLE_HOME", str(place[0] / "home"))


def make_dataset(db, task_type):
    products = rle.GNNTable(
        db.connector, name="products", source="small.main.products", primary_key="product_id"
    )
    items = rle.GNNTable(
        db.connector,
        name="items",
        source="small.main.items",
        primary_key="item_id",
        foreign_keys=[
            rle.ForeignKey("customer_id", "customers.customer_id"),
            rle.ForeignKey("product_id", "products.product_id"),
        ],
        time_column="ordered_at",
    )
    task = rle.LinkTask(
        db.connector,
        name="next",
        task_data_source={
            split: f"small.main.next_{split}" for split in ("train", "validation", "test")
        },
        source_entity_column="customer_id",
        source_entity_table="customers",
        target_entity_column="wanted",
        target_entity_table="products",
        task_type=task_type,
        time_column="bought_at",
        evaluation_metric=EvaluationMetric("link_prediction_map", eval_at_k=4),
    )
    return rle.Dataset(
        db.connector, "small", tables=[db.customers(), items, products], task_description=task
    )


@pytest.mark.slow
@pytest.mark.parametrize("task_type", TYPES, ids=lambda t: t.value)
def test_a_link_task_is_trained_predicted_measured_and_found_again(place, task_type):
    _, db = place
    dataset = make_dataset(db, task_type)
    alias = task_type.value
    trained = fit_predict(
        dataset,
        db.config(n_epochs=6, lr=0.01, channels=16),
        output_alias=alias,
        output_config=db.output,
        extract_embeddings=True,
        compute_test_metrics=True,
    )
    assert trained.fit.metric == "link_prediction_map"
    assert trained.prediction.num_rows == 60
    # By chance, 2 of 12 products in a list of 4 come to 0.15.
    assert trained.prediction.test_metrics["link_prediction_map"] > 0.4
    assert trained.prediction.export_paths["embeddings"].keys() == {"customer_id", "wanted"}
    best = EvaluationMetric("link_prediction_map", eval_at_k=4)
    again = predict(
        experiment_name=dataset.experiment_name,
        test_table="small.main.next_today",
        select_best_model=True,
        evaluation_metric=best,
        output_alias=f"{alias}_today",
        output_config=db.output,
    )
    assert (again.num_rows, again.num_unknown) == (61, 1)
    rows = [
        db.query(f"FROM PREDICTIONS_{name} WHERE customer_id < 60 ORDER BY customer_id")
        for name in (alias, f"{alias}_today")
    ]
    assert rows[0] == rows[1]
    (stranger,) = db.query(f"FROM PREDICTIONS_{alias}_today WHERE customer_id = 999")
    assert stranger[2:] == (None, None)
    flat = predict(
        dataset,
        model_run_id=trained.fit.model_run_id,
        output_alias=f"{alias}_flat",
        output_config=db.output,
        flatten_output=True,
    )
    assert flat.num_rows == len(db.query(f"FROM PREDICTIONS_{alias}_flat")) > 60
    other = EvaluationMetric("link_prediction_map", eval_at_k=5)
    with pytest.raises(ValidationError, match="measured link_prediction_map@5"):
        predict(
            dataset,
            select_best_model=True,
            evaluation_metric=other,
            output_alias="never",
            output_config=db.output,
        )
