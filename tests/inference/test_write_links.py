"""Tables of link predictions, from a model that nobody trained: what is in them, not how good."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from rle.errors import ValidationError
from rle.graph.link_task import read_link_split
from rle.inference.export import plan_outputs
from rle.inference.write import write_predictions
from rle.runs.events import WarningEvent
from rle.spec.output import OutputConfig
from rle.training.link_evaluate import LinkRanker
from rle.training.ranks import Ranks
from rle.values import Split, TaskType
from tests.link_world import NUM_TOWNS, TEST_ROWS, days, make_config, make_model, make_world

LINK, REPEATED = TaskType.LINK_PREDICTION, TaskType.REPEATED_LINK_PREDICTION
K = 4
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=[LINK, REPEATED], ids=["link", "repeated"])
def world(request, tmp_path_factory):
    spec, snapshot = make_world(tmp_path_factory.mktemp("world"), request.param, k=K)
    config = make_config(spec)
    return spec, snapshot, config, make_model(spec, config, snapshot)


@pytest.fixture
def write(world, tmp_path):
    spec, snapshot, config, model = world

    def run(*, embeddings=False, extension="parquet", dataset=spec, **options):
        events = []
        plan = plan_outputs(
            OutputConfig.local(artifacts_dir=tmp_path, extension=extension),
            spec.connector,
            alias="may",
            entity_columns=["person", "next_town"],
            extract_embeddings=embeddings,
        )
        result = write_predictions(
            model,
            snapshot,
            dataset,
            config,
            plan=plan,
            batch_size=3,
            device=CPU,
            on_event=events.append,
            **options,
        )
        warnings = [e.message for e in events if isinstance(e, WarningEvent)]
        return (
            result,
            warnings,
            {path.stem: pq.read_table(path) for path in tmp_path.glob("*.parquet")},
        )

    return run


def rankings(world):
    """For each known row its towns' names and scores, straight from the ranker."""
    spec, snapshot, config, model = world
    split = read_link_split(spec.connector, spec, Split.TEST, snapshot, with_targets=False)
    names = snapshot.tables["towns"].keys("name").to_pylist()
    ranker = LinkRanker(
        model, snapshot, spec, config, split, k=K, batch_size=3, ranks=Ranks(device=CPU)
    )
    return {
        int(row): [
            (names[t], s)
            for t, s in zip(block.targets[i].tolist(), block.scores[i].tolist(), strict=True)
            if t >= 0
        ]
        for block in ranker.rank()
        for i, row in enumerate(block.positions)
    }


UNKNOWN = [i for i, (who, _, _) in enumerate(TEST_ROWS) if who in (99, None)]


def test_there_is_a_row_per_test_row_with_the_towns_own_names_best_first(world, write):
    result, warnings, tables = write()
    table = tables["PREDICTIONS_MAY"]
    assert table.schema.names == ["person", "day", "PREDICTION", "SCORE"]
    assert table.schema.field("person").type == pa.int32()
    assert table.schema.field("day").type == pa.timestamp("us")
    assert table.schema.field("PREDICTION").type.value_type == pa.string()
    assert table.schema.field("SCORE").type.value_type == pa.float32()
    assert table["person"].to_pylist() == [who for who, _, _ in TEST_ROWS]
    assert table["day"].combine_chunks().equals(days([day for _, day, _ in TEST_ROWS]))
    expected = rankings(world)
    for i, (names, scores) in enumerate(
        zip(table["PREDICTION"].to_pylist(), table["SCORE"].to_pylist(), strict=True)
    ):
        if i in UNKNOWN:
            assert names is None
            assert scores is None
            continue
        assert names == [name for name, _ in expected[i]]
        assert scores == pytest.approx([score for _, score in expected[i]])
        assert scores == sorted(scores, reverse=True)
    assert result.num_rows == len(TEST_ROWS)
    assert result.num_unknown == 2
    assert result.test_metrics == {}
    assert any("2 of 8 test rows have an entity that is not in the graph" in w for w in warnings)


def test_a_source_that_has_met_nobody_has_an_empty_list_and_is_counted(world, write):
    _, warnings, tables = write()
    found = tables["PREDICTIONS_MAY"]["PREDICTION"].to_pylist()[4]
    is_repeated = world[0].task.task_type is REPEATED
    assert (found == []) == is_repeated
    said = [w for w in warnings if "1 of 8 test rows have met no destination before" in w]
    assert len(said) == is_repeated


