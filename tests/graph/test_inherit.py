from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from rle.graph.inherit import is_extension
from tests.graph.tiny import build, dataset, table_spec

if TYPE_CHECKING:
    from pathlib import Path

    from rle.spec.dataset import DatasetSpec

STAMP = pa.timestamp("ns")


def airline(folder: Path, *, departed: list[int | None]) -> DatasetSpec:
    """Two airports, four flights put on sale in order, departures that come in another order."""
    airports = pa.table({"code": ["A", "B"]})
    flights = pa.table(
        {
            "id": [10, 11, 12, 13],
            "origin": ["A", "B", "A", None],
            "published": pa.array([1, 2, 3, 4], STAMP),
        }
    )
    departures = pa.table(
        {
            "flight": pa.array(departed, pa.int64()),
            "at": pa.array(range(100, 100 + len(departed)), STAMP),
        }
    )
    return dataset(
        folder,
        table_spec(
            folder,
            "flights",
            flights,
            keys=("id",),
            links={"origin": "airports.code"},
            time="published",
            dtypes={"origin": "text"},
        ),
        table_spec(folder, "airports", airports, keys=("code",), dtypes={"code": "text"}),
        table_spec(folder, "departures", departures, links={"flight": "flights.id"}, time="at"),
    )


def test_a_table_that_extends_another_gets_its_links_in_its_own_time_order(tmp_path):
    snapshot = build(airline(tmp_path, departed=[12, 11, 10]), tmp_path / "snapshots")
    (relation,) = [r for r in snapshot.schema.relations if ">" in r.link]
    assert (relation.source, relation.target, relation.many) == ("airports", "departures", True)
    assert relation.link == "departures.flight>origin"
    at = snapshot.schema.relations.index(relation)
    a, b = snapshot.tables["airports"].rows_of("code", pa.array(["A", "B"]))
    # Flight 12 left before flight 10, although it was published after it.
    assert snapshot.topology.children(at, a).tolist() == [0, 2]
    assert snapshot.topology.children(at, b).tolist() == [1]
    (report,) = [t for t in snapshot.report.tables if t.table == "departures"]
    assert {link.link: link.num_edges for link in report.links} == {
        "departures.flight": 3,
        "departures.flight>origin": 3,
    }


@pytest.mark.parametrize(
    "departed", [[10, 10, 11, 12], [10], []], ids=["not unique", "too few", "empty"]
)
def test_other_tables_inherit_nothing(tmp_path, departed):
    snapshot = build(airline(tmp_path, departed=departed), tmp_path / "snapshots")
    assert not [r for r in snapshot.schema.relations if ">" in r.link]


def test_inheritance_can_be_switched_off(tmp_path):
    spec = airline(tmp_path, departed=[12, 11, 10])
    snapshot = build(spec, tmp_path / "snapshots", inherit_links=False)
    assert len(snapshot.schema.relations) == 4
    assert not [r for r in snapshot.schema.relations if ">" in r.link]


def test_a_row_whose_parent_is_unknown_or_unlinked_has_no_inherited_link(tmp_path):
    snapshot = build(airline(tmp_path, departed=[13, None, 10, 11]), tmp_path / "snapshots")
    at = next(i for i, r in enumerate(snapshot.schema.relations) if ">" in r.link)
    found = [snapshot.topology.children(at, row).tolist() for row in (0, 1)]
    assert found == [[2], [3]]


def test_an_extension_is_unique_and_covers_half_of_its_parents():
    rows = np.array([0, 2, -1, 3], np.int32)
    assert is_extension(rows, 6)
    assert not is_extension(rows, 7)
    assert not is_extension(np.array([0, 0, 1], np.int32), 3)
    assert not is_extension(np.array([-1], np.int32), 0)
