"""A learnt vector per row of a table, found again by the row's key.

Row numbers mean nothing to another snapshot. The hash of each row's key is kept beside the vectors,
so that the same row has the same vector wherever it lies; a row that training never saw has none.

Shapes: R rows with a vector, N rows of a snapshot's table, U distinct rows of a batch, C channels.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from rle.errors import InternalError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rle.graph.snapshot import Snapshot
    from rle.graph.store import TableStore
    from rle.spec.config import TrainerConfig

RowCounts = tuple[tuple[str, int], ...]
"""Tables whose rows have vectors, and how many of their rows training may see."""


def count_rows(config: TrainerConfig, snapshot: Snapshot, *, until: int) -> RowCounts:
    """Count the rows that `config.shallow_embeddings_list` gives a vector each.

    Args:
        config: The tables.
        snapshot: The graph that training reads.
        until: Time of the newest training row, nanoseconds; newer rows have no vector.
    """
    counts = []
    for name in config.shallow_embeddings_list:
        store = snapshot.tables[name]
        seen = store.num_rows
        if store.times is not None:
            seen = int(np.searchsorted(store.times, until, side="right"))
        counts.append((name, seen))
    return tuple(counts)


def check_counted(config: TrainerConfig, counts: RowCounts) -> None:
    """Make sure that the rows of the tables that `config` names were counted."""
    wanted, given = config.shallow_embeddings_list, tuple(name for name, _ in counts)
    if given != wanted:
        raise InternalError(f"Rows of {given} were counted, but {wanted} are to have vectors.")


class RowVectors(nn.Module):
    """One vector per row, zero until training moves it."""

    hashes: Tensor
    lookup: Tensor

    def __init__(self, num_rows: int, channels: int, *, key: str) -> None:
        super().__init__()
        self.key = key
        self.register_buffer("hashes", torch.zeros(num_rows, dtype=torch.int64))
        self.register_buffer("lookup", torch.empty(0, dtype=torch.int64), persistent=False)
        self.vectors = nn.Parameter(torch.zeros(num_rows, channels))

    def name_rows(self, store: TableStore) -> None:
        """Give the vectors to the oldest rows of `store`, before training."""
        num_rows = self.hashes.shape[0]
        if store.num_rows < num_rows:
            raise InternalError(f"{store.name!r} has {store.num_rows} rows, not {num_rows}.")
        self.hashes.copy_(torch.from_numpy(np.sort(key_hashes(store, self.key, num_rows))))

    def bind(self, store: TableStore) -> None:
        """Find which row of `store` has which vector."""
        known = self.hashes.cpu().numpy()
        wanted = key_hashes(store, self.key, store.num_rows)
        at = np.searchsorted(known, wanted)
        found = known[np.minimum(at, known.size - 1)] == wanted if known.size else at > 0
        lookup = torch.from_numpy(np.where(found, at, -1))
        self.lookup = lookup.to(self.lookup.device)

    def forward(self, rows: Tensor) -> Tensor:
        """int64 [U] row numbers -> float32 [U, C], zeros for rows without a vector."""
        if self.vectors.shape[0] == 0:
            return self.vectors.new_zeros(rows.shape[0], self.vectors.shape[1])
        at = self.lookup.index_select(0, rows)
        found = self.vectors.index_select(0, at.clamp(min=0))
        return found * (at >= 0).unsqueeze(1)


def key_hashes(store: TableStore, column: str, num_rows: int) -> NDArray[np.int64]:
    """64-bit hashes of the keys, as text, of the first `num_rows` rows."""
    keys = store.key_indexes[column].plain.slice(0, num_rows).to_pylist()
    digests = (hashlib.blake2b(str(key).encode(), digest_size=8).digest() for key in keys)
    return np.frombuffer(b"".join(digests), np.dtype("<i8")).astype(np.int64)
