"""Whether fanouts reach as far as the schema is wide."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rle.connectors.duckdb import DuckDBConnector
from rle.errors import ValidationError
from rle.spec.config import TrainerConfig
from rle.spec.dataset import DatasetSpec
from rle.spec.metric import EvaluationMetric
from rle.spec.receptive_field import (
    Diameter,
    check_receptive_field,
    find_diameter,
    pad_fanouts,
)
from rle.spec.table import CandidateKey, ColumnSpec, ForeignKey, TableSpec
from rle.spec.task import LinkTaskSpec, NodeTaskSpec

WAREHOUSE = DuckDBConnector(database="shop.duckdb")


def table(name: str, *parents: str, type: str = "node") -> TableSpec:
    links = [f"to_{i}" for i in range(len(parents))]
    columns = [*(["id"] if type == "node" else []), *links]
    return TableSpec(
        name=name,
        source=f"shop.main.{name}",
        type=type,
        columns=[ColumnSpec(name=column, dtype="integer") for column in columns],
        candidate_keys=[CandidateKey("id")] if type == "node" else [],
        foreign_keys=[ForeignKey(a, f"{b}.id") for a, b in zip(links, parents, strict=True)],
    )


def chain(num: int) -> list[TableSpec]:
    """t0 <- t1 <- t2 ..."""
    return [table(f"t{i}", *([f"t{i - 1}"] if i else [])) for i in range(num)]


def dataset(tables: list[TableSpec], task_type: str) -> DatasetSpec:
    splits = {"train": "shop.main.a", "validation": "shop.main.b"}
    task = (
        LinkTaskSpec(
            name="task",
            task_type=task_type,
            sources=splits,
            source_entity_table="t0",
            source_entity_column="who",
            target_entity_table="t0",
            target_entity_column="whom",
            metric=EvaluationMetric("link_prediction_map", eval_at_k=10),
        )
        if "link" in task_type
        else NodeTaskSpec(
            name="task",
            task_type=task_type,
            sources=splits,
            entity_table="t0",
            entity_column="who",
            target_column="label",
            metric=EvaluationMetric("rmse"),
        )
    )
    return DatasetSpec(name="shop", connector=WAREHOUSE, tables=tables, task=task)


def check(num_tables: int, task_type: str, **config: object) -> tuple[str, ...]:
    settings = {"connector": WAREHOUSE, "device": "cpu", "n_epochs": 1} | config
    return check_receptive_field(dataset(chain(num_tables), task_type), TrainerConfig(**settings))


def test_an_edge_table_is_one_hop_and_no_stop():
    tables = [table("a"), table("b"), table("c", "b"), table("joins", "a", "b", type="edge")]
    assert find_diameter(tables) == Diameter(2, ("a", "c"))


def test_an_edge_table_within_one_table_adds_nothing():
    friends = table("friends", "t0", "t0", type="edge")
    assert find_diameter([*chain(1), friends]) == Diameter(0, ("t0", "t0"))
    assert find_diameter([*chain(3), friends]).hops == 2


def test_a_row_that_links_to_its_own_table_adds_nothing():
    assert find_diameter([table("t0", "t0")]).hops == 0


@given(data=st.data(), num=st.integers(1, 7))
def test_the_diameter_is_that_of_floyd_and_warshall(data: st.DataObject, num: int):
    names = [f"t{i}" for i in range(num)]
    tables = [
        table(name, *data.draw(st.lists(st.sampled_from(names), max_size=2))) for name in names
    ]
    if data.draw(st.booleans()):
        ends = [data.draw(st.sampled_from(names)) for _ in range(2)]
        tables.append(table("edges", *ends, type="edge"))
    far = {(a, b): 0 if a == b else 99 for a in names for b in names}
    for one in tables:
        links = [key.link_table for key in one.foreign_keys]
        pairs = [(one.name, b) for b in links] if one.type == "node" else [tuple(links)]
        for a, b in pairs:
            if a != b:
                far[a, b] = far[b, a] = 1
    for k in names:
        for a in names:
            for b in names:
                far[a, b] = min(far[a, b], far[a, k] + far[k, b])
    found = find_diameter(tables)
    assert found.hops == max(d for d in far.values() if d < 99)
    assert far[found.ends] == found.hops


def test_a_node_task_is_warned_below_the_diameter():
    assert check(4, "regression", fanouts=[16, 8, 4]) == ()
    (warning,) = check(4, "regression", fanouts=[16, 8])
    assert "'t0' and 't3' are 3 hops apart" in warning
    assert "fanouts=[16, 8, 4]" in warning
    (warning,) = check(4, "regression", fanouts=[16, 8, 4], gnn_layers=2)
    assert "gnn_layers=2; set gnn_layers=3" in warning
    (warning,) = check(5, "regression", fanouts=[16, 8, 4], gnn_layers=2)
    assert "set fanouts=[16, 8, 4, 2] and gnn_layers=4" in warning


@pytest.mark.parametrize(("num_tables", "enough"), [(1, 1), (4, 2), (5, 2), (6, 3)])
def test_a_link_task_is_warned_below_half_the_diameter_rounded_up(num_tables: int, enough: int):
    assert check(num_tables, "link_prediction", fanouts=[9] * enough) == ()
    if enough > 1:
        (warning,) = check(num_tables, "link_prediction", fanouts=[9] * (enough - 1))
        assert f"should look {enough} hops far" in warning


@pytest.mark.parametrize(("num_tables", "enough"), [(1, 1), (2, 1), (3, 1), (4, 2), (6, 4)])
def test_a_repeated_link_task_is_refused_below_the_diameter_less_one(num_tables: int, enough: int):
    kind = "repeated_link_prediction"
    assert check(num_tables, kind, fanouts=[9] * enough) == ()
    if enough > 1:
        # As promised, a ValueError.
        with pytest.raises(ValueError, match=f"'t0' and 't{num_tables - 1}'") as caught:
            check(num_tables, kind, fanouts=[9] * (enough - 1))
        assert isinstance(caught.value, ValidationError)
        assert f"should look {enough} hops far" in str(caught.value)
        fanouts = [9] * (enough - 1)
        (warning,) = check(num_tables, kind, fanouts=fanouts, strict_receptive_field=False)
        assert f"should look {enough} hops far" in warning


def test_fanouts_are_padded_by_halving_down_to_one():
    assert pad_fanouts([128, 64], 4) == [128, 64, 32, 16]
    assert pad_fanouts([3], 4) == [3, 1, 1, 1]
    assert pad_fanouts([5, 4], 1) == [5, 4]
