from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rle.errors import InternalError, UnknownNameError, ValidationError
from rle.graph.schema import (
    GraphSchema,
    Relation,
    TableLayout,
    relations_of_edge_table,
    relations_of_link,
)
from rle.sampling.history import HistoryReader, history_paths
from rle.testing.shop import FACTS
from tests.sampling.graphs import Source, build_graph, graphs, star
from tests.sampling.link_reference import as_age, slow_history, slow_paths

if TYPE_CHECKING:
    from rle.sampling.link_batch import History
    from tests.sampling.graphs import Graph


def names(schema: GraphSchema, source: str, target: str, **options: Any) -> list[list[str]]:
    """The tables that each path comes to."""
    return [
        [schema.relations[i].target for i in path]
        for path in history_paths(schema, source=source, target=target, **options)
    ]


def schema_of(links: dict[str, str], *, inherited: tuple[Relation, ...] = ()) -> GraphSchema:
    """A schema from "child.column" to parent."""
    relations = [
        relation
        for link, parent in links.items()
        for relation in relations_of_link(link, child=link.partition(".")[0], parent=parent)
    ]
    tables = sorted({r.source for r in relations})
    return GraphSchema(
        tables=tuple(TableLayout(name=name, has_time=False) for name in tables),
        relations=(*relations, *inherited),
    )


LAHMAN = schema_of(
    {
        "appearances.player": "people",
        "appearances.team": "teams",
        "awards.player": "people",
        "batting.player": "people",
        "batting.team": "teams",
        "college.player": "people",
        "college.school": "schools",
        "teams.franchise": "franchises",
        "series.winner": "teams",
        "series.loser": "teams",
    }
)


def test_players_meet_franchises_through_each_table_that_has_both() -> None:
    assert names(LAHMAN, "people", "franchises") == [
        ["appearances", "teams", "franchises"],
        ["batting", "teams", "franchises"],
    ]
    # A school's players lead on to teams, but what they did there is not the school's own doing.
    assert names(LAHMAN, "schools", "franchises") == []
    assert names(LAHMAN, "people", "franchises", max_paths=1) == [
        ["appearances", "teams", "franchises"]
    ]
    assert names(LAHMAN, "people", "franchises", max_hops=2) == []


def test_planes_meet_both_airports_of_their_flights_and_inherited_links_are_no_steps() -> None:
    inherited = Relation(
        name="departures.flight>origin:children",
        source="airports",
        target="departures",
        many=True,
        link="departures.flight>origin",
    )
    schema = schema_of(
        {
            "flights.origin": "airports",
            "flights.dest": "airports",
            "weather.origin": "airports",
            "departures.flight": "flights",
            "departures.plane": "planes",
        },
        inherited=(inherited,),
    )
    assert names(schema, "planes", "airports") == [["departures", "flights", "airports"]] * 2
    paths = history_paths(schema, source="planes", target="airports")
    assert {schema.relations[path[-1]].link for path in paths} == {"flights.origin", "flights.dest"}


def test_a_parent_is_met_without_any_event() -> None:
    schema = schema_of({"customers.city": "cities", "cities.country": "countries"})
    assert names(schema, "customers", "countries") == [["cities", "countries"]]


def test_rows_that_refer_to_their_own_table_do_not_run_in_circles() -> None:
    schema = schema_of(
        {"people.boss": "people", "calls.caller": "people", "calls.called": "people"}
    )
    links = [
        [schema.relations[i].name for i in path]
        for path in history_paths(schema, source="people", target="people")
    ]
    assert links == [
        ["people.boss:children"],
        ["people.boss:parent"],
        ["calls.caller:children", "calls.called:parent"],
        ["calls.called:children", "calls.caller:parent"],
    ]


def test_customers_of_the_shop_meet_articles_by_wish_and_by_purchase() -> None:
    relations: list[Relation] = []
    for name, facts in FACTS.items():
        parents = {column: link.partition(".")[0] for column, link in facts.foreign_keys.items()}
        if facts.type == "edge":
            (one, other), tables = parents, tuple(parents.values())
            relations += relations_of_edge_table(name, columns=(one, other), parents=tables)  # type: ignore[arg-type]
            continue
        for column, parent in parents.items():
            relations += relations_of_link(f"{name}.{column}", child=name, parent=parent)
    tables = tuple(
        TableLayout(name=name, has_time=facts.time_column is not None)
        for name, facts in FACTS.items()
        if facts.type == "node"
    )
    schema = GraphSchema(tables=tables, relations=tuple(relations))
    assert names(schema, "customers", "articles") == [["articles"], ["transactions", "articles"]]
    assert names(schema, "customers", "departments") == [
        ["articles", "departments"],
        ["transactions", "articles", "departments"],
    ]
    # An article's buyers and those who wish for it; not those that its department has in common.
    assert names(schema, "articles", "customers") == [["customers"], ["transactions", "customers"]]


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(InternalError, match="no table 'x'"):
        history_paths(LAHMAN, source="people", target="x")


