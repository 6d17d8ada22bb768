from __future__ import annotations

from rle.training.preflight import order_warnings
from rle.values import Split

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
