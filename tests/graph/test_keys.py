from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rle.errors import DataError
from rle.graph.keys import KeyIndex, index_keys
from rle.ingest.keys import plain_keys

SPREAD = st.one_of(st.integers(-10, 40), st.integers(-(2**63), 2**63 - 1))


def index_of(values: pa.Array) -> KeyIndex:
    return index_keys("k", values.type, plain_keys(values, where="t.k"), table="t")


@pytest.mark.parametrize(
    ("strategy", "dtype"),
    [
        (SPREAD, pa.int64()),
        (st.integers(0, 30), pa.int32()),
        (st.floats(-5, 5), pa.float64()),
        (st.text(max_size=2), pa.string()),
    ],
)
@given(data=st.data())
def test_look_ups_equal_a_dictionary(
    data: st.DataObject, strategy: st.SearchStrategy[Any], dtype: pa.DataType
) -> None:
    keys: list[Any] = data.draw(st.lists(strategy, unique=True, max_size=20))
    keys.insert(data.draw(st.integers(0, len(keys))), None)
    wanted = data.draw(st.lists(st.one_of(st.none(), strategy, st.sampled_from(keys)), max_size=20))
    index = index_of(pa.array(keys, dtype))
    by_key = {key: row for row, key in enumerate(keys) if key is not None}
    expected = [-1 if key is None else by_key.get(key, -1) for key in wanted]
    assert index.rows_of(pa.array(wanted, dtype)).tolist() == expected
    assert index.values().to_pylist() == keys
    assert index.values().type == dtype


def test_numbers_of_different_types_compare_by_value() -> None:
    for keys in (pa.array([1, 2, 3]), pa.array([10**15, 2, 3])):
        index = index_of(keys)
        assert index.rows_of(pa.array([2.0, 2.5, 3.0, None])).tolist() == [1, -1, 2, -1]
        assert index.rows_of(pa.array([2], pa.uint8())).tolist() == [1]
    assert index_of(pa.array([1.0, 2.5])).rows_of(pa.array([1, 2])).tolist() == [0, -1]


def test_text_and_numbers_are_never_compared() -> None:
    with pytest.raises(DataError, match="7 never equals '7'"):
        index_of(pa.array([7])).rows_of(pa.array(["7"]))


@pytest.mark.parametrize("values", [pa.array([b"x"]), pa.array([True]), pa.array([[1]])])
def test_other_types_are_no_keys(values: pa.Array) -> None:
    with pytest.raises(DataError, match=r"'t\.k' is .*; keys must be"):
        plain_keys(values, where="t.k")


def test_integers_beyond_64_bits_are_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"'t\.k' does not fit"):
        plain_keys(pa.array([2**64 - 1], pa.uint64()), where="t.k")