@settings(max_examples=100, deadline=None)
@given(graph=graphs(), hops=st.integers(1, 4))
def test_paths_are_all_there_are_shortest_first(graph: Graph, hops: int) -> None:
    tables = [layout.name for layout in graph.schema.tables]
    for source, target in itertools.product(tables, tables):
        found = history_paths(
            graph.schema, source=source, target=target, max_hops=hops, max_paths=10**6
        )
        assert list(found) == sorted(
            slow_paths(graph.schema, source, target, hops), key=lambda path: (len(path), path)
        )
        some = history_paths(graph.schema, source=source, target=target, max_hops=hops)
        assert some == found[:8]


def as_dicts(history: History) -> list[dict[int, list[Any]]]:
    """What `slow_history` gives, per source."""
    out = []
    for first, last in itertools.pairwise(history.offset.tolist()):
        pairs = range(first, last)
        out.append({int(history.targets[p]): facts_of(history, p) for p in pairs})
        assert len(out[-1]) == last - first
        assert list(out[-1]) == sorted(out[-1])
    return out


def facts_of(history: History, p: int) -> list[Any]:
    return [
        (
            int(history.count[p, k]),
            history.recent[p, k].tolist(),
            [float(ages[p, k]) for ages in (history.newest, history.previous, history.oldest)],
            int(history.event[p, k]),
        )
        for k in range(history.count.shape[1])
    ]


@settings(max_examples=200, deadline=None)
@given(
    graph=graphs(),
    inclusive=st.booleans(),
    windows=st.sampled_from([(), (3,), (2, 7)]),
    limit=st.sampled_from([1, 2, 5, 1024]),
    time_window=st.sampled_from([None, None, 1, 6]),
    pick=st.integers(0, 99),
)
def test_a_history_is_what_looking_at_every_row_finds(
    graph: Graph,
    inclusive: bool,
    windows: tuple[int, ...],
    limit: int,
    pick: int,
    time_window: int | None,
) -> None:
    tables = [s.name for s in graph.sources.values() if not s.is_edge and s.num_rows]
    joined = [
        (source, target, paths)
        for source, target in itertools.product(tables, tables)
        if (paths := history_paths(graph.schema, source=source, target=target))
    ]
    if not joined:
        return
    source, target, paths = joined[pick % len(joined)]
    rng = np.random.default_rng(pick)
    rows = rng.integers(0, graph.sources[source].num_rows, 30).astype(np.int32)
    times = rng.integers(-6, 17, 30)
    reader = HistoryReader(
        graph.snapshot,
        source=source,
        target=target,
        paths=paths,
        inclusive=inclusive,
        windows=windows,
        limit=limit,
        time_window=time_window,
    )
    found = as_dicts(reader.read(rows, times))
    for row, time, mine in zip(rows.tolist(), times.tolist(), found, strict=True):
        expected = slow_history(
            graph,
            paths,
            row,
            time,
            inclusive=inclusive,
            windows=windows,
            limit=limit,
            time_window=time_window,
        )
        assert list(mine) == list(expected)
        for facts, wanted in zip(mine.values(), expected.values(), strict=True):
            for (count, recent, ages, event), (n, within, ends, last) in zip(
                facts, wanted, strict=True
            ):
                assert (count, recent, event) == (n, within, last)
                np.testing.assert_array_equal(ages, [as_age(a) for a in ends])


DAY = 86_400 * 10**9


def shop() -> Graph:
    """Two customers, dated orders, undated items, products of which one is launched late."""
    return build_graph(
        [
            Source("customers", 2, None, {}, {}),
            Source("products", 3, [0, 0, 50 * DAY], {}, {}),
            Source(
                "orders",
                4,
                [1 * DAY, 4 * DAY, 10 * DAY, None],
                {"customer": "customers"},
                {"customer": [0, 0, 1, 0]},
            ),
            Source(
                "items",
                7,
                None,
                {"order": "orders", "product": "products"},
                {"order": [0, 1, 1, 1, 2, 3, None], "product": [1, 1, 0, 2, None, 0, 1]},
            ),
        ]
    )


