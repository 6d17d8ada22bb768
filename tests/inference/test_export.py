from __future__ import annotations

import threading

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from rle.connectors.duckdb import DuckDBConnector
from rle.errors import OutputExistsError, UnknownNameError, ValidationError
from rle.inference.export import export, plan_outputs
from rle.spec.output import OutputConfig

PREDICTIONS = pa.schema([("customer_id", pa.int64()), ("PREDICTION", pa.int64())])
EMBEDDINGS = pa.schema([("customer_id", pa.int64()), ("EMBEDDING", pa.list_(pa.float32(), 2))])


def steps(num_steps=3, *, fail_at=None):
    for step in range(num_steps):
        if step == fail_at:
            raise RuntimeError("the model fell over")
        keys = pa.array([2 * step, 2 * step + 1], pa.int64())
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(4, np.float32)), 2)
        yield 0, pa.RecordBatch.from_arrays([keys, vectors], schema=EMBEDDINGS)
        yield 1, pa.RecordBatch.from_arrays([keys, keys], schema=PREDICTIONS)


def predictions_alone(**options):
    return ((0, batch) for table, batch in steps(**options) if table == 1)


@pytest.fixture
def connector(tmp_path):
    return DuckDBConnector.create(tmp_path / "shop.duckdb")


@pytest.fixture(params=["warehouse", "parquet"])
def place(request, tmp_path):
    if request.param == "warehouse":
        return OutputConfig.warehouse(database_name="shop", schema_name="main")
    return OutputConfig.local(artifacts_dir=tmp_path / "out")


def exists(place, connector, name):
    return place.writer(connector).exists(place.table(name))


def test_both_tables_appear_with_all_rows(place, connector):
    plan = plan_outputs(
        place, connector, alias="may", entity_columns=["customer_id"], extract_embeddings=True
    )
    assert export(plan, [EMBEDDINGS, PREDICTIONS], steps()) == [6, 6]
    writer = place.writer(connector)
    assert plan.predictions == place.table("PREDICTIONS_MAY")
    assert plan.embeddings == {"customer_id": place.table("EMBEDDINGS_CUSTOMER_ID_MAY")}
    assert writer.sample(plan.predictions, max_rows=99)["PREDICTION"].to_pylist() == [*range(6)]
    assert writer.num_rows(plan.embeddings["customer_id"]) == 6


def test_predictions_alone_stream_into_place(place, connector):
    plan = plan_outputs(place, connector, alias="may")
    assert export(plan, [PREDICTIONS], predictions_alone()) == [6]
    assert not exists(place, connector, "EMBEDDINGS_CUSTOMER_ID_MAY")


@pytest.mark.parametrize("with_embeddings", [True, False])
def test_a_model_that_fails_leaves_no_table(place, connector, with_embeddings):
    plan = plan_outputs(
        place,
        connector,
        alias="may",
        entity_columns=["customer_id"],
        extract_embeddings=with_embeddings,
    )
    rows = steps(fail_at=2) if with_embeddings else predictions_alone(fail_at=2)
    schemas = [EMBEDDINGS, PREDICTIONS] if with_embeddings else [PREDICTIONS]
    with pytest.raises(RuntimeError, match="fell over"):
        export(plan, schemas, rows)
    for table in plan.tables:
        assert not plan.writer.exists(table)


def test_a_name_taken_while_rows_streamed_undoes_what_was_written(place, connector):
    plan = plan_outputs(
        place, connector, alias="may", entity_columns=["customer_id"], extract_embeddings=True
    )
    mine = pa.RecordBatch.from_arrays([pa.array([7]), pa.array([7])], schema=PREDICTIONS)

    def rows():
        yield from steps()
        plan.writer.write(plan.predictions, [mine], schema=PREDICTIONS)

    with pytest.raises(OutputExistsError, match="PREDICTIONS_MAY"):
        export(plan, [EMBEDDINGS, PREDICTIONS], rows())
    assert not plan.writer.exists(plan.embeddings["customer_id"])
    assert plan.writer.num_rows(plan.predictions) == 1  # somebody else's stays


@pytest.mark.parametrize("taken", ["PREDICTIONS_MAY", "EMBEDDINGS_CUSTOMER_ID_MAY"])
def test_a_taken_alias_is_refused_before_any_work(place, connector, taken):
    writer = place.writer(connector)
    writer.write(place.table(taken), [], schema=PREDICTIONS)
    with pytest.raises(OutputExistsError, match=taken):
        plan_outputs(
            place, connector, alias="May", entity_columns=["customer_id"], extract_embeddings=True
        )


