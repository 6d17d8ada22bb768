"""How the columns of one table become one vector per distinct row.

Everything numeric goes through one product, all category columns through one bag look-up; their
sum passes one block of LayerNorm and ReLU. The linear layer after it belongs to
`rle.model.inputs`, where it is merged with what follows.

Shapes: U rows, C number columns, K category columns, D datetime columns, F numeric features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn
from torch.nn import functional

from rle.ingest.stats import NUM_QUANTILES
from rle.model.dropout import MaskDropout, ValueDropout
from rle.model.fused import norm_relu
from rle.model.row_vectors import RowVectors
from rle.model.segments import bag_sum
from rle.model.spec import NUM_RESERVED
from rle.model.time import CALENDAR_DIMS, calendar_features
from rle.model.weights import normal, uniform

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rle.graph.schema import TableLayout
    from rle.graph.store import TableStore
    from rle.ingest.stats import CategoryStats, NumberStats, StampStats, TableStats, VectorStats
    from rle.model.spec import GraphModelSpec
    from rle.model.tensors import TensorRows

    Stats = TypeVar("Stats", NumberStats, CategoryStats, StampStats, VectorStats)

QUANTILE_SCALE = 12**0.5
"""Makes a uniform share of deviation 1."""
CLIP = 5.0
"""Standardised numbers are kept within this many deviations."""


class NumberFeatures(nn.Module):
    """Each number twice, standardised and as its quantile, and a flag where NULL."""

    mean: Tensor
    std: Tensor
    quantiles: Tensor
    nullable: Tensor
    read: Tensor

    def __init__(self, every: Sequence[NumberStats], spec: GraphModelSpec) -> None:
        super().__init__()
        read = [i for i, s in enumerate(every) if spec.is_read(s)]
        stats = [every[i] for i in read]
        self.reads_all = len(read) == len(every)
        self.register_buffer("read", torch.tensor(read, dtype=torch.int64))
        self.register_buffer("mean", torch.tensor([s.mean for s in stats], dtype=torch.float32))
        self.register_buffer("std", torch.tensor([s.std for s in stats], dtype=torch.float32))
        levels = [s.quantiles or (0.0,) * NUM_QUANTILES for s in stats]
        shape = (len(stats), NUM_QUANTILES)
        self.register_buffer("quantiles", torch.tensor(levels, dtype=torch.float32).view(shape))
        nullable = [i for i, s in enumerate(stats) if s.num_nulls > 0]
        self.register_buffer("nullable", torch.tensor(nullable, dtype=torch.int64))
        self.num_features = 2 * len(stats) + len(nullable)

    def forward(self, numbers: Tensor) -> Tensor:
        """float32 [U, C] with NaN for NULL -> float32 [U, 2 read + nullable columns]."""
        if not self.reads_all:
            numbers = numbers.index_select(1, self.read)
        null = torch.isnan(numbers)
        standard = ((numbers - self.mean) / self.std).clamp_(-CLIP, CLIP)
        standard = torch.where(null, 0.0, standard)
        quantile = torch.where(null, 0.0, self._quantile_position(numbers))
        flags = null.index_select(1, self.nullable).to(numbers.dtype)
        return torch.cat([standard, quantile, flags], dim=1)

    def _quantile_position(self, numbers: Tensor) -> Tensor:
        """Where each number lies between the quantiles, uniform with a deviation of about 1.

        A value that fills several quantiles lies in the middle of them.
        """
        levels, values = self.quantiles, numbers.t().contiguous()
        above = torch.searchsorted(levels, values, right=True)
        below = (above - 1).clamp_(min=0)
        low = levels.gather(1, below)
        high = levels.gather(1, above.clamp(max=NUM_QUANTILES - 1))
        between = below + (values - low) / (high - low).clamp(min=1e-30)
        middle = self._middle_of_ties().gather(1, below)
        position = torch.where(values == low, middle, between)
        share = position.clamp(0, NUM_QUANTILES - 1) / (NUM_QUANTILES - 1)
        return (share - 0.5).t() * QUANTILE_SCALE

    def _middle_of_ties(self) -> Tensor:
        """Mean position of all quantiles equal to each quantile, float32 [C, 33]."""
        levels = self.quantiles
        first = torch.searchsorted(levels, levels, right=False)
        last = torch.searchsorted(levels, levels, right=True) - 1
        return (first + last).float() / 2


class StampFeatures(nn.Module):
    """Calendar parts of datetime columns; the year only where no age says it better."""

    low: Tensor
    high: Tensor

    def __init__(self, stats: Sequence[StampStats], spec: GraphModelSpec) -> None:
        super().__init__()
        self.has_year = spec.dates_have_year
        self.register_buffer("low", torch.tensor([s.min for s in stats], dtype=torch.float64))
        self.register_buffer("high", torch.tensor([s.max for s in stats], dtype=torch.float64))
        self.num_features = CALENDAR_DIMS * len(stats) * spec.reads_calendar

    def forward(self, stamps: Tensor) -> Tensor:
        """int64 [U, D] -> float32 [U, 10 D]."""
        return calendar_features(stamps, self.low, self.high, has_year=self.has_year)


class VectorFeatures(nn.Module):
    """Vector columns, standardised as a whole, and a flag where NULL."""

    mean: Tensor
    std: Tensor

    def __init__(self, stats: Sequence[VectorStats]) -> None:
        super().__init__()
        self.columns = tuple(s.column for s in stats)
        self.register_buffer("mean", torch.tensor([s.mean for s in stats], dtype=torch.float32))
        self.register_buffer("std", torch.tensor([s.std for s in stats], dtype=torch.float32))
        self.num_features = sum(s.dim + 1 for s in stats)

    def forward(self, rows: TensorRows) -> list[Tensor]:
        """One float32 [U, dim + 1] per column."""
        features = []
        for i, column in enumerate(self.columns):
            vectors = rows.vectors[column].float()
            null = torch.isnan(vectors).any(dim=1, keepdim=True)
            standard = (vectors - self.mean[i]) / self.std[i]
            features.append(torch.cat([torch.where(null, 0.0, standard), null.float()], dim=1))
        return features


class Vocabulary(nn.Module):
    """Category columns of a table in one embedding table, column after column.

    Each column begins with its vector for NULL, then the one for rare and unknown values. Codes
    of a snapshot mean nothing to another snapshot: `bind` says which code is which value.
    """

    lookup: Tensor
    base: Tensor
    unknown: Tensor

    def __init__(self, columns: Sequence[str], values: Sequence[Sequence[str]]) -> None:
        super().__init__()
        self.columns, self.values = tuple(columns), tuple(tuple(v) for v in values)
        self.register_buffer("lookup", torch.empty(0, dtype=torch.int64), persistent=False)
        self.register_buffer("base", torch.empty(0, dtype=torch.int64), persistent=False)
        sizes = [len(v) + NUM_RESERVED for v in self.values]
        starts = np.cumsum([0, *sizes[:-1]]) if sizes else np.zeros(0)
        unknown = torch.from_numpy(starts.astype(np.int64) + 1)
        self.register_buffer("unknown", unknown, persistent=False)
        self.num_vectors = sum(sizes)

    def bind(self, dictionaries: Sequence[pa.Array]) -> None:
        """Map the codes of one snapshot, whose code i of a column is the dictionary's value i."""
        lookups, bases, num_codes, start = [], [], 0, 0
        for values, dictionary in zip(self.values, dictionaries, strict=True):
            found = pc.index_in(dictionary, value_set=pa.array(values, pa.string()))
            rank = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
            # Rank -1, unknown, is the second of the reserved vectors.
            lookups.append(np.concatenate([[start], rank + start + NUM_RESERVED]))
            bases.append(num_codes + 1)  # code -1, NULL, falls on the first entry
            num_codes += rank.size + 1
            start += len(values) + NUM_RESERVED
        if lookups:
            self.lookup = torch.from_numpy(np.concatenate(lookups)).to(self.lookup.device)
            self.base = torch.tensor(bases, device=self.base.device)

    def forward(self, codes: Tensor) -> Tensor:
        """int64 [U, K] codes -> int64 [U, K] rows of the embedding table."""
        flat = (codes + self.base).flatten()
        return self.lookup.index_select(0, flat).view(codes.shape)


