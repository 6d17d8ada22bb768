from __future__ import annotations

import pyarrow as pa
import pytest

from rle.errors import DataError
from rle.ingest.keys import plain_keys


def test_an_integer_key_beyond_64_bits_with_a_sign_is_refused_with_a_way_out() -> None:
    keys = pa.array([1, 2**63], pa.uint64())
    with pytest.raises(DataError, match=r"'a\.id' does not fit 64 bits.*Cast it to text in a view"):
        plain_keys(keys, where="a.id")


def test_unsigned_and_decimal_keys_are_exact() -> None:
    keys = pa.array([0, 2**63 - 1], pa.uint64())
    assert plain_keys(keys, where="a.id").to_pylist() == [0, 2**63 - 1]
    whole = keys.cast(pa.decimal128(20, 0))
    assert plain_keys(whole, where="a.id").to_pylist() == [0, 2**63 - 1]
