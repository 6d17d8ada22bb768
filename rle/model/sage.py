"""One round of heterogeneous GraphSAGE over trees.

What torch-geometric computes with a `HeteroConv` of `SAGEConv`s: a node's own state times a weight
of its table, and, per relation, its pooled children times a weight of the relation.

Shapes: N nodes of a frontier, P parents and n children of a hop, C channels, A aggregates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rle.errors import InternalError
from rle.model.norms import NodeNorm
from rle.model.segments import Aggregates
from rle.model.weights import uniform, uniform_stack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rle.graph.schema import Relation
    from rle.model.spec import GraphModelSpec
    from rle.model.states import State
    from rle.model.tensors import TensorBatch, TensorHop
    from rle.sampling.batch import FrontierKey


class SageLayer(nn.Module):
    """States at depth d and d + 1 -> states at depth d, for every depth that the root needs."""

    def __init__(self, layer: int, spec: GraphModelSpec) -> None:
        super().__init__()
        self.deepest = spec.num_layers - layer
        self.combine = spec.hetero_conv_aggregation
        self.how = Aggregates(spec.conv_aggregation, spec.has_sum, spec.newest_children)
        self.tables = spec.tables_within(self.deepest)
        self.num_relations = {t: len(spec.graph.relations_from(t)) for t in self.tables}
        channels = spec.channels
        self.own_weight = nn.ParameterList([uniform(channels, channels) for _ in self.tables])
        self.own_bias = nn.Parameter(torch.zeros(len(self.tables), channels))
        # Keyed by the relation's position in the schema: names may hold dots, keys may not.
        self.relation_weight = nn.ParameterDict(
            {
                str(i): uniform_stack(spec.num_aggregates if relation.many else 1, channels)
                for i, relation in enumerate(spec.graph.relations)
                if relation.source in self.tables
            }
        )
        self.norm = NodeNorm(spec.gnn_norm, self.tables, channels)
        self.relations: tuple[Relation, ...] = spec.graph.relations

    def forward(
        self, states: Mapping[FrontierKey, State], batch: TensorBatch
    ) -> dict[FrontierKey, Tensor]:
        """float32 [N, C] for every frontier down to the deepest that later layers read."""
        pieces = _pieces(states, batch.hops)
        hops: dict[FrontierKey, list[int]] = {}
        for i, hop in enumerate(batch.hops):
            hops.setdefault((hop.depth, hop.source), []).append(i)
        mixed = {}
        for key, state in states.items():
            if key[0] <= self.deepest:
                below = [(batch.hops[i], pieces[i]) for i in hops.get(key, [])]
                mixed[key] = self._mix(key[1], state, below)
        normed: dict[FrontierKey, Tensor] = self.norm(mixed, batch)
        return normed

    def _mix(self, table: str, state: State, below: Sequence[tuple[TensorHop, State]]) -> Tensor:
        t = self.tables.index(table)
        own = state.linear(self.own_weight[t], self.own_bias[t])
        if not below:
            return own
        if self.combine == "max":
            messages = [self._spread(hop, self._message(hop, child, 1.0)) for hop, child in below]
            if len(messages) < self.num_relations[table]:
                messages.append(torch.zeros_like(messages[0]))
            return own + torch.stack(messages).amax(dim=0)
        scale = 1 / self.num_relations[table] if self.combine == "mean" else 1.0
        for hop, child in below:
            # `own` is fresh and its product needs no output on the way back: add in place.
            message = self._message(hop, child, scale)
            if message.shape[0] == own.shape[0]:
                own.add_(message)
            else:
                own.index_add_(0, hop.parent, message.to(own.dtype))
        return own

    def _message(self, hop: TensorHop, child: State, scale: float) -> Tensor:
        """[P, C] from many children, or [n, C] from the parents that some of P nodes have."""
        weight: Tensor = self.relation_weight[str(hop.relation)]
        if scale != 1.0:
            weight = weight * scale
        if self.relations[hop.relation].many:
            return child.pooled(hop, weight, self.how)
        return child.linear(weight[0], None)

    def _spread(self, hop: TensorHop, message: Tensor) -> Tensor:
        if message.shape[0] == hop.num_parents:
            return message
        return message.new_zeros(hop.num_parents, message.shape[1]).index_add(
            0, hop.parent, message
        )


def _pieces(states: Mapping[FrontierKey, State], hops: Sequence[TensorHop]) -> dict[int, State]:
    """The state of each hop's children and extras, by the position of the hop."""
    by_child: dict[FrontierKey, list[int]] = {}
    for i, hop in enumerate(hops):
        by_child.setdefault((hop.depth + 1, hop.target), []).append(i)
    pieces: dict[int, State] = {}
    for key, positions in by_child.items():
        if key not in states:
            continue
        ordered = sorted(positions, key=lambda i: (hops[i].first, hops[i].size))
        sizes = [hops[i].size for i in ordered]
        if sum(sizes) != states[key].num_nodes:
            raise InternalError(f"The hops into {key} do not fill its frontier.")
        pieces |= dict(zip(ordered, states[key].pieces(sizes), strict=True))
    return pieces