def test_events_get_the_time_of_the_last_dated_table_on_their_way() -> None:
    graph = shop()
    paths = history_paths(graph.schema, source="customers", target="products")
    reader = HistoryReader(
        graph.snapshot,
        source="customers",
        target="products",
        paths=paths,
        inclusive=True,
        windows=(2 * DAY, 10 * DAY),
    )
    history = reader.read(np.array([0, 1, 0, 0], np.int32), np.array([5, 20, 0, 60]) * DAY)
    assert history.offset.tolist() == [0, 2, 2, 2, 5]
    # Product 2 is launched after day 5; the order without a time is never seen.
    assert history.targets.tolist() == [0, 1, 0, 1, 2]
    assert history.count[:, 0].tolist() == [1, 2, 1, 2, 1]
    assert history.recent[:2, 0].tolist() == [[1, 1], [1, 2]]
    assert history.newest[:2, 0].tolist() == [1, 1]
    np.testing.assert_array_equal(history.previous[:2, 0], [np.nan, 4])
    assert history.oldest[:2, 0].tolist() == [1, 4]
    assert history.event[:2, 0].tolist() == [2, 1]  # rows of items
    assert [a.dtype for a in (history.count, history.event, history.recent)] == [np.int32] * 3
    assert [a.dtype for a in (history.newest, history.previous, history.oldest)] == [np.float32] * 3


def test_only_the_newest_events_up_to_the_limit_count() -> None:
    graph = star(2000)
    options: dict[str, Any] = {"source": "customers", "target": "orders", "inclusive": False}
    paths = history_paths(graph.schema, source="customers", target="orders")
    history = HistoryReader(graph.snapshot, paths=paths, **options).read(
        np.zeros(1, np.int32), np.array([1500])
    )
    assert history.targets.tolist() == list(range(1500 - 1024, 1500))


def test_without_paths_nobody_has_a_history() -> None:
    graph = star(3)
    reader = HistoryReader(
        graph.snapshot, source="customers", target="orders", paths=(), inclusive=True, windows=(1,)
    )
    history = reader.read(np.zeros(4, np.int32), np.arange(4))
    assert history.offset.tolist() == [0] * 5
    assert history.recent.shape == (0, 0, 1)
    empty = reader.read(np.zeros(0, np.int32), np.zeros(0, np.int64))
    assert empty.offset.tolist() == [0]


def test_a_batch_or_its_thread_changes_nothing() -> None:
    graph = star(200, num_parents=20)
    paths = history_paths(graph.schema, source="customers", target="orders")
    reader = HistoryReader(
        graph.snapshot, source="customers", target="orders", paths=paths, inclusive=True
    )
    rows, times = np.arange(20, dtype=np.int32), np.arange(20) * 7
    whole = as_dicts(reader.read(rows, times))
    found: list[Any] = [None] * 20

    def read(i: int) -> None:
        found[i] = as_dicts(reader.read(rows[i : i + 1], times[i : i + 1]))[0]

    threads = [threading.Thread(target=read, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert str(found) == str(whole)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"source": "custmers"}, "Did you mean 'customers'"),
        ({"target": "order"}, "Did you mean 'orders'"),
        ({"windows": (5, 5)}, "positive and ascending"),
        ({"limit": 0}, "At least one event"),
        ({"time_window": 0}, "must be positive, not 0 ns"),
        ({"paths": [(1,)]}, "is no history path"),
        ({"paths": [()]}, "is no history path"),
        ({"target": "customers", "paths": [(1, 0)]}, "is no history path"),
    ],
)
def test_what_cannot_be_read_is_refused(changes: dict[str, Any], match: str) -> None:
    good: dict[str, Any] = {
        "source": "customers",
        "target": "orders",
        "paths": [(0,)],
        "inclusive": True,
    }
    with pytest.raises((UnknownNameError, ValidationError), match=match):
        HistoryReader(star(2).snapshot, **(good | changes))


def test_rows_outside_the_source_table_are_refused() -> None:
    reader = HistoryReader(
        star(2).snapshot, source="customers", target="orders", paths=[(0,)], inclusive=True
    )
    for row in (-1, 1):
        with pytest.raises(ValidationError, match=r"outside 0\.\.0"):
            reader.read(np.array([row], np.int32), np.zeros(1, np.int64))
    with pytest.raises(ValidationError, match="differ in length"):
        reader.read(np.zeros(2, np.int32), np.zeros(1, np.int64))
