"""Compile each kernel for its one signature, when the first sampler is built and not on import."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numba import types

from rle.sampling.kernels import rows, trees

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_LOADING = threading.Lock()


def read_only(array: Array) -> Array:
    """Return a plain read-only view: the one kind of graph array the kernels are compiled for."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def _array(dtype: Any, dimensions: int = 1, *, readonly: bool = False) -> Any:
    return types.Array(dtype, dimensions, "C", readonly=readonly)


@functools.cache
def load() -> None:
    """Compile every kernel for its one signature, or read it from the cache; then compile no more.

    numba takes a read-only array for another type, and a second compilation costs seconds.
    """
    i32, i64, u64 = types.int32, types.int64, types.uint64
    graph = [_array(i32, readonly=True)] * 2
    graph += [_array(i64, 2, readonly=True)] * 2
    graph += [_array(i32, readonly=True), _array(i64, readonly=True)]
    seeds = [_array(i32, readonly=True), *[_array(i64, readonly=True)] * 2]
    outputs = [_array(u64), _array(u64), _array(i32), _array(i64, 2)]
    nodes, times = _array(i32, readonly=True), _array(i64, readonly=True)
    kernels = {
        trees.sample_trees: (*seeds, *graph, *outputs, *[i64] * 8),
        rows.distinct_rows: (nodes, i64, _array(i32), _array(i32)),
        rows.days_before: (nodes, nodes, times, times, _array(types.float32)),
    }
    with _LOADING:
        for function, arguments in kernels.items():
            compiled = cast("Any", function)
            if not compiled.signatures:
                compiled.compile(arguments)
                compiled.disable_compile()