class TableEncoder(nn.Module):
    """Distinct rows of one table -> float32 [U, channels], not below zero but for their vectors."""

    def __init__(self, layout: TableLayout, stats: TableStats, spec: GraphModelSpec) -> None:
        super().__init__()
        self.numbers = NumberFeatures(_ordered(stats.numbers, layout.number_columns), spec)
        self.stamps = StampFeatures(_ordered(stats.stamps, layout.stamp_columns), spec)
        vectors = [name for name, _ in layout.vector_columns]
        self.vectors = VectorFeatures(_ordered(stats.vectors, vectors))
        categories = _ordered(stats.categories, layout.code_columns)
        self.codes = Vocabulary(layout.code_columns, [spec.vocabulary(s) for s in categories])
        lists = _ordered(stats.lists, layout.list_columns)
        self.lists = nn.ModuleList(Vocabulary([s.column], [spec.vocabulary(s)]) for s in lists)
        self.bias = nn.Parameter(torch.zeros(spec.channels))
        self.weight = uniform(self.num_numeric, spec.channels) if self.num_numeric else None
        num_vectors = self.codes.num_vectors
        self.categories = normal(num_vectors, spec.channels) if num_vectors else None
        self.list_values = nn.ParameterList(
            [normal(v.num_vectors, spec.channels) for v in self._list_vocabularies()]
        )
        self.norm = nn.LayerNorm(spec.channels)
        self.value_dropout = ValueDropout(spec.category_dropout, seed=spec.seed)
        self.row_dropout = MaskDropout(spec.node_dropout, spec.channels, seed=spec.seed)
        num_rows = dict(spec.shallow_rows).get(layout.name)
        self.row_vectors: RowVectors | None = None
        if num_rows is not None:
            self.row_vectors = RowVectors(num_rows, spec.channels, key=layout.key_columns[0])

    @property
    def num_numeric(self) -> int:
        """F."""
        return self.numbers.num_features + self.stamps.num_features + self.vectors.num_features

    def bind(self, store: TableStore) -> None:
        """Take the codes of one snapshot's table."""
        self.codes.bind([store.dictionary(column) for column in self.codes.columns])
        for vocabulary in self._list_vocabularies():
            vocabulary.bind([store.dictionary(column) for column in vocabulary.columns])
        if self.row_vectors is not None:
            self.row_vectors.bind(store)

    def forward(self, rows: TensorRows) -> Tensor:
        """Encode U rows."""
        encoded = self._encode(rows)
        return encoded if self.row_vectors is None else encoded + self.row_vectors(rows.rows)

    def _encode(self, rows: TensorRows) -> Tensor:
        total = self._numeric(rows)
        if self.categories is not None:
            ids = self.value_dropout(self.codes(rows.codes), self.codes.unknown, rows.rows)
            total = bag_sum(self.categories, ids).add_(total)
        for vocabulary, table in zip(self._list_vocabularies(), self.list_values, strict=True):
            total = total + _list_mean(rows, vocabulary, table)
        dropout = self.row_dropout
        if not dropout.is_on:
            return norm_relu(total.float(), self.norm.weight, self.norm.bias)
        return norm_relu(
            total.float(),
            self.norm.weight,
            self.norm.bias,
            masks=dropout.masks,
            choice=dropout.choose(rows.rows),
            scale=1 / (1 - dropout.share),
        )

    def _numeric(self, rows: TensorRows) -> Tensor:
        if self.weight is None:
            return self.bias.expand(rows.num_rows, -1)
        features: list[Tensor] = []
        if self.numbers.num_features:
            features.append(self.numbers(rows.numbers))
        if self.stamps.num_features:
            features.append(self.stamps(rows.stamps))
        features += self.vectors(rows)
        joined = features[0] if len(features) == 1 else torch.cat(features, dim=1)
        return torch.addmm(self.bias, joined, self.weight)

    def _list_vocabularies(self) -> list[Vocabulary]:
        return [v for v in self.lists if isinstance(v, Vocabulary)]


def _list_mean(rows: TensorRows, vocabulary: Vocabulary, table: Tensor) -> Tensor:
    """Mean vector of each row's values; zeros for an empty list."""
    offsets, codes = rows.lists[vocabulary.columns[0]]
    ids = vocabulary(codes.unsqueeze(1)).squeeze(1)
    if ids.numel() == 0:
        return table.new_zeros(rows.num_rows, table.shape[1]) + 0 * table.sum()
    return functional.embedding_bag(ids, table, offsets, mode="mean", include_last_offset=True)


def _ordered(stats: Sequence[Stats], columns: Sequence[str]) -> list[Stats]:
    by_name = {s.column: s for s in stats}
    return [by_name[column] for column in columns]
