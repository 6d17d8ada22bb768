"""Compile each kernel for its one signature, when the first sampler is built and not on import."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numba import types

from rle.sampling.kernels import due, rows, trees

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_LOADING = threading.Lock()


def read_only(array: Array) -> Array:
    """Return a plain read-only view: the one kind of graph array the kernels are compiled for."""
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view


def array_type(dtype: Any, dimensions: int = 1, *, readonly: bool = False) -> Any:
    """Return the type of a contiguous array, as a kernel's signature wants it."""
    return types.Array(dtype, dimensions, "C", readonly=readonly)


@functools.cache
def load() -> None:
    """Compile every kernel for its one signature, or read it from the cache; then compile no more.

    numba takes a read-only array for another type, and a second compilation costs seconds.
    """
    i32, i64, u64 = types.int32, types.int64, types.uint64
    graph = [array_type(i32, readonly=True)] * 2
    graph += [array_type(i64, 2, readonly=True)] * 2
    graph += [array_type(i32, readonly=True), array_type(i64, readonly=True)]
    seeds = [array_type(i32, readonly=True), *[array_type(i64, readonly=True)] * 2]
    outputs = [array_type(u64), array_type(u64), array_type(i32), array_type(i64, 2)]
    nodes, times = array_type(i32, readonly=True), array_type(i64, readonly=True)
    kernels = {
        trees.sample_trees: (*seeds, *graph, *outputs, *[i64] * 8),
        rows.distinct_rows: (nodes, i64, array_type(i32), array_type(i32)),
        rows.days_before: (nodes, nodes, times, times, array_type(types.float32)),
    }
    kernels[due.count_due] = (
        times, i64, i64, i64, times, graph[5], graph[4], nodes, nodes, *graph[:2], i64, i64,
        array_type(i32, 2),
    )  # fmt: skip
    compile_once(kernels)


def compile_once(kernels: dict[Any, tuple[Any, ...]]) -> None:
    """Compile kernels for one signature each, unless that was done, and then for no other."""
    with _LOADING:
        for function, arguments in kernels.items():
            compiled = cast("Any", function)
            if not compiled.signatures:
                compiled.compile(arguments)
                compiled.disable_compile()
