"""From trees to the outputs of their roots: what the models of all tasks share.

Shapes: S seeds, C channels, O outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rle.graph.schema import check_same_graph
from rle.model.heads import Head, Join, Shortcut
from rle.model.inputs import TableInput
from rle.model.sage import SageLayer
from rle.model.states import Dense

if TYPE_CHECKING:
    from rle.graph.snapshot import Snapshot
    from rle.model.spec import GraphModelSpec
    from rle.model.states import State
    from rle.model.tensors import TensorBatch
    from rle.sampling.batch import FrontierKey


class TreeEncoder(nn.Module):
    """Encodes rows of one table by the trees below them.

    Its initial weights come from torch's current stream of random numbers; whoever holds it seeds
    that. `bind` it to a snapshot before the first batch.
    """

    def __init__(self, spec: GraphModelSpec, *, num_outputs: int) -> None:
        super().__init__()
        self.spec: GraphModelSpec = spec
        self.tables = spec.tables_within(spec.num_layers)
        self.inputs = nn.ModuleList(TableInput(table, spec) for table in self.tables)
        self.layers = nn.ModuleList(
            SageLayer(layer, spec) for layer in range(1, spec.num_layers + 1)
        )
        self.join = Join(spec)
        self.head = Head(spec, num_outputs=num_outputs)
        self.shortcut = Shortcut(spec, num_outputs=num_outputs) if spec.head_shortcut else None

    def name_rows(self, snapshot: Snapshot) -> None:
        """Say whose the learnt vectors of rows are; once, before training."""
        for module in self.inputs:
            assert isinstance(module, TableInput)
            if module.encoder.row_vectors is not None:
                module.encoder.row_vectors.name_rows(snapshot.tables[module.table])

    def bind(self, snapshot: Snapshot) -> None:
        """Learn which code of `snapshot` is which value of the vocabularies, and whose vectors are
        whose.

        Raises:
            ValidationError: The snapshot has other columns or relations than the model was made
                for, so that features would be taken for each other.
        """
        check_same_graph(self.spec.graph, snapshot.schema)
        for module in self.inputs:
            assert isinstance(module, TableInput)
            module.encoder.bind(snapshot.tables[module.table])

    def forward(self, batch: TensorBatch) -> Tensor:
        """[S, O]."""
        return self.outputs(self.propagate(self.encode(batch), batch), batch)

    def embed(self, batch: TensorBatch) -> Tensor:
        """One vector per seed, [S, C]: its state before and after every layer, joined."""
        joined: Tensor = self.join(self.propagate(self.encode(batch), batch), batch)
        return joined

    def encode(self, batch: TensorBatch) -> dict[FrontierKey, State]:
        """First states of every frontier that the root can see."""
        return {key: state for module in self.inputs for key, state in module(batch).items()}

    def propagate(self, states: dict[FrontierKey, State], batch: TensorBatch) -> Tensor:
        """The root before and after every layer, side by side: [S, (layers + 1) C]."""
        root = (0, self.spec.entity_table)
        history = [states[root].rows()]
        for layer in self.layers:
            values = layer(states, batch)
            history.append(values[root])
            states = {key: Dense(rows) for key, rows in values.items()}
        return torch.cat([rows.float() for rows in history], dim=1)

    def outputs(self, history: Tensor, batch: TensorBatch) -> Tensor:
        """What `propagate` returned -> [S, O]."""
        result: Tensor = self.head(self.join(history, batch), batch)
        return result if self.shortcut is None else result + self.shortcut(history, batch)
