"""What is wrong with a link task is said before anything is built."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rle.errors import DataError, ValidationError
from rle.graph.schema import GraphSchema
from rle.spec.metric import EvaluationMetric
from rle.training.link_preflight import links_of
from rle.training.preflight import check_before_prediction, check_before_training
from rle.values import Split, TaskType
from tests.link_world import TEST_ROWS, make_config, make_world, write_split

LINK, REPEATED = TaskType.LINK_PREDICTION, TaskType.REPEATED_LINK_PREDICTION


@pytest.fixture(params=[LINK, REPEATED], ids=["link", "repeated"])
def world(request, tmp_path):
    spec, snapshot = make_world(tmp_path, request.param)
    return tmp_path, spec, snapshot


def check(spec, **changes):
    return check_before_training(spec, make_config(spec, **changes), needs_test=True)


def test_a_sound_task_has_no_label_codec_and_is_warned_of_what_it_ignores(world):
    _, spec, _ = world
    codec, warnings = check(spec)
    assert codec is None
    assert not any("TrainerConfig" in warning for warning in warnings)
    _, warnings = check(spec, clamp="auto")
    said = [warning for warning in warnings if "has no effect" in warning]
    assert len(said) == 1
    check_before_prediction(spec, make_config(spec), codec=None)


def test_the_links_are_those_of_the_graph(world):
    _, spec, snapshot = world
    found, schema = links_of(spec), snapshot.schema
    assert isinstance(found, GraphSchema)
    assert found.relations == tuple(r for r in schema.relations if ">" not in r.link)
    assert [t.name for t in found.tables] == [t.name for t in schema.tables]


def test_a_target_table_of_one_row_ranks_nothing(world):
    folder, spec, _ = world
    path = folder / "towns.parquet"
    pq.write_table(pq.read_table(path).slice(0, 1), path)
    with pytest.raises(ValidationError, match=r"'towns' .* single row.*nothing to rank"):
        check(spec)
    with pytest.raises(ValidationError, match="single row"):
        check_before_prediction(spec, make_config(spec), codec=None)
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    with pytest.raises(DataError, match="has no rows; there is nothing to rank"):
        check(spec)


def test_lists_longer_than_the_target_table_are_a_warning(world):
    _, spec, _ = world
    task = spec.task.replace(metric=EvaluationMetric("link_prediction_recall", eval_at_k=41))
    _, warnings = check(spec.replace(task=task))
    assert any("eval_at_k is 41, but target table 'towns' has 40 rows" in w for w in warnings)


def test_without_links_nothing_can_be_met(tmp_path):
    spec, _ = make_world(tmp_path, LINK)
    # People and towns are joined only by the country that both lie in: down after up.
    countries = pa.table({"id": [1, 2]})
    pq.write_table(countries, tmp_path / "countries.parquet")
    tables = {table.name: table for table in spec.tables}
    people = pq.read_table(tmp_path / "people.parquet").append_column("country", pa.array([1] * 15))
    towns = pq.read_table(tmp_path / "towns.parquet").append_column("country", pa.array([2] * 40))
    pq.write_table(people, tmp_path / "people.parquet")
    pq.write_table(towns, tmp_path / "towns.parquet")
    column = {"name": "country", "dtype": "integer"}
    joined = [
        tables[name].model_validate(
            tables[name].model_dump(mode="json")
            | {
                "columns": [*tables[name].model_dump(mode="json")["columns"], column],
                "foreign_keys": [{"column_name": "country", "link_to": "countries.id"}],
            }
        )
        for name in ("people", "towns")
    ]
    country = joined[0].model_validate(
        joined[0].model_dump(mode="json")
        | {
            "name": "countries",
            "source": str(tmp_path / "countries.parquet"),
            "columns": [{"name": "id", "dtype": "integer"}],
            "foreign_keys": [],
        }
    )
    apart = spec.replace(tables=(*joined, country))
    check(apart)
    with pytest.raises(ValidationError, match="'degree_based', but no links lead from 'people'"):
        check(apart, negative_sampling_strategy="degree_based")
    repeated = apart.replace(task=apart.task.replace(task_type=REPEATED))
    with pytest.raises(ValidationError, match=r"no links lead from 'people' to 'towns'.*LINK_PRED"):
        check(repeated)


def test_a_training_table_without_targets_is_refused(world):
    folder, spec, _ = world
    write_split(folder, Split.TRAIN, [(who, day, []) for who, day, _ in TEST_ROWS])
    with pytest.raises(DataError, match="no target"):
        check(spec)
