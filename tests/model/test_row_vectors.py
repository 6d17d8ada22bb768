"""Learnt vectors of rows: the same row has the same vector in any snapshot, a new row has none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from rle.graph.keys import index_keys
from rle.graph.schema import GraphSchema
from rle.model.relational import RelationalModel
from rle.model.row_vectors import RowVectors, count_rows
from rle.model.tensors import to_tensors
from rle.spec.config import TrainerConfig
from tests.model.graphs import DAY, SCHEMA, make_batch, make_snapshot, make_spec


def with_keys(snapshot, **keys):
    """The snapshot with a key "id" for some of its tables."""
    tables = tuple(
        layout.replace(key_columns=("id",)) if layout.name in keys else layout
        for layout in SCHEMA.tables
    )
    stores = dict(snapshot.tables)
    for name, values in keys.items():
        plain = pa.array(values)
        if pa.types.is_string(plain.type):
            plain = plain.cast(pa.large_string())
        index = index_keys("id", plain.type, plain, table=name)
        stores[name] = replace(stores[name], key_indexes={"id": index})
    schema = GraphSchema(tables=tables, relations=SCHEMA.relations)
    return replace(snapshot, schema=schema, tables=stores)


def store(keys):
    return with_keys(make_snapshot(), items=keys).tables["items"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["a", "b", "c", "d", "e", "f", "g"], ["x", "g", "b", "y", "a", "z", "c"]),
        ([1, 2, 3, 4, 5, 6, 7], [100, 7, 2, -3, 1, 2**40, 3]),
        ([0.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], [9.0, 7.0, 2.0, -1.0, 0.5, 8.0, 3.0]),
    ],
)
def test_a_row_is_found_again_by_its_key(before, after):
    vectors = RowVectors(7, 2, key="id")
    vectors.name_rows(store(before))
    vectors.bind(store(before))
    with torch.no_grad():
        vectors.vectors.copy_(torch.randn(7, 2))
    of_keys = dict(zip(before, vectors(torch.arange(7)).tolist(), strict=True))

    again = RowVectors(7, 2, key="id")
    again.load_state_dict(vectors.state_dict())
    again.bind(store(after))
    found = again(torch.arange(7)).tolist()
    assert found == [of_keys.get(key, [0.0, 0.0]) for key in after]
    assert sum(key in of_keys for key in after) == 4


def test_rows_beyond_those_that_training_sees_have_no_vector():
    vectors = RowVectors(4, 2, key="id")
    vectors.name_rows(store(list("abcdefg")))
    vectors.bind(store(list("abcdefg")))
    with torch.no_grad():
        vectors.vectors.fill_(1)
    assert vectors(torch.arange(7)).sum(dim=1).tolist() == [2, 2, 2, 2, 0, 0, 0]
    none = RowVectors(0, 2, key="id")
    none.bind(store(list("abcdefg")))
    assert not none(torch.arange(7)).any()


def test_rows_are_counted_up_to_the_newest_training_row():
    snapshot = with_keys(make_snapshot(), items=list("abcdefg"), orders=list(range(60)))
    times = snapshot.tables["orders"].times
    config = TrainerConfig(
        connector={"kind": "duckdb", "database": "x.duckdb"},
        device="cpu",
        n_epochs=1,
        shallow_embeddings_list=("items", "orders"),
    )
    counted = count_rows(config, snapshot, until=30 * DAY)
    assert counted == (("items", 7), ("orders", int((times <= 30 * DAY).sum())))
    assert 0 < counted[1][1] < 60


def test_a_model_adds_them_to_the_first_state_of_every_node_of_the_table():
    snapshot = with_keys(make_snapshot(), items=list("abcdefg"))
    spec = make_spec(snapshot).replace(graph=snapshot.schema, shallow_rows=(("items", 7),))
    plain = RelationalModel(make_spec(snapshot).replace(graph=snapshot.schema))
    model = RelationalModel(spec)
    for each in (plain, model):
        each.name_rows(snapshot)
        each.bind(snapshot)
        each.eval()
    batch = make_batch(snapshot)
    tensors = to_tensors(batch, "cpu")
    assert torch.equal(model(tensors), plain(tensors))  # they begin as nothing
    model(tensors).sum().backward()
    moved = model.inputs[model.tables.index("items")].encoder.row_vectors
    assert moved.vectors.grad.any()
    reached = np.unique(batch.tables["items"].rows)
    assert set(torch.nonzero(moved.vectors.grad.abs().sum(1)).flatten().tolist()) <= set(
        moved.lookup[torch.from_numpy(reached).long()].tolist()
    )
    with torch.no_grad():
        moved.vectors.fill_(1)
    assert not torch.allclose(model(tensors), plain(tensors))