@pytest.mark.parametrize("alias", ["", "a b", "a.b", "../x", "_x", "a'b", "naïve", "x" * 101, None])
def test_an_alias_that_is_no_part_of_a_name_is_refused(connector, alias):
    place = OutputConfig.warehouse(database_name="shop", schema_name="main")
    with pytest.raises(ValidationError, match="alias"):
        plan_outputs(place, connector, alias=alias)


def test_a_schema_that_is_not_there_is_refused_before_any_work(connector):
    place = OutputConfig.warehouse(database_name="shop", schema_name="mian")
    with pytest.raises(UnknownNameError, match="main"):
        plan_outputs(place, connector, alias="may")


def test_columns_with_odd_characters_get_a_name_a_file_can_have(connector, tmp_path):
    place = OutputConfig.local(artifacts_dir=tmp_path)
    plan = plan_outputs(
        place, connector, alias="may", entity_columns=["kunde/id nr"], extract_embeddings=True
    )
    assert plan.embeddings["kunde/id nr"].endswith("/EMBEDDINGS_KUNDE_ID_NR_MAY.parquet")


def test_columns_that_would_share_a_table_are_refused(connector, tmp_path):
    place = OutputConfig.local(artifacts_dir=tmp_path)
    with pytest.raises(ValidationError, match="same table name"):
        plan_outputs(
            place, connector, alias="may", entity_columns=["a-b", "a_b"], extract_embeddings=True
        )


def test_two_jobs_with_one_alias_cannot_both_win(place, connector):
    plans = [plan_outputs(place, connector, alias="may") for _ in range(2)]
    outcomes = []

    def work(plan):
        try:
            outcomes.extend(export(plan, [PREDICTIONS], predictions_alone()))
        except OutputExistsError:
            outcomes.append("taken")

    threads = [threading.Thread(target=work, args=(plan,)) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == ["6", "taken"]


def write_all(place, connector, num_steps, **options):
    options = {"alias": "may", "entity_columns": ["customer_id"]} | options
    plan = plan_outputs(place, connector, **options)
    if plan.embeddings:
        return export(plan, [EMBEDDINGS, PREDICTIONS], steps(num_steps))
    return export(plan, [PREDICTIONS], predictions_alone(num_steps=num_steps))


def test_asked_to_overwrite_it_leaves_no_table_of_the_older_run(place, connector):
    write_all(place, connector, 3, extract_embeddings=True)
    write_all(place, connector, 2, overwrite_results=True)
    assert place.writer(connector).num_rows(place.table("PREDICTIONS_MAY")) == 4
    assert not exists(place, connector, "EMBEDDINGS_CUSTOMER_ID_MAY")
    write_all(place, connector, 1, overwrite_results=True, extract_embeddings=True)
    assert place.writer(connector).num_rows(place.table("PREDICTIONS_MAY")) == 2
    assert exists(place, connector, "EMBEDDINGS_CUSTOMER_ID_MAY")


def test_overwriting_that_fails_keeps_the_older_run(place, connector):
    write_all(place, connector, 3, extract_embeddings=True)
    plan = plan_outputs(place, connector, alias="may", overwrite_results=True)
    with pytest.raises(RuntimeError, match="fell over"):
        export(plan, [PREDICTIONS], predictions_alone(fail_at=2))
    assert place.writer(connector).num_rows(place.table("PREDICTIONS_MAY")) == 6
    assert exists(place, connector, "EMBEDDINGS_CUSTOMER_ID_MAY")


def test_a_table_that_the_dataset_reads_is_not_overwritten(place, connector):
    read = [place.table("predictions_may"), place.table("orders")]
    if place.place == "warehouse":
        read = [name.upper() for name in read]
    with pytest.raises(ValidationError, match="which the dataset reads"):
        plan_outputs(place, connector, alias="may", overwrite_results=True, sources=read)
    plan_outputs(place, connector, alias="june", overwrite_results=True, sources=read)


def test_a_table_of_the_dataset_is_known_in_any_spelling(connector):
    place = OutputConfig.warehouse(database_name="shop", schema_name='"main"')
    with pytest.raises(ValidationError, match="which the dataset reads"):
        plan_outputs(
            place,
            connector,
            alias="may",
            overwrite_results=True,
            sources=['"shop".main."predictions_may"'],
        )


def test_a_view_is_not_overwritten(connector):
    with duckdb.connect(connector.database) as con:
        con.execute("CREATE VIEW PREDICTIONS_MAY AS SELECT 1 AS a")
    place = OutputConfig.warehouse(database_name="shop", schema_name="main")
    with pytest.raises(OutputExistsError, match="is a view"):
        plan_outputs(place, connector, alias="may", overwrite_results=True)
