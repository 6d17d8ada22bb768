"""Copies the next batch to the device while the current one computes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator


class Prefetcher:
    """Batches of `batches` on `device`, one of them always on its way.

    On CUDA each batch is copied on a stream of its own, so the copy of the next overlaps the
    kernels of the current. On the CPU batches pass through, moved but not read ahead: the loader's
    threads do that already.

    Args:
        batches: Host batches.
        move: Copies one batch to a device without waiting for the copy.
        device: Where to.
    """

    def __init__(
        self,
        batches: Iterator[Any],
        move: Callable[[Any, torch.device], Any],
        device: torch.device,
    ) -> None:
        self._batches = batches
        self._move = move
        self._device = device
        self._stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __iter__(self) -> Generator[Any]:
        """Yield each batch once it may be computed on."""
        if self._stream is None:
            for batch in self._batches:
                yield self._move(batch, self._device)
            return
        computing = torch.cuda.current_stream(self._device)
        staged = self._stage(self._stream)
        while staged is not None:
            batch = staged
            computing.wait_stream(self._stream)
            for tensor in tensors_of(batch):
                if tensor.is_cuda:
                    # The allocator must not hand this memory out while this stream reads it.
                    tensor.record_stream(computing)
            staged = self._stage(self._stream)
            yield batch

    def _stage(self, stream: torch.cuda.Stream) -> Any:
        """Start copying the next batch; None after the last."""
        host = next(self._batches, None)
        if host is None:
            return None
        with torch.cuda.stream(stream):
            return self._move(host, self._device)


def tensors_of(value: Any) -> Iterator[torch.Tensor]:
    """Every tensor inside dataclasses, mappings and sequences, in order."""
    if isinstance(value, torch.Tensor):
        yield value
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_of(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_of(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_of(item)
