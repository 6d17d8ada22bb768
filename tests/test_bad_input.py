"""What is wrong with tables, tasks and places is said clearly, and before any long work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rle import ForeignKey, TaskType
from rle.errors import DataError, OutputExistsError, UnknownNameError, ValidationError
from rle.pipeline import fit, fit_predict
from rle.runs.folders import home
from tests.small_db import SmallDatabase

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Make = Callable[..., SmallDatabase]


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _home_of_all(shared_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # MLflow takes seconds to lay out a new database, and nothing here may leave a snapshot.
    monkeypatch.setenv("RLE_HOME", str(shared_home))


@pytest.fixture
def make(tmp_path: Path, mlflow_there: None) -> Make:
    return lambda *changes: SmallDatabase.create(tmp_path, *changes)


def failure(run: Callable[[], object], kind: type[Exception], *words: str) -> str:
    """Run what must fail with exactly `kind`, in words that hold all of `words`."""
    with pytest.raises(kind) as caught:
        run()
    assert type(caught.value) is kind
    text = str(caught.value)
    for word in words:
        assert word in text, f"{word!r} is not in: {text}"
    return text


def fit_failure(db: SmallDatabase, kind: type[Exception], *words: str, **task: object) -> str:
    return failure(lambda: fit(db.dataset(task=db.task(**task)), db.config()), kind, *words)


def num_runs() -> int:
    folder = home() / "runs"
    return len(list(folder.iterdir())) if folder.exists() else 0


def nothing_was_kept() -> bool:
    """Whether the home has no snapshot, whole or half."""
    folder = home() / "snapshots"
    return not folder.exists() or not any(folder.iterdir())


# Names that are not there


def test_missing_table_suggests_the_nearest(make):
    db = make()
    failure(lambda: db.orders(source="small.main.order"), UnknownNameError, "order", "orders")


def test_missing_table_of_a_task_suggests_the_nearest(make):
    db = make()
    sources = {"train": "small.main.churn_trian", "validation": "small.main.churn_validation"}
    failure(lambda: db.task(task_data_source=sources), UnknownNameError, "churn_train'")


@pytest.mark.parametrize(
    ("role", "value"),
    [
        ("primary_key", "order_idd"),
        ("time_column", "orderd_at"),
        ("foreign_keys", [ForeignKey("custmer_id", "customers.customer_id")]),
        ("column_dtypes", {"amuont": "float"}),
    ],
)
def test_missing_column_suggests_the_nearest(make, role, value):
    db = make()
    text = failure(lambda: db.orders(**{role: value}), UnknownNameError, "small.main.orders")
    assert "Did you mean" in text


@pytest.mark.parametrize(
    ("role", "column"),
    [
        ("source_entity_column", "custmer_id"),
        ("target_column", "lable"),
        ("time_column", "att"),
    ],
)
def test_missing_column_of_a_task_suggests_the_nearest(make, role, column):
    db = make()
    text = failure(lambda: db.task(**{role: column}), UnknownNameError, column, "churn_train")
    assert "Did you mean" in text


def test_misspelt_setting_suggests_the_nearest(make):
    db = make()
    failure(lambda: db.config(n_epoch=3), ValidationError, "n_epoch", "Did you mean 'n_epochs'")


# Keys and links


def test_table_without_a_key(make):
    db = make()
    orders = db.orders(primary_key=None, foreign_keys=None)
    failure(lambda: db.dataset(db.customers(), orders), ValidationError, "'orders'", "key")


def test_link_to_a_table_that_is_not_there(make):
    db = make()
    orders = db.orders(foreign_keys=[ForeignKey("customer_id", "custmers.customer_id")])
    failure(
        lambda: db.dataset(db.customers(), orders), UnknownNameError, "'custmers'", "'customers'"
    )


def test_link_to_a_column_that_is_not_there(make):
    db = make()
    orders = db.orders(foreign_keys=[ForeignKey("customer_id", "customers.custmer_id")])
    failure(
        lambda: db.dataset(db.customers(), orders),
        UnknownNameError,
        "'custmer_id'",
        "'customer_id'",
    )


def test_link_to_a_column_that_is_no_key(make):
    db = make()
    orders = db.orders(foreign_keys=[ForeignKey("customer_id", "customers.age")])
    failure(lambda: db.dataset(db.customers(), orders), ValidationError, "'age'", "candidate key")


def test_link_and_key_of_different_types(make):
    db = make("ALTER TABLE orders ALTER customer_id TYPE VARCHAR")
    failure(
        db.dataset,
        ValidationError,
        "'orders.customer_id'",
        "'customers.customer_id'",
        "text",
        "integer",
    )


def test_entity_and_key_of_different_types(make):
    db = make(
        *(
            f"ALTER TABLE churn_{split} ALTER customer_id TYPE VARCHAR"
            for split in ("train", "validation", "test")
        )
    )
    failure(db.dataset, ValidationError, "'churn.customer_id'", "'customers.customer_id'")


def test_disconnected_tables(make):
    db = make()
    orders = db.orders(foreign_keys=None)
    failure(
        lambda: db.dataset(db.customers(), orders), ValidationError, "'orders'", "not connected"
    )


def test_duplicate_primary_keys(make):
    db = make("INSERT INTO customers SELECT 7, 30, 1.0, TIMESTAMP '2020-05-05'")
    fit_failure(db, DataError, "'customer_id'", "'customers'", "7", "more than once")
    assert nothing_was_kept()


# Times


def test_two_time_columns(make):
    db = make()
    both = ["ordered_at", "order_id"]
    failure(lambda: db.orders(time_column=both), ValidationError, "'orders'", str(both), "one time")


def test_a_time_column_that_is_a_key_too(make):
    db = make()
    failure(
        lambda: db.orders(primary_key="order_id", time_column="order_id"),
        ValidationError,
        "'order_id'",
    )


def test_time_column_that_is_not_a_datetime(make):
    db = make()
    orders = db.orders(time_column="amount")
    failure(
        lambda: db.dataset(db.customers(), orders), ValidationError, "'amount'", "float", "datetime"
    )


def test_time_column_of_a_task_that_is_not_a_datetime(make):
    db = make()
    failure(lambda: db.task(time_column="label"), ValidationError, "'label'")


def test_task_without_a_time_where_tables_have_one(make):
    db = make()
    failure(
        lambda: db.dataset(task=db.task(time_column=None)),
        ValidationError,
        "'churn'",
        "time_column",
    )


def test_times_with_and_without_zones_mixed_in_one_column(make):
    db = make(
        "ALTER TABLE orders ALTER ordered_at TYPE VARCHAR",
        "UPDATE orders SET ordered_at = ordered_at || '+02:00' WHERE order_id % 2 = 0",
    )
    orders = db.orders(column_dtypes={"ordered_at": "datetime"})
    failure(
        lambda: fit(db.dataset(db.customers(), orders), db.config()),
        DataError,
        "'orders.ordered_at'",
        "zone",
    )
    assert nothing_was_kept()


@pytest.mark.parametrize("date", ["1066-10-14", "2300-01-01"])
def test_time_of_a_row_that_nanoseconds_cannot_hold(make, date):
    db = make(f"UPDATE orders SET ordered_at = TIMESTAMP '{date}' WHERE order_id = 5")
    fit_failure(db, DataError, "orders.ordered_at", date, "1677-09-21", "2262-04-11")
    assert nothing_was_kept()


@pytest.mark.parametrize("date", ["1066-10-14", "2300-01-01"])
def test_time_of_a_prediction_that_nanoseconds_cannot_hold(make, date):
    db = make(f"UPDATE churn_train SET \"at\" = TIMESTAMP '{date}' WHERE customer_id = 5")
    fit_failure(db, DataError, "churn.at", date, "1677-09-21", "2262-04-11")


def test_prediction_without_a_time(make):
    db = make('UPDATE churn_train SET "at" = NULL WHERE customer_id = 5')
    fit_failure(db, DataError, "churn.at", "NULL", "1 row")


# Rows


def test_empty_entity_table(make):
    db = make("DELETE FROM customers")
    failure(db.dataset, DataError, "'customers'", "small.main.customers", "no rows")


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_empty_split(make, split):
    db = make(f"DELETE FROM churn_{split}")
    failure(db.task, DataError, split, f"small.main.churn_{split}", "no rows")


def test_split_emptied_after_it_was_declared(make, tmp_path):
    db = make()
    dataset = db.dataset()
    (tmp_path / "small.duckdb").unlink()
    make("DELETE FROM churn_validation")
    failure(lambda: fit(dataset, db.config()), DataError, "validation", "no rows")


def test_column_dropped_after_it_was_declared(make, tmp_path):
    db = make()
    dataset = db.dataset()
    (tmp_path / "small.duckdb").unlink()
    make("ALTER TABLE orders DROP amount")
    failure(lambda: fit(dataset, db.config()), UnknownNameError, "'amount'", "orders")


# Labels


@pytest.mark.parametrize("split", ["train", "validation"])
def test_labels_of_one_class(make, split):
    db = make(f"UPDATE churn_{split} SET label = 1")
    fit_failure(db, DataError, "churn.label", split if split == "validation" else "train", "1")


def test_three_classes_in_a_binary_task(make):
    db = make("UPDATE churn_train SET label = 2 WHERE customer_id < 5")
    fit_failure(db, DataError, "churn.label", "[0, 1, 2]", "MULTICLASS_CLASSIFICATION")


def test_two_classes_in_a_multiclass_task(make):
    db = make()
    fit_failure(
        db,
        DataError,
        "churn.label",
        "BINARY_CLASSIFICATION",
        task_type=TaskType.MULTICLASS_CLASSIFICATION,
    )


def test_class_of_validation_that_training_never_saw(make):
    db = make("UPDATE churn_validation SET label = 5 WHERE customer_id = 3")
    fit_failure(db, DataError, "churn.label", "validation", "5", "[0, 1]")


def test_text_as_label_of_a_regression(make):
    db = make(
        *(
            f"ALTER TABLE churn_{split} ALTER label TYPE VARCHAR"
            for split in ("train", "validation", "test")
        )
    )
    failure(
        lambda: db.task(task_type=TaskType.REGRESSION),
        ValidationError,
        "'label'",
        "numbers",
        "regression",
    )


def test_a_class_instead_of_a_list_of_classes(make):
    db = make()
    failure(
        lambda: db.task(task_type=TaskType.MULTILABEL_CLASSIFICATION),
        ValidationError,
        "'label'",
        "lists of classes",
    )


def test_link_type_in_a_node_task(make):
    db = make()
    failure(lambda: db.task(task_type="link_prediction"), ValidationError, "LinkTask")


def test_null_label(make):
    db = make("UPDATE churn_train SET label = NULL WHERE customer_id = 3")
    fit_failure(db, DataError, "churn.label", "NULL")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_label_that_is_not_finite(make, value):
    db = make(
        *(
            f"ALTER TABLE churn_{split} ALTER label TYPE DOUBLE"
            for split in ("train", "validation", "test")
        ),
        f"UPDATE churn_train SET label = '{value}'::DOUBLE WHERE customer_id = 3",
    )
    fit_failure(db, DataError, "churn.label", task_type=TaskType.REGRESSION)


# Places


def test_output_alias_that_is_taken(make):
    db = make("CREATE TABLE PREDICTIONS_MAY AS SELECT 1 AS mine")
    before = num_runs()
    failure(
        lambda: fit_predict(db.dataset(), db.config(), output_alias="may", output_config=db.output),
        OutputExistsError,
        "PREDICTIONS_MAY",
        "alias",
    )
    assert db.query("SELECT mine FROM PREDICTIONS_MAY") == [(1,)]
    assert num_runs() == before


def test_embeddings_alias_that_is_taken(make):
    db = make("CREATE TABLE EMBEDDINGS_CUSTOMER_ID_MAY AS SELECT 1 AS mine")
    before = num_runs()
    failure(
        lambda: fit_predict(
            db.dataset(),
            db.config(),
            output_alias="may",
            output_config=db.output,
            extract_embeddings=True,
        ),
        OutputExistsError,
        "EMBEDDINGS_CUSTOMER_ID_MAY",
    )
    assert num_runs() == before


def test_output_alias_that_no_table_can_have(make):
    db = make()
    failure(
        lambda: fit_predict(db.dataset(), db.config(), output_alias='a"b', output_config=db.output),
        ValidationError,
        "'a\"b'",
        "letters",
    )


def test_device_that_is_not_there(make):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        return
    db = make()
    with pytest.raises(ValidationError, match="cuda"):
        fit(db.dataset(), db.config(device="cuda"))
    assert nothing_was_kept()
