"""The baseline of benchmarks/train.py and link.py: the same model, of torch-geometric's modules.

Every node of every tree is encoded by itself, as the models of RelBench do, with torch's own
modules; messages run through one `HeteroConv` of `SAGEConv`s per layer, over one graph that holds
all trees. Plain, every layer computes every node, as RelBench's model does; trimmed, only the
depths that the root can still see. Head, ages and counts are those of `rle.model`.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rle.model.heads import Head, Join, Shortcut
from rle.model.inputs import TableInput
from rle.model.segments import SUM_SCALE
from rle.model.spec import NUM_RESERVED

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch_geometric.nn import HeteroConv, SAGEConv

if TYPE_CHECKING:
    from rle.graph.snapshot import Snapshot
    from rle.model.spec import GraphModelSpec
    from rle.model.tensors import TensorBatch, TensorHop

    Edges = dict[tuple[str, str, str], Tensor]


class PlainInput(nn.Module):
    """Numbers and categories of one table, node by node; other kinds are not in the benchmark."""

    def __init__(self, table: str, spec: GraphModelSpec) -> None:
        super().__init__()
        self.features = TableInput(table, spec)
        encoder, size = self.features.encoder, spec.channels
        self.numbers = nn.Linear(encoder.numbers.num_features, size)
        self.embeddings = nn.ModuleList(
            nn.Embedding(len(values) + NUM_RESERVED, size) for values in encoder.codes.values
        )
        self.block = nn.Sequential(
            nn.LayerNorm(size), nn.ReLU(), nn.Dropout(spec.node_dropout), nn.Linear(size, size)
        )
        extra = self.features.extra_weight
        self.extra = None if extra is None else nn.Linear(extra.shape[0], size)

    def forward(self, batch: TensorBatch, key: tuple[int, str]) -> Tensor:
        """[N, channels] of one frontier."""
        rows, encoder = batch.tables[key[1]].take(batch.index[key]), self.features.encoder
        states = self.numbers(encoder.numbers(rows.numbers))
        ids = encoder.codes(rows.codes) - (encoder.codes.unknown - 1)
        for column, embedding in zip(ids.unbind(1), self.embeddings, strict=True):
            states = states + embedding(column)
        states = self.block(states)
        extra = self.features.extra_features(batch, key)
        if self.extra is None or extra.shape[1] < self.extra.in_features:
            return states
        return states + self.extra(extra)


class PyGModel(nn.Module):
    """Same inputs, same aggregates, same head as `rle.model.encoder.TreeEncoder`."""

    def __init__(self, spec: GraphModelSpec, *, is_trimmed: bool, num_outputs: int) -> None:
        super().__init__()
        self.spec, self.is_trimmed = spec, is_trimmed
        self.tables = spec.tables_within(spec.num_layers)
        self.inputs = nn.ModuleDict({t: PlainInput(t, spec) for t in self.tables})
        self.convs = nn.ModuleList()
        self.norms = nn.ModuleList()
        for layer in range(1, spec.num_layers + 1):
            tables = spec.tables_within(spec.num_layers - (layer if is_trimmed else 1))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.convs.append(HeteroConv(self._convolutions(tables), aggr="sum"))
            self.norms.append(nn.ModuleDict({t: nn.LayerNorm(spec.channels) for t in tables}))
        self.join = Join(spec)
        self.head = Head(spec, num_outputs=num_outputs)
        self.shortcut = Shortcut(spec, num_outputs=num_outputs)

    def bind(self, snapshot: Snapshot) -> None:
        """Learn the codes of `snapshot`."""
        for table, part in self.inputs.items():
            part.features.encoder.bind(snapshot.tables[table])

    def forward(self, batch: TensorBatch) -> Tensor:
        """[S, outputs]."""
        depths = range(self.spec.num_layers + 1)
        parts: dict[str, list[Tensor]] = {t: [] for t in self.tables}
        start: dict[tuple[int, str], int] = {}
        for depth in depths:
            for table in self.tables:
                if (depth, table) in batch.index:
                    start[depth, table] = sum(len(x) for x in parts[table])
                    parts[table].append(self._encode(batch, (depth, table)))
        states = {table: torch.cat(rows) for table, rows in parts.items()}
        num_seeds = batch.times.shape[0]
        history = [states[self.spec.entity_table][:num_seeds]]
        for layer, (conv, norms) in enumerate(zip(self.convs, self.norms, strict=True), start=1):
            deepest = self.spec.num_layers - (layer if self.is_trimmed else 1)
            kept = self._within(batch, deepest if self.is_trimmed else self.spec.num_layers)
            edges = self._edges(batch, deepest, start)
            sources = states | {f"{t} scaled": x * SUM_SCALE for t, x in states.items()}
            targets = {t: states[t][: kept[t]] for t in norms}
            pairs = {name: (sources[name[0]], targets[name[2]]) for name in edges}
            mixed = self._convolve(conv, pairs, edges)
            states = states | {t: norm(mixed[t]).relu() for t, norm in norms.items()}
            history.append(states[self.spec.entity_table][:num_seeds])
        joined = torch.cat(history, dim=1)
        return self.head(self.join(joined, batch), batch) + self.shortcut(joined, batch)

    def _encode(self, batch: TensorBatch, key: tuple[int, str]) -> Tensor:
        states: Tensor = self.inputs[key[1]](batch, key)
        return states

    def _convolutions(self, tables: tuple[str, ...]) -> dict[tuple[str, str, str], SAGEConv]:
        convs, size = {}, self.spec.channels
        for i, relation in enumerate(self.spec.graph.relations):
            if relation.source not in tables:
                continue
            ways = {"main": "mean"}
            if relation.many:
                ways |= {"sum": "sum"} | {
                    f"newest{m}": "sum" for m in range(self.spec.newest_children)
                }
            for way, pool in ways.items():
                source = f"{relation.target} scaled" if way == "sum" else relation.target
                # Only one convolution per target adds the target's own state.
                first = way == "main" and not any(k[2] == relation.source for k in convs)
                convs[source, f"{i} {way}", relation.source] = SAGEConv(
                    (size, size), size, aggr=pool, root_weight=first, bias=first
                )
        return convs

    def _convolve(
        self,
        conv: HeteroConv,
        pairs: dict[tuple[str, str, str], tuple[Tensor, Tensor]],
        edges: Edges,
    ) -> dict[str, Tensor]:
        # What HeteroConv.forward does, with targets cut to the depths that are needed.
        out: dict[str, list[Tensor]] = {}
        for name, index in edges.items():
            out.setdefault(name[2], []).append(conv.convs[name](pairs[name], index))
        return {table: torch.stack(parts).sum(0) for table, parts in out.items()}

    def _within(self, batch: TensorBatch, deepest: int) -> dict[str, int]:
        sizes = dict.fromkeys(self.tables, 0)
        for (depth, table), index in batch.index.items():
            if depth <= deepest:
                sizes[table] += index.shape[0]
        return sizes

    def _edges(self, batch: TensorBatch, deepest: int, start: dict[tuple[int, str], int]) -> Edges:
        parts: dict[tuple[str, str, str], list[Tensor]] = {}
        for hop in batch.hops:
            if hop.depth > deepest:
                continue
            to, child = start[hop.depth, hop.source], start[hop.depth + 1, hop.target] + hop.first
            for way, (source, target) in self._ways(hop).items():
                name = f"{hop.target} scaled" if way == "sum" else hop.target
                edge = torch.stack([source + child, target + to])
                parts.setdefault((name, f"{hop.relation} {way}", hop.source), []).append(edge)
        return {name: torch.cat(edges, dim=1) for name, edges in parts.items()}

    def _ways(self, hop: TensorHop) -> dict[str, tuple[Tensor, Tensor]]:
        children = torch.arange(hop.num_children), hop.parent
        if not self.spec.graph.relations[hop.relation].many:
            return {"main": children}
        ways = {"main": children, "sum": children}
        for m in range(self.spec.newest_children):
            chosen = hop.newest_rank == m
            ways[f"newest{m}"] = hop.newest_child[chosen], hop.newest_parent[chosen]
        return ways
