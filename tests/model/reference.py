"""What the model means, said slowly: every node encoded by itself, every message written out.

Convolutions are torch-geometric's `HeteroConv` of `SAGEConv`s over the sampled trees. Weights are
the fast model's own tensors, so that gradients can be compared too.

Shapes: N nodes of a frontier, C channels.
"""

from __future__ import annotations

import datetime as dt
import math
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import uses what torch has deprecated
    from torch_geometric.nn import HeteroConv, SAGEConv
    from torch_geometric.nn.conv.hetero_conv import group

if TYPE_CHECKING:
    from rle.graph.snapshot import Snapshot
    from rle.ingest.stats import CategoryStats, NumberStats
    from rle.model.encoders import TableEncoder
    from rle.model.inputs import TableInput
    from rle.model.relational import RelationalModel
    from rle.model.sage import SageLayer
    from rle.sampling.batch import Batch, FrontierKey, Hop

NULL_STAMP = np.iinfo(np.int64).min
DAY = 86_400e9


def reference_outputs(model: RelationalModel, snapshot: Snapshot, batch: Batch) -> Tensor:
    """[S, outputs] of the model in training mode without dropout."""
    return _Reference(model, snapshot, batch).outputs()


class _Reference:
    def __init__(self, model: RelationalModel, snapshot: Snapshot, batch: Batch) -> None:
        self.model, self.snapshot, self.batch, self.spec = model, snapshot, batch, model.spec

    def outputs(self) -> Tensor:
        root = (0, self.spec.entity_table)
        states = {
            key: self.first_states(key)
            for key in self.batch.trees.frontiers
            if key[0] <= self.spec.num_layers
        }
        roots = [states[root]]
        for number, layer in enumerate(self.model.layers, start=1):
            deepest = self.spec.num_layers - number
            mixed = {key: self.convolve(layer, key, states) for key in states if key[0] <= deepest}
            states = self.normalise(layer, mixed)
            roots.append(states[root])
        history, join, head = torch.cat(roots, 1), self.model.join, self.model.head
        x = functional.layer_norm(history, (history.shape[1],), join.norm.weight, join.norm.bias)
        x = functional.linear(x, join.linear.weight, join.linear.bias)
        for norm, linear in zip(head.norms, head.linears, strict=True):
            if self.spec.head_norm == "layer_norm":
                x = functional.layer_norm(x, (x.shape[1],), norm.weight, norm.bias)
            else:
                x = functional.batch_norm(
                    x, None, None, norm.weight[0], norm.bias[0], training=True
                )
            x = linear(x.relu())
        return x + history @ self.model.shortcut.weight if self.spec.head_shortcut else x

    # First states, one node at a time

    def first_states(self, key: FrontierKey) -> Tensor:
        part: TableInput = self.model.inputs[self.model.tables.index(key[1])]
        rows = self.batch.trees.frontiers[key].rows
        states = self.encode(part.encoder, key[1], rows) @ part.out_weight + part.out_bias
        extra = self.extra(key)
        return states + extra @ part.extra_weight[: extra.shape[1]] if extra.numel() else states

    def encode(self, encoder: TableEncoder, table: str, rows: np.ndarray) -> Tensor:
        store, stats = self.snapshot.tables[table], self.spec.stats.table(table)
        numbers = [
            (s, store.numbers[rows, i])
            for i, s in enumerate(stats.numbers)
            if abs(s.time_correlation) < 0.95 or not self.spec.drop_clocks
        ]
        standard = [_standard(s, values) for s, values in numbers]
        quantile = [_quantile(s, values) for s, values in numbers]
        nulls = [np.isnan(values) for s, values in numbers if s.num_nulls]
        features = [*standard, *quantile, *nulls]
        for i, s in enumerate(stats.stamps if self.spec.reads_calendar else ()):
            years = self.spec.dates_have_year
            features += _calendar(store.stamps[rows, i], s.min, s.max, has_year=years)
        for s in stats.vectors:
            vectors = store.vectors[s.column][rows].astype(np.float32)
            null = np.isnan(vectors).any(1)
            features += [*np.where(null[:, None], 0, (vectors - s.mean) / s.std).T, null]
        total = encoder.bias.expand(rows.size, -1)
        if features:
            block = torch.from_numpy(np.stack(features, 1).astype(np.float32))
            total = total + block @ encoder.weight
        start = 0
        for i, s in enumerate(stats.categories):
            known = self.spec.vocabulary(s)
            ids = [_word(store.dictionary(s.column), known, c) for c in store.codes[rows, i]]
            total = total + encoder.categories[torch.tensor(ids, dtype=torch.long) + start]
            start += len(known) + 2
        for s, vectors in zip(stats.lists, encoder.list_values, strict=True):
            total = total + self.list_mean(store, s, rows, vectors)
        return functional.layer_norm(
            total, (total.shape[1],), encoder.norm.weight, encoder.norm.bias
        ).relu()

    def list_mean(
        self, store: object, s: CategoryStats, rows: np.ndarray, vectors: Tensor
    ) -> Tensor:
        offsets, codes = store.lists[s.column]
        out = []
        for row in rows:
            ids = [
                _word(store.dictionary(s.column), self.spec.vocabulary(s), c)
                for c in codes[offsets[row] : offsets[row + 1]]
            ]
            out.append(vectors[ids].mean(0) if ids else vectors.new_zeros(vectors.shape[1]))
        return torch.stack(out) if out else vectors.new_zeros(0, vectors.shape[1])

    def extra(self, key: FrontierKey) -> Tensor:
        depth, table = key
        frontier, spec = self.batch.trees.frontiers[key], self.spec
        store, seed_times = self.snapshot.tables[table], self.batch.trees.times[frontier.seed]
        columns: list[np.ndarray] = []
        if spec.use_temporal_encoder and store.times is not None:
            columns += _age((seed_times - store.times[frontier.rows]) / DAY)
        if spec.age_features:
            for stamps in store.stamps[frontier.rows].T:
                days = (seed_times.astype(float) - stamps.astype(float)) / DAY
                columns += _age(np.where(stamps == NULL_STAMP, np.nan, days))
        if spec.count_features and depth < spec.num_layers:
            for hop in self.hops_from(key):
                relation = spec.graph.relations[hop.relation]
                if relation.many:
                    few = np.minimum(hop.count / 16, 4)
                    columns += [np.log1p(hop.count) / 3, hop.count > 0, few]
                    times = self.snapshot.tables[relation.target].times
                    if times is not None:
                        days = (seed_times - times[hop.newest_row]) / DAY
                        columns += _age(np.where(hop.newest_row < 0, np.nan, days))
                        columns += self.recent(hop, seed_times)
        if not columns:
            return torch.zeros(frontier.rows.size, 0)
        return torch.from_numpy(np.stack(columns, 1).astype(np.float32))

    def recent(self, hop: Hop, seed_times: np.ndarray) -> list[np.ndarray]:
        """Visible children newer than each window's beginning, one column per window."""
        rows = self.batch.trees.frontiers[hop.depth, hop.source].rows
        columns = []
        for hours in self.spec.count_windows_h:
            counts = []
            for row, now in zip(rows, seed_times, strict=True):
                children = self.snapshot.topology.children(hop.relation, int(row))
                times = self.snapshot.tables[hop.target].times[children]
                counts.append(np.sum((times <= now) & (times > now - hours * 3600 * 10**9)))
            columns.append(np.log1p(np.array(counts, float)) / 3)
        return columns

    def hops_from(self, key: FrontierKey) -> list[Hop]:
        hops = [h for h in self.batch.trees.hops if (h.depth, h.source) == key]
        return sorted(hops, key=lambda h: h.relation)

    # Message passing with torch-geometric

    def convolve(
        self, layer: SageLayer, key: FrontierKey, states: dict[FrontierKey, Tensor]
    ) -> Tensor:
        t = layer.tables.index(key[1])
        own = states[key] @ layer.own_weight[t] + layer.own_bias[t]
        hops = self.hops_from(key)
        assert len(hops) == len(self.spec.graph.relations_from(key[1]))
        messages = [self.message(layer, hop, states) for hop in hops]
        if not messages:
            return own
        return own + group(messages, self.spec.hetero_conv_aggregation)[..., :]

    def message(self, layer: SageLayer, hop: Hop, states: dict[FrontierKey, Tensor]) -> Tensor:
        weights = layer.relation_weight[str(hop.relation)]
        child, parent = states[hop.depth + 1, hop.target], states[hop.depth, hop.source]
        degree = np.diff(hop.offset)
        to = np.repeat(np.arange(degree.size), degree)
        edges = {"main": np.stack([hop.first + np.arange(to.size), to])}
        sources, pool = {"main": child}, {"main": self.spec.conv_aggregation}
        if self.spec.graph.relations[hop.relation].many:
            if self.spec.sum_beside_mean and self.spec.conv_aggregation != "sum":
                edges["sum"], sources["sum"], pool["sum"] = edges["main"], child / 8, "sum"
            for m in range(self.spec.newest_children):
                name = f"newest{m}"
                edges[name] = self.newest_edges(hop, m)
                sources[name], pool[name] = child, "sum"
        size = child.shape[1]
        convs = {
            (name, "to", "parent"): SAGEConv(
                (size, size), size, aggr=pool[name], root_weight=False, bias=False
            )
            for name in edges
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the sources are updated elsewhere is meant so
            conv = HeteroConv(convs, aggr="sum")
        names = [name for name, _ in conv.named_parameters()]
        assert len(names) == len(weights)
        own = dict(zip(names, (w.t() for w in weights), strict=True))
        index = {
            (name, "to", "parent"): torch.from_numpy(e.astype(np.int64))
            for name, e in edges.items()
        }
        return functional_call(conv, own, (sources | {"parent": parent}, index))["parent"]

    def newest_edges(self, hop: Hop, rank: int) -> np.ndarray:
        """From the children of each parent's newest moment but `rank` to the parent."""
        times = self.snapshot.tables[hop.target].times
        rows = self.batch.trees.frontiers[hop.depth + 1, hop.target].rows
        edges = []
        for p in range(hop.count.size):
            sampled = range(hop.first + hop.offset[p], hop.first + hop.offset[p + 1])
            known = sorted({*sampled, *(int(c) for c in hop.newest[p] if c >= 0)})
            if times is None:
                edges += [(c, p) for c in hop.newest[p, rank : rank + 1] if c >= 0]
                continue
            moments = sorted({int(times[rows[c]]) for c in known}, reverse=True)
            if rank < len(moments):
                edges += [(c, p) for c in known if times[rows[c]] == moments[rank]]
        return np.array(edges, np.int64).reshape(-1, 2).T

    def normalise(
        self, layer: SageLayer, states: dict[FrontierKey, Tensor]
    ) -> dict[FrontierKey, Tensor]:
        out = {}
        for t, table in enumerate(layer.tables):
            keys = [key for key in states if key[1] == table]
            if self.spec.gnn_norm == "batch_norm":
                norm, sizes = layer.norm.batch_norm, [states[k].shape[0] for k in keys]
                x = torch.cat([states[k] for k in keys])
                if x.shape[0] > 1:  # torch refuses to measure a single row
                    x = functional.batch_norm(
                        x, None, None, norm.weight[t], norm.bias[t], training=True
                    )
                else:
                    x = 0 * x + norm.bias[t]
                out |= dict(zip(keys, x.split(sizes), strict=True))
                continue
            for key in keys:
                x = states[key]
                if self.spec.gnn_norm == "layer_norm":
                    x = functional.layer_norm(x, (x.shape[1],))
                else:
                    x = _instance_norm(x, self.batch.trees.frontiers[key].seed)
                out[key] = x * layer.norm.weight[t] + layer.norm.bias[t]
        return {key: x.relu() for key, x in out.items()}


def _batch_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.batch_norm(x, None, None, weight, bias, training=True)


def _instance_norm(x: Tensor, seed: np.ndarray) -> Tensor:
    out = []
    for owner in seed:
        of_tree = x[torch.from_numpy(np.flatnonzero(seed == owner))]
        row = x[len(out)]
        if of_tree.shape[0] == 1:
            out.append(functional.layer_norm(row, row.shape))
        else:
            var = of_tree.var(0, unbiased=False)
            out.append((row - of_tree.mean(0)) / (var + 1e-5).sqrt())
    return torch.stack(out) if out else x


def _standard(s: NumberStats, values: np.ndarray) -> np.ndarray:
    return np.nan_to_num(np.clip((values.astype(float) - s.mean) / s.std, -5, 5))


def _quantile(s: NumberStats, values: np.ndarray) -> np.ndarray:
    levels = np.array(s.quantiles, np.float32)
    out = np.zeros(values.size)
    for i, value in enumerate(values):
        equal = np.flatnonzero(levels == value)
        if np.isnan(value):
            continue
        at = equal.mean() if equal.size else np.interp(value, *np.unique(levels, return_index=True))
        if not equal.size and levels[0] < value < levels[-1]:
            low = np.flatnonzero(levels < value)[-1]
            at = low + (value - levels[low]) / (levels[low + 1] - levels[low])
        elif value > levels[-1]:
            at = 32
        elif value < levels[0]:
            at = 0
        out[i] = (at / 32 - 0.5) * 12**0.5
    return out


def _calendar(stamps: np.ndarray, low: int, high: int, *, has_year: bool) -> list[np.ndarray]:
    rows = []
    for stamp in stamps:
        if stamp == NULL_STAMP:
            rows.append([0.0] * 9 + [1.0])
            continue
        when = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=int(stamp) / 1000)
        day_share = (when.hour * 3600 + when.minute * 60 + when.second) / 86400
        day_share += when.microsecond / 86400e6
        turns = [(when.month - 1) / 12, (when.day - 1) / 31, when.weekday() / 7, day_share]
        year = np.clip((stamp - low) / max(high - low, DAY) * 2 - 1, -2, 2) if has_year else 0.0
        angles = [2 * math.pi * turn for turn in turns]
        rows.append([*map(math.sin, angles), *map(math.cos, angles), year, 0.0])
    return list(np.array(rows, float).reshape(-1, 10).T)


def _age(days: np.ndarray) -> list[np.ndarray]:
    logs = np.sign(days) * np.log1p(np.abs(days * 24))
    waves = [logs * f for f in (0.5, 1, 2, 4)]
    columns = [logs / 8, (logs / 8) ** 2, *map(np.sin, waves), *map(np.cos, waves)]
    return [np.where(np.isnan(days), 0, column) for column in columns]


def _word(dictionary: object, known: tuple[str, ...], code: int) -> int:
    if code < 0:
        return 0
    value = dictionary[int(code)].as_py()
    return known.index(value) + 2 if value in known else 1
