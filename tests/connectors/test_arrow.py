from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rle.connectors.arrow import NUM_RUNS, plain_type, spread, take_runs


@pytest.mark.parametrize(
    ("given_type", "plain"),
    [
        (pa.dictionary(pa.int8(), pa.string()), pa.string()),
        (pa.run_end_encoded(pa.int32(), pa.float64()), pa.float64()),
        (pa.string_view(), pa.string()),
        (pa.list_(pa.dictionary(pa.int8(), pa.string())), pa.list_(pa.string())),
        (pa.list_(pa.string_view(), 3), pa.list_(pa.string(), 3)),
        (pa.uuid(), pa.binary(16)),
        (pa.decimal128(38, 0), pa.decimal128(38, 0)),
    ],
)
def test_plain_type_is_the_type_of_the_values(given_type: pa.DataType, plain: pa.DataType) -> None:
    assert plain_type(given_type) == plain


@given(st.integers(0, 5000), st.integers(1, 500))
def test_spread_covers_first_and_last_row_and_keeps_its_size(num_rows: int, max_rows: int) -> None:
    runs = spread(num_rows, max_rows)
    rows = [row for start, stop in runs for row in range(start, stop)]
    assert len(rows) == min(num_rows, max_rows)
    assert rows == sorted(set(rows))
    assert len(runs) <= NUM_RUNS
    if max_rows > 1 and rows:
        assert (rows[0], rows[-1]) == (0, num_rows - 1)


@given(st.lists(st.integers(0, 7)), st.integers(1, 20))
def test_take_runs_finds_the_rows_in_any_batches(sizes: list[int], max_rows: int) -> None:
    total = sum(sizes)
    ids = pa.array(range(total), pa.int64())
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    batches = [
        pa.RecordBatch.from_arrays([ids.slice(start, size)], names=["id"])
        for start, size in zip(starts, sizes, strict=True)
    ]
    runs = spread(total, max_rows)
    taken = [row for batch in take_runs(batches, runs) for row in batch["id"].to_pylist()]
    assert taken == [row for start, stop in runs for row in range(start, stop)]
