"""How kernels are compiled, and the machine instructions that numba has no name for.

A warning to those who edit this file: numba's cache notices changes only in the file of the kernel
it stored, so touch the other files of this folder too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""An odd number whose multiples spread over 64 bits."""
LAST_TIME = np.int64(0x7FFFFFFFFFFFFFFF)
"""`NULL_TIME`, as the kernels need it."""


def kernel(function: F) -> F:
    """Compile `function` on first use, without bounds checks and without the GIL."""
    options: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
    try:
        compiled = njit(cache=True, **options)(function)
    except RuntimeError:  # no folder that numba may write its cache to: compile in every process
        compiled = njit(**options)(function)
    return cast("F", compiled)


def _call_prefetch(builder: Any, pointer: Any) -> None:
    pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    flag = ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [pointer.type, flag, flag, flag])
    insert: Any = cgutils.get_or_insert_function
    function = insert(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [pointer, flag(0), flag(3), flag(1)])


def _prefetch(typing: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of `array[index]`. Never faults, so the index need not be valid."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        _call_prefetch(builder, builder.gep(data, [args[1]]))
        return context.get_dummy_value()

    return types.void(array, types.int64), generate


def _high_product(typing: Any, a: Any, b: Any) -> Any:
    """The upper 64 bits of a 128-bit product: maps a hash onto [0, b) without a division."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        return builder.trunc(builder.lshr(product, wide(64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


def _lowest_bit(typing: Any, word: Any) -> Any:
    """The position of the lowest set bit of a word that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(types.uint64), generate


def _load_int64(typing: Any, address: Any, index: Any) -> Any:
    """Read an int64 array through its address: tables' times are separate files, and a kernel
    cannot take a list of arrays without a compiled version per length.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.load(builder.gep(pointer, [args[1]]))

    return types.int64(types.int64, types.int64), generate


def _prefetch_int64(typing: Any, address: Any, index: Any) -> Any:
    """Ask for what `load_int64` will read."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        _call_prefetch(builder, builder.gep(pointer, [args[1]]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _get(typing: Any, array: Any, index: Any) -> Any:
    """`array[index]` without the test for a negative index, which costs as much as the load."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.load(builder.gep(data, [args[1]]))

    return array.dtype(array, types.int64), generate


def _put(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """`array[index] = value`, as `get`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        builder.store(args[2], builder.gep(data, [args[1]]))
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype), generate


get: Any = intrinsic(_get)
put: Any = intrinsic(_put)
prefetch: Any = intrinsic(_prefetch)
high_product: Any = intrinsic(_high_product)
lowest_bit: Any = intrinsic(_lowest_bit)
load_int64: Any = intrinsic(_load_int64)
prefetch_int64: Any = intrinsic(_prefetch_int64)
