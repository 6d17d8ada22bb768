from __future__ import annotations

import pyarrow as pa

from rle.connectors.duckdb import DuckDBConnector
from rle.ingest.labels import LabelCodec
from rle.spec.config import TrainerConfig
from rle.training.preflight import clamp_warnings, order_warnings
from rle.values import Split, TaskType

DAY = 86_400 * 10**9


def test_splits_that_follow_each_other_are_fine():
    spans = {Split.TRAIN: (0, 9), Split.VALIDATION: (10, 19), Split.TEST: (20, 29)}
    assert order_warnings(spans) == ()
    assert order_warnings({}) == ()
    assert order_warnings({Split.TEST: (0, 1)}) == ()


def test_a_split_that_begins_too_early_is_named_with_both_times():
    spans = {
        Split.TRAIN: (0, 2 * DAY),
        Split.VALIDATION: (DAY, 5 * DAY),
        Split.TEST: (6 * DAY,) * 2,
    }
    (warning,) = order_warnings(spans)
    assert "validation table begins at 1970-01-02" in warning
    assert "train table, 1970-01-03" in warning


def test_equal_times_overlap():
    (warning,) = order_warnings({Split.TRAIN: (0, DAY), Split.TEST: (DAY, DAY)})
    assert warning.startswith("the test table begins")


def said_of_clamping(task_type: TaskType, values: list[float], **clamp: object) -> tuple[str, ...]:
    config = TrainerConfig(
        connector=DuckDBConnector(database="a.duckdb"), device="cpu", n_epochs=1, **clamp
    )
    labels = pa.chunked_array([values])
    return clamp_warnings(config, LabelCodec.fit(task_type, labels), labels)


def test_labels_beyond_the_clamp_are_told_with_the_ways_out():
    assert said_of_clamping(TaskType.REGRESSION, [0.0, 99.0]) == ()
    (warning,) = said_of_clamping(TaskType.REGRESSION, [-3.0, 250.0])
    assert "between -3 and 250" in warning
    assert "clamp='auto'" in warning


def test_an_automatic_clamp_is_told():
    (said,) = said_of_clamping(TaskType.REGRESSION, [float(i) for i in range(101)], clamp="auto")
    assert said.startswith("predictions are clamped to 2 .. 98,")


def test_a_clamp_of_classes_has_no_effect_and_that_is_told():
    assert said_of_clamping(TaskType.BINARY_CLASSIFICATION, [0, 1]) == ()
    (warning,) = said_of_clamping(TaskType.BINARY_CLASSIFICATION, [0, 1], clamp="auto")
    assert "no effect" in warning
