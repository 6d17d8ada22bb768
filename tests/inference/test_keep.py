"""Tables made later from kept files are those that would have been made at once."""

from __future__ import annotations

import pyarrow as pa
import pytest

from rle.connectors.duckdb import DuckDBConnector
from rle.errors import OutputExistsError
from rle.inference.export import export, plan_outputs
from rle.inference.keep import kept_plan, make_tables, read_kept, remove_files
from rle.spec.output import OutputConfig

WAREHOUSE = OutputConfig.warehouse(database_name="shop", schema_name="main")
VECTORS = pa.list_(pa.float32(), 2)
EMBEDDINGS = pa.schema([("name", pa.string()), ("EMBEDDING", VECTORS)])
PREDICTIONS = pa.schema(
    [
        ("name", pa.string()),
        ("at", pa.timestamp("s")),
        ("PREDICTION", pa.list_(pa.int64())),
        ("PROBABILITY_x y", pa.float32()),
    ]
)
ROWS = {
    "name": ["a", "ü'", None],
    "at": [0, 1, None],
    "PREDICTION": [[1, 2], [], None],
    "PROBABILITY_x y": [0.5, float("nan"), None],
}


def batches():
    vectors = pa.array([[1.0, 2.0], None, [3.0, 4.0]], VECTORS)
    names = pa.array(ROWS["name"], pa.string())
    yield 0, pa.RecordBatch.from_arrays([names, vectors], schema=EMBEDDINGS)
    yield 1, pa.RecordBatch.from_pydict(ROWS, schema=PREDICTIONS)


@pytest.fixture
def connector(tmp_path):
    return DuckDBConnector.create(tmp_path / "shop.duckdb")


def plan_of(alias, connector, output=WAREHOUSE, **options):
    return plan_outputs(
        output,
        connector,
        alias=alias,
        entity_columns=["name"],
        extract_embeddings=True,
        **options,
    )


def keep(alias, connector, folder, output=WAREHOUSE, **options):
    plan = kept_plan(plan_of(alias, connector, output, **options), output, connector, folder)
    export(plan, [EMBEDDINGS, PREDICTIONS], batches())
    return plan, read_kept(folder)


def test_names_types_and_rows_are_those_of_direct_writing(connector, tmp_path):
    plan, kept = keep("later", connector, tmp_path / "kept")
    assert not any(connector.exists(table) for table in plan.tables)
    assert make_tables(kept, tmp_path / "kept") == [3, 3]
    direct = plan_of("now", connector)
    export(direct, [EMBEDDINGS, PREDICTIONS], batches())
    for later, now in zip(plan.tables, direct.tables, strict=True):
        assert later == now.replace("NOW", "LATER")
        assert connector.arrow_schema(later) == connector.arrow_schema(now)
        rows = [connector.sample(table, max_rows=9).to_pylist() for table in (later, now)]
        assert repr(rows[0]) == repr(rows[1])  # NaN equals nothing, but prints alike


def test_files_can_be_the_place_too(connector, tmp_path):
    output = OutputConfig.local(artifacts_dir=tmp_path / "out", extension="csv")
    _, kept = keep("may", connector, tmp_path / "kept", output)
    assert make_tables(kept, tmp_path / "kept") == [3, 3]
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "PREDICTIONS_MAY.csv",
        "EMBEDDINGS_NAME_MAY.csv",
    }


def test_a_name_taken_meanwhile_stops_it_and_leaves_the_files(connector, tmp_path):
    plan, kept = keep("may", connector, tmp_path / "kept")
    connector.write(plan.predictions, [], schema=PREDICTIONS)
    with pytest.raises(OutputExistsError, match="PREDICTIONS_MAY"):
        make_tables(kept, tmp_path / "kept")
    assert not connector.exists(plan.embeddings["name"])
    assert read_kept(tmp_path / "kept") == kept
    with pytest.raises(OutputExistsError):
        keep("may", connector, tmp_path / "again")


def test_overwriting_is_remembered(connector, tmp_path):
    plan, kept = keep("may", connector, tmp_path / "kept", overwrite_results=True)
    connector.write(plan.predictions, [], schema=PREDICTIONS)
    assert make_tables(kept, tmp_path / "kept") == [3, 3]
    assert connector.num_rows(plan.predictions) == 3


def test_what_is_not_whole_is_not_there(connector, tmp_path):
    def broken():
        yield from batches()
        raise RuntimeError("the model fell over")

    folder = tmp_path / "kept"
    plan = kept_plan(plan_of("may", connector), WAREHOUSE, connector, folder)
    with pytest.raises(RuntimeError):
        export(plan, [EMBEDDINGS, PREDICTIONS], broken())
    assert read_kept(folder) is None
    assert list(folder.iterdir()) == []


def test_the_space_of_made_tables_is_freed(connector, tmp_path):
    _, kept = keep("may", connector, tmp_path / "kept")
    remove_files(kept, tmp_path / "kept")
    assert [p.name for p in (tmp_path / "kept").iterdir()] == ["kept.json"]
