"""Others who take, drop or replace a table while it is written: nobody's rows are lost or mixed."""

from __future__ import annotations

import logging
import threading

import pyarrow as pa
import pytest

from rle.connectors.base import NewTable
from rle.connectors.snowflake.session import Session
from rle.errors import OutputExistsError, RLEError
from tests.snowflake.output_place import PLAIN, Place
from tests.snowflake.warehouse import connector_to


def test_a_table_that_appears_meanwhile_stays(place):
    other = connector_to(place.server, query_tag="other")

    def rows():
        batch = pa.RecordBatch.from_pydict({"ID": [1, 2]}, schema=PLAIN)
        yield 0, batch
        other.write(place.name("P"), [batch, batch], schema=PLAIN)
        yield 1, batch

    tables = [NewTable(place.name(name), PLAIN) for name in ("A", "P")]
    with pytest.raises(OutputExistsError, match=f"{place.name('P')} exists already"):
        place.connector.write_tables(tables, rows())
    assert place.tables() == {"P"}
    assert len(place.rows("P")) == 4


def test_a_name_taken_while_the_old_table_is_aside(place, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    names = ["A", "P"]
    place.write(*names, num_rows=3)
    real = Session.execute

    def raced(self, sql, params=()):
        found = real(self, sql, params)
        if "RENAME TO" in sql and '_0"' in sql and '"A" RENAME TO' in sql:
            real(self, f"CREATE TABLE {place.name('A')} (ID NUMBER)")
        return found

    monkeypatch.setattr(Session, "execute", raced)
    with pytest.raises(OutputExistsError, match=f"{place.name('A')} exists already"):
        place.write(*names, num_rows=8, replacing=[place.name(name) for name in names])
    assert place.rows("A") == []
    assert len(place.rows("P")) == 3
    (old,) = place.tables() - set(names)
    assert f"The old rows of {place.name('A')} are in {place.name(old)}" in caplog.text
    assert len(place.rows(old)) == 3


@pytest.mark.parametrize("names", [("P",), ("A", "P")])
def test_an_old_table_that_goes_meanwhile_is_told_in_words(place, names, monkeypatch):
    place.write(*names, num_rows=3)
    real, is_first = Session.execute, iter([True])

    def raced(self, sql, params=()):
        if ("SWAP WITH" in sql or '"P" RENAME TO' in sql) and next(is_first, False):
            real(self, f"DROP TABLE {place.name('P')}")
        return real(self, sql, params)

    monkeypatch.setattr(Session, "execute", raced)
    told = f"{place.name('P')} was replaced or dropped by somebody else meanwhile"
    with pytest.raises(OutputExistsError, match=told):
        place.write(*names, num_rows=8, replacing=[place.name(name) for name in names])
    assert place.tables() == set(names) - {"P"}
    assert all(len(place.rows(name)) == 3 for name in place.tables())


def test_two_writers_of_one_alias(place):
    outcomes = at_once(place, replacing=())
    won = [rows for rows, error in outcomes if error is None]
    assert len(won) == 1
    assert [type(error) for _, error in outcomes if error is not None] == [OutputExistsError]
    assert [len(place.rows(name)) for name in ("A", "P")] == won * 2
    assert place.tables() == {"A", "P"}


def test_two_writers_who_replace_one_table(place):
    place.write("P", num_rows=3)
    outcomes = at_once(place, replacing=[place.name("P")], names=("P",))
    assert [error for _, error in outcomes] == [None, None]
    assert len(place.rows("P")) in (20, 30)
    assert place.tables() == {"P"}


def test_a_second_writer_who_finds_the_old_table_put_aside(place, monkeypatch):
    names = ["A", "P"]
    replacing = [place.name(name) for name in names]
    place.write(*names, num_rows=3)
    other = Place(place.server, query_tag="other")
    other.schema = place.schema
    real, is_first = Session.execute, iter([True])

    def raced(self, sql, params=()):
        if '"P" RENAME TO' in sql and next(is_first, False):
            other.write(*names, num_rows=20, replacing=replacing)
        return real(self, sql, params)

    monkeypatch.setattr(Session, "execute", raced)
    place.write(*names, num_rows=30, replacing=replacing)
    assert [len(place.rows(name)) for name in names] == [30, 30]
    assert place.tables() == set(names)


def at_once(place, *, replacing, names=("A", "P")):
    """Two writers of the same tables, of 20 and of 30 rows, who name them at the same time."""
    outcomes, gate = [], threading.Barrier(2, timeout=60)

    def write(num_rows):
        connector = connector_to(place.server, query_tag=str(num_rows))
        batch = pa.RecordBatch.from_pydict({"ID": range(num_rows)}, schema=PLAIN)

        def rows():
            yield from ((index, batch) for index in range(len(names)))
            gate.wait()

        try:
            tables = [NewTable(place.name(name), PLAIN) for name in names]
            connector.write_tables(tables, rows(), replacing=replacing)
        except RLEError as error:
            outcomes.append((num_rows, error))
        else:
            outcomes.append((num_rows, None))

    threads = [threading.Thread(target=write, args=(num_rows,)) for num_rows in (20, 30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
