from __future__ import annotations

import pytest

from rle.errors import ValidationError
from rle.graph.schema import GraphSchema, TableLayout, check_same_graph, relations_of_link


def graph(*columns: str, links: tuple[str, ...] = ("orders.who",)) -> GraphSchema:
    return GraphSchema(
        tables=(
            TableLayout(name="people", has_time=False),
            TableLayout(name="orders", has_time=True, number_columns=columns),
        ),
        relations=tuple(
            r for link in links for r in relations_of_link(link, child="orders", parent="people")
        ),
    )


def test_the_same_graph_is_accepted():
    check_same_graph(graph("price", "size"), graph("price", "size"))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (graph("size", "price"), "table 'orders' was"),
        (graph("price"), "table 'orders' was"),
        (graph("price", "size", links=()), "relation 'orders.who:children' is gone"),
        (graph("price", "size", links=("orders.who", "orders.for")), "'orders.for:parent' is new"),
    ],
    ids=["columns in another order", "a column less", "a link less", "a link more"],
)
def test_another_graph_is_refused_by_name(given, named):
    with pytest.raises(ValidationError, match=named):
        check_same_graph(graph("price", "size"), given)


def test_tables_in_another_order_are_refused():
    there = graph("price")
    with pytest.raises(ValidationError, match="another order"):
        check_same_graph(there, there.replace(tables=there.tables[::-1]))
