from __future__ import annotations

from datetime import timedelta

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from rle.errors import ValidationError
from rle.testing.shop import FACTS, make_shop


@pytest.fixture(scope="module")
def shop():
    return make_shop()


def newest_days(shop, rows):
    """Days from each task row's time back to its customer's newest earlier transaction."""
    bought = shop.tables["transactions"].drop_null()
    customers = bought["customer_id"].to_numpy()
    times = bought["happened_at"].to_numpy()
    days = []
    for customer, time in zip(
        rows["customer_id"].to_numpy(), rows["timestamp"].to_numpy(), strict=True
    ):
        past = times[(customers == customer) & (times < time)]
        days.append((time - past.max()) / np.timedelta64(1, "D") if past.size else 1e3)
    return np.array(days)


def auroc(scores, labels):
    ahead = scores[labels == 1][:, None] - scores[labels == 0][None, :]
    return (ahead > 0).mean() + 0.5 * (ahead == 0).mean()


def test_same_seed_gives_the_same_rows(shop):
    again = make_shop()
    for name, table in shop.all_tables().items():
        assert table.equals(again.all_tables()[name]), name
    assert not make_shop(seed=1).tables["transactions"].equals(shop.tables["transactions"])


def test_default_size(shop):
    assert shop.tables["customers"].num_rows == 200
    assert shop.tables["transactions"].num_rows == 3000
    assert set(shop.tables) == set(FACTS)


def test_facts_name_columns_that_are_there(shop):
    for name, facts in FACTS.items():
        columns = set(shop.tables[name].column_names)
        named = {*facts.foreign_keys, *facts.dtypes, facts.key, facts.time_column} - {None}
        assert named == columns
        for target in facts.foreign_keys.values():
            table, column = target.split(".")
            assert FACTS[table].key == column


def test_dirt_is_there(shop):
    bought = shop.tables["transactions"]
    assert bought["happened_at"].null_count
    assert bought["customer_id"].null_count
    known = pc.is_in(
        bought["customer_id"].drop_null(), shop.tables["customers"]["customer_id"].combine_chunks()
    )
    assert not pc.all(known).as_py()
    assert len(pc.unique(bought["happened_at"])) < bought.num_rows


def test_churn_hangs_on_recency(shop):
    rows = shop.tasks["churn"]["test"]
    assert auroc(newest_days(shop, rows), rows["label"].to_numpy()) > 0.8


@pytest.mark.parametrize(
    ("task", "label_type"),
    [
        ("churn", pa.int64()),
        ("channel", pa.string()),
        ("departments", pa.list_(pa.string())),
        ("spend", pa.float64()),
    ],
)
def test_task_tables_have_three_splits_of_one_schema(shop, task, label_type):
    splits = shop.tasks[task]
    assert list(splits) == ["train", "validation", "test"]
    for rows in splits.values():
        assert rows.schema.field("label").type == label_type
        assert rows.schema.field("timestamp").type == pa.timestamp("us")
        assert rows.num_rows > 100


def test_leaked_rows_say_the_label_at_the_stated_time():
    shop = make_shop(leak=timedelta(microseconds=1))
    rows = shop.tasks["churn"]["test"]
    bought = shop.tables["transactions"]
    for customer, time, label in list(
        zip(*(rows[c].to_pylist() for c in rows.column_names), strict=True)
    )[:20]:
        at = pc.and_(
            pc.equal(bought["customer_id"], customer),
            pc.equal(bought["happened_at"], pa.scalar(time + timedelta(microseconds=1))),
        )
        assert bought.filter(at)["channel"].to_pylist() == ["left" if label else "kept"]
    assert abs(auroc(newest_days(shop, rows), rows["label"].to_numpy()) - 0.5) < 0.15


def test_files_hold_the_same_rows(shop, tmp_path):
    folder = shop.write_parquet(tmp_path / "shop")
    path = shop.write_duckdb(tmp_path / "shop.duckdb")
    with pytest.raises(ValidationError, match="exists already"):
        shop.write_duckdb(path)
    with duckdb.connect(str(path), read_only=True) as db:
        for name, table in shop.all_tables().items():
            in_file = pq.read_table(folder / f"{name}.parquet")
            assert in_file.cast(table.schema).equals(table)
            stored = db.sql(f'SELECT * FROM "{name}"').to_arrow_table()
            assert stored.column_names == table.column_names
            assert stored.cast(table.schema).equals(table)
