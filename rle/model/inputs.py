"""The first states of nodes: their encoded rows, their ages and what is known of their children.

Shapes: N nodes of a frontier, B rows, C channels, E extra features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rle.errors import InternalError
from rle.model.encoders import TableEncoder
from rle.model.states import Factored
from rle.model.time import AGE_DIMS, age_features, days_between
from rle.model.weights import uniform

if TYPE_CHECKING:
    from rle.model.spec import GraphModelSpec
    from rle.model.tensors import TensorBatch, TensorHop, TensorRows
    from rle.sampling.batch import FrontierKey

COUNT_DIMS = 3
_LOG_SCALE = 3.0
_FEW = 16.0
_RATIO_SCALE, _RATIO_CLIP = 5.0, 3.0
# Below this many nodes per distinct row, one row per node is cheaper than a look-up and a scatter.
_MIN_REUSE = 1.25


class TableInput(nn.Module):
    """First states of the nodes of one table, at every depth."""

    def __init__(self, table: str, spec: GraphModelSpec) -> None:
        super().__init__()
        layout = spec.graph.table(table)
        self.table, self.depth = table, spec.num_layers
        self.encoder = TableEncoder(layout, spec.stats.table(table), spec)
        self.has_ages = spec.use_temporal_encoder and layout.has_time
        self.num_stamps = len(layout.stamp_columns) if spec.age_features else 0
        self.counted = [spec.graph.relations.index(r) for r in spec.counted_relations(table)]
        targets = (spec.graph.table(r.target) for r in spec.counted_relations(table))
        num_windows = len(spec.count_windows_h)
        self.count_dims = [
            COUNT_DIMS
            + (AGE_DIMS + num_windows) * t.has_time
            + 2 * num_windows * (r.name in spec.lags)
            for r, t in zip(spec.counted_relations(table), targets, strict=True)
        ]
        self.marks_seeds = spec.id_awareness and table == spec.entity_table
        num_extra = AGE_DIMS * (self.has_ages + self.num_stamps) + sum(self.count_dims)
        num_extra += self.marks_seeds
        self.out_weight = uniform(spec.channels, spec.channels)
        self.out_bias = nn.Parameter(torch.zeros(spec.channels))
        self.extra_weight = uniform(num_extra, spec.channels) if num_extra else None

    def forward(self, batch: TensorBatch) -> dict[FrontierKey, Factored]:
        """Encode the table's distinct rows once, for all its frontiers down to the last layer."""
        keys = [key for key in batch.index if key[1] == self.table and key[0] <= self.depth]
        rows = batch.tables[self.table]
        sizes = [batch.index[key].shape[0] for key in keys]
        if self._is_row_per_node(rows, sum(sizes)):
            joined = torch.cat([batch.index[key] for key in keys])
            blocks = self.encoder(rows.take(joined)).split(sizes)
            return {
                key: self._state(block, None, batch, key)
                for key, block in zip(keys, blocks, strict=True)
            }
        block = self.encoder(rows)
        return {key: self._state(block, batch.index[key], batch, key) for key in keys}

    def _is_row_per_node(self, rows: TensorRows, num_nodes: int) -> bool:
        narrow = 2 * rows.width <= self.out_weight.shape[0]
        return narrow and not rows.lists and num_nodes <= _MIN_REUSE * rows.num_rows

    def _state(
        self, block: Tensor, index: Tensor | None, batch: TensorBatch, key: FrontierKey
    ) -> Factored:
        extra = self.extra_features(batch, key)
        every = self.out_weight[:0] if self.extra_weight is None else self.extra_weight
        weight = every[: extra.shape[1]]
        return Factored(block, index, extra, self.out_weight, self.out_bias, weight)

    def extra_features(self, batch: TensorBatch, key: FrontierKey) -> Tensor:
        """Features of nodes that depend on their seed, float32 [N, E].

        Whether it is the seed's own row, the age of the row, the ages of its datetime columns,
        then, for nodes that were expanded, count and age of the newest visible row of each
        relation. The deepest nodes lack the last group, which is why it comes last.
        """
        index = batch.index[key]
        parts: list[Tensor] = []
        if self.marks_seeds:
            parts.append(self._is_seed(batch, key))
        if self.has_ages:
            parts.append(age_features(batch.ages[key]))
        if self.num_stamps:
            seed_times = batch.times.index_select(0, batch.seed[key])
            stamps = batch.tables[self.table].stamps.index_select(0, index)
            parts += [age_features(days_between(seed_times, s)) for s in stamps.unbind(1)]
        if self.counted and key[0] < self.depth:
            hops = {h.relation: h for h in batch.hops if (h.depth, h.source) == key}
            for relation, width in zip(self.counted, self.count_dims, strict=True):
                parts.append(_counts(hops[relation]))
                if parts[-1].shape[1] != width:
                    raise InternalError(
                        f"Relation {relation} gives {parts[-1].shape[1]} counts, not {width}: "
                        "the sampler must be given the model's windows."
                    )
        if not parts:
            return torch.empty(index.shape[0], 0, device=index.device)
        return torch.cat(parts, dim=1)

    def _is_seed(self, batch: TensorBatch, key: FrontierKey) -> Tensor:
        """Whether each node is the row that its tree is for, float32 [N, 1]."""
        own = batch.index[0, self.table].index_select(0, batch.seed[key])
        return (batch.index[key] == own).float().unsqueeze(1)


def _counts(hop: TensorHop) -> Tensor:
    """What is known of the children without reading them: float32 [P, ...].

    How many there are, the age of the newest, how many are in each window, and how many of those
    that were due have not come.
    """
    seen = (hop.count > 0).float()
    few = (hop.count / _FEW).clamp(max=4)  # linear where the logarithm is still coarse
    total = torch.stack([hop.count.log1p() / _LOG_SCALE, seen, few], dim=1)
    if hop.newest_age is None:
        return total
    recent = hop.recent.log1p()
    parts = [total, age_features(hop.newest_age), recent / _LOG_SCALE]
    if hop.due is not None:
        due = hop.due.log1p()
        missing = ((due - recent) * _RATIO_SCALE).clamp(-_RATIO_CLIP, _RATIO_CLIP)
        parts += [due / _LOG_SCALE, missing]
    return torch.cat(parts, dim=1)