def test_flat_there_is_a_row_per_destination_and_none_is_missing(world, write):
    result, _, tables = write(flatten_output=True)
    table = tables["PREDICTIONS_MAY"]
    assert table.schema.names == ["person", "day", "PREDICTION", "SCORE", "RANK"]
    assert table.schema.field("PREDICTION").type == pa.string()
    expected = []
    found = rankings(world)
    for i, (who, _, _) in enumerate(TEST_ROWS):
        for rank, (name, _) in enumerate(found.get(i, []), start=1):
            expected.append((who, name, rank))
        if not found.get(i):
            expected.append((who, None, None))
    columns = [table[name].to_pylist() for name in ("person", "PREDICTION", "RANK")]
    assert list(zip(*columns, strict=True)) == expected
    assert table["SCORE"].null_count == table["RANK"].null_count
    assert result.num_rows == len(expected)


def test_embeddings_of_sources_and_destinations_give_the_scores_back(world, write):
    result, _, tables = write(embeddings=True)
    assert list(result.export_paths["embeddings"]) == ["person", "next_town"]
    sources, towns = tables["EMBEDDINGS_PERSON_MAY"], tables["EMBEDDINGS_NEXT_TOWN_MAY"]
    assert sources.schema.names == ["person", "day", "EMBEDDING"]
    assert sources["person"].to_pylist() == [who for who, _, _ in TEST_ROWS]
    nulls = [i for i, vector in enumerate(sources["EMBEDDING"].to_pylist()) if vector is None]
    assert nulls == UNKNOWN
    assert towns.schema.names == ["next_town", "day", "EMBEDDING"]
    # Day 90 is the latest; the towns of days 85 to 89 are there, later ones are not.
    assert set(towns["day"].to_pylist()) == {days([90])[0].as_py()}
    assert NUM_TOWNS > towns.num_rows == 35
    if world[0].task.task_type is LINK:
        # Row 4 has met nobody, so its scores are products; its day is 60 and vectors hang on it.
        row = 1  # day 90
        vectors = dict(
            zip(towns["next_town"].to_pylist(), towns["EMBEDDING"].to_pylist(), strict=True)
        )
        own = np.array(sources["EMBEDDING"].to_pylist()[row])
        met = met_by(world, row)
        for name, score in rankings(world)[row]:
            if name not in met:
                assert own @ np.array(vectors[name]) == pytest.approx(score, abs=1e-4)


def met_by(world, row):
    who, day, _ = TEST_ROWS[row]
    visits = pq.read_table(world[0].table("visits").source).to_pylist()
    limit = days([day])[0].as_py()
    return {visit["where"] for visit in visits if visit["who"] == who and visit["at"] < limit}


def test_test_metrics_are_measured_over_known_rows_with_targets(world, write):
    result, _, _ = write(compute_test_metrics=True)
    found = rankings(world)
    recalls = [
        len({name for name, _ in found[i]} & {f"town {t:02d}" for t in wanted}) / len(wanted)
        for i, (_, _, wanted) in enumerate(TEST_ROWS)
        if i not in UNKNOWN and wanted
    ]
    assert set(result.test_metrics) == {
        "link_prediction_map",
        "link_prediction_precision",
        "link_prediction_recall",
    }
    assert result.test_metrics["link_prediction_recall"] == pytest.approx(np.mean(recalls))


@pytest.mark.parametrize("k", [1, 100])
def test_lists_are_as_long_as_asked_but_no_longer_than_what_there_is(world, write, k):
    spec = world[0]
    metric = spec.task.metric.replace(eval_at_k=k)
    _, _, tables = write(dataset=spec.replace(task=spec.task.replace(metric=metric)))
    lengths = [
        len(names)
        for names in tables["PREDICTIONS_MAY"]["PREDICTION"].to_pylist()
        if names is not None
    ]
    most = 35 if spec.task.task_type is LINK else 12
    assert max(lengths) <= min(k, most)
    assert k == 1 or spec.task.task_type is REPEATED or max(lengths) == 35


def test_flat_output_of_one_prediction_per_row_is_refused(world, write):
    spec = world[0]
    node = spec.task.model_copy(update={"task_type": TaskType.REGRESSION})
    with pytest.raises(
        ValidationError, match="flatten_output=True is for tasks that predict lists"
    ):
        write(dataset=spec.model_copy(update={"task": node}), flatten_output=True)
