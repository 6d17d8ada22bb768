"""Rankings that need no learning, against what a loop over the history would say."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rle.baseline import link
from rle.baseline.run import run_baseline
from rle.errors import ValidationError
from rle.spec.metric import EvaluationMetric
from rle.spec.task import LinkTaskSpec
from rle.values import Split, TaskType
from tests.graph.tiny import dataset, table_spec

DAY = 86_400 * 10**9


def shop(folder, visits, rows, task_type, k=2):
    """People who visit shops on days; rows of (person, day, shops) to rank for."""
    people, shops, days = zip(*visits, strict=True)
    table = pa.table(
        {
            "id": list(range(len(visits))),
            "person": list(people),
            "shop": list(shops),
            "at": pa.array([d * DAY for d in days], pa.timestamp("ns")),
        }
    )
    for split in Split:
        task = pa.table(
            {
                "entity": [person for person, _, _ in rows],
                "t": pa.array([day * DAY for _, day, _ in rows], pa.timestamp("ns")),
                "targets": pa.array([targets for _, _, targets in rows], pa.list_(pa.int64())),
            }
        )
        pq.write_table(task, folder / f"task_{split.value}.parquet")
    names = {"people": 3, "shops": 5}
    spec = dataset(
        folder,
        *(
            table_spec(
                folder,
                name,
                pa.table({"id": list(range(num)), "x": [0.0] * num}),
                keys=("id",),
            )
            for name, num in names.items()
        ),
        table_spec(
            folder,
            "visits",
            table,
            keys=("id",),
            time="at",
            links={"person": "people.id", "shop": "shops.id"},
        ),
    )
    return spec.replace(
        task=LinkTaskSpec(
            name="next",
            task_type=task_type,
            sources=dict(spec.task.sources),
            source_entity_table="people",
            source_entity_column="entity",
            target_entity_table="shops",
            target_entity_column="targets",
            time_column="t",
            current_time=False,
            metric=EvaluationMetric(name="link_prediction_map", eval_at_k=k),
        )
    )


VISITS = [(0, 1, 1), (0, 1, 2), (0, 3, 5), (0, 4, 10), (1, 2, 4), (1, 2, 5), (2, 2, 6)]


def values_of(report):
    return {score.method: score.validation for score in report.methods}


def test_past_visits_are_ranked_by_count_and_by_age(tmp_path):
    # On day 10 person 0 has been to shop 1 twice and to shop 3 last; day 10 itself is hidden.
    rows = [(0, 10, [1])]
    report = run_baseline(shop(tmp_path, VISITS, rows, TaskType.REPEATED_LINK_PREDICTION))
    values = values_of(report)
    assert values["past visits, most often first"] == 1.0
    assert values["past visits, newest first"] == 0.5
    assert report.validation == report.methods[0].validation == max(values.values())
    assert report.test == report.methods[0].test
    assert report.num_rows == {"validation": 1, "test": 1}


def test_a_source_without_history_ranks_nothing_where_visits_repeat(tmp_path):
    rows = [(1, 1, [2]), (1, 9, [2])]
    report = run_baseline(shop(tmp_path, VISITS, rows, TaskType.REPEATED_LINK_PREDICTION))
    assert set(values_of(report).values()) == {0.5}


def test_popularity_leaves_out_what_was_visited_where_it_says_so(tmp_path):
    # Shop 2 has three visits, shop 1 two. Person 1 knows shop 2, so that 1 is the best new one.
    rows = [(1, 9, [1])]
    values = values_of(run_baseline(shop(tmp_path, VISITS, rows, TaskType.LINK_PREDICTION)))
    assert values["most popular"] == 0.5
    assert values["most popular, not visited yet"] == 1.0
    assert values["past visits, most often first, then popular"] == 0.5


def test_popularity_knows_nothing_of_later_visits(tmp_path):
    later = [(2, 0, 20 + i) for i in range(9)]
    rows = [(2, 9, [2])]
    given = shop(tmp_path, VISITS + later, rows, TaskType.LINK_PREDICTION)
    assert values_of(run_baseline(given))["most popular"] == 1.0


def test_more_chunks_and_unknown_sources_change_nothing(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    rows = [
        (int(p), 9, [int(t)])
        for p, t in zip(rng.integers(4, size=40), rng.integers(5, size=40), strict=False)
    ]
    given = shop(tmp_path, VISITS, rows, TaskType.LINK_PREDICTION)
    whole = run_baseline(given)
    monkeypatch.setattr(link, "CHUNK_ROWS", 7)
    assert values_of(run_baseline(given)) == values_of(whole)
    assert whole.num_rows["validation"] == sum(person < 3 for person, _, _ in rows)


def test_a_missing_validation_table_is_named(tmp_path):
    given = shop(tmp_path, VISITS, [(0, 9, [1])], TaskType.LINK_PREDICTION)
    sources = {s: t for s, t in given.task.sources.items() if s is not Split.VALIDATION}
    with pytest.raises(ValidationError, match="no validation table"):
        run_baseline(given.replace(task=given.task.replace(sources=sources)))
