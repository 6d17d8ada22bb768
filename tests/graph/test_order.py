from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rle.graph.order import places, row_order, stable_order
from rle.ingest.nulls import NULL_TIME

DAY = 86_400 * 10**9
TIMES = st.one_of(
    st.integers(-3, 3),
    st.integers(-3, 3).map(lambda d: d * DAY),
    st.sampled_from([NULL_TIME, -(2**62), 2**62, NULL_TIME - 1, -(2**63) + 1]),
)
KEYS = {
    "integer": (st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), pa.int64()),
    "float": (st.one_of(st.none(), st.floats(-1e9, 1e9)), pa.float64()),
    "text": (st.one_of(st.none(), st.text(max_size=3)), pa.large_string()),
}


@given(values=hnp.arrays(np.int64, st.integers(0, 40), elements=TIMES))
def test_stable_order_is_numpys_stable_order(values: np.ndarray) -> None:
    found = stable_order(values)
    if found is None:
        assert (values[1:] >= values[:-1]).all()
    else:
        np.testing.assert_array_equal(found, np.argsort(values, kind="stable"))


@pytest.mark.parametrize("kind", sorted(KEYS))
@given(data=st.data())
def test_rows_are_ordered_by_time_then_key_then_position(kind: str, data: st.DataObject) -> None:
    strategy, dtype = KEYS[kind]
    keys = data.draw(st.lists(strategy, max_size=20))
    size = len(keys)
    times = data.draw(st.lists(TIMES, min_size=size, max_size=size))

    def rank(i: int) -> tuple[Any, ...]:
        key = keys[i]
        filler: Any = b"" if kind == "text" else 0
        shown = key.encode() if isinstance(key, str) else key
        return (times[i], key is None, filler if key is None else shown, i)

    found = row_order(np.array(times, np.int64), pa.array(keys, dtype))
    expected = sorted(range(size), key=rank)
    assert (list(range(size)) if found is None else found.tolist()) == expected


def test_tables_in_order_cost_no_order() -> None:
    assert row_order(np.array([1, 1, 2]), pa.array([5, 6, 1])) is None
    assert row_order(None, None) is None
    assert row_order(np.array([], np.int64), pa.array([], pa.int64())) is None


def test_places_invert_an_order() -> None:
    order = np.array([2, 0, 1])
    assert places(order).tolist() == [1, 2, 0]
