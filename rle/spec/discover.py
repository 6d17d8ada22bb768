"""Drafts the tables of a schema from what its warehouse declares. Guesses nothing.

Keys and links come from declared keys alone. What is declared and cannot be used (a key of several
columns, a link to a table that is not in the draft) becomes a note for the person who edits the
draft, and so does what was not declared. Time columns are never set.
"""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from rle.connectors.names import parse, quote
from rle.connectors.survey import Closed
from rle.errors import UnknownNameError, ValidationError
from rle.spec.columns import Columns
from rle.spec.gnn_table import GNNTable
from rle.spec.infer import SAMPLE_ROWS, key_dtype
from rle.spec.table import NAME, CandidateKey, ForeignKey
from rle.values import ColumnDType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pyarrow as pa

    from rle.connectors.base import Connector
    from rle.connectors.keys import DeclaredLink, TableKeys

_KEY_DTYPES = (ColumnDType.integer_t, ColumnDType.text_t)
"""What keys and links that nobody declared are looked for among."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something about a table that a person should know or decide."""

    table: str
    """Name in the graph; the name in the warehouse where the table is not in the draft."""
    text: str


@dataclass(slots=True)
class Discovery:
    """What was found in a schema."""

    tables: list[GNNTable] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    samples: dict[str, pa.Table] = field(default_factory=dict)
    """By table, up to `SAMPLE_ROWS` rows of the columns that could be keys."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A source as the warehouse describes it."""

    name: str
    source: str
    columns: Columns
    keys: TableKeys

    def can_be_key(self, column: str) -> bool:
        return key_dtype(self.columns.arrow[column]) is not None

    def single_keys(self) -> list[str]:
        """Columns that are a declared key by themselves and may be one; the primary key first."""
        declared = [self.keys.primary, *self.keys.unique]
        singles = [columns[0] for columns in declared if columns and len(columns) == 1]
        return [column for column in dict.fromkeys(singles) if self.can_be_key(column)]


def discover(
    connector: Connector,
    schema: str,
    *,
    exclude: Iterable[str] = (),
    on_table: Callable[[int, int], None] = lambda done, of: None,
) -> Discovery:
    """Draft a GNNTable per table and view of a schema. Reads metadata and small samples.

    Args:
        connector: Where the schema is.
        schema: DB.SCHEMA.
        exclude: Names of tables to pass over, in any case; * and ? stand for other characters, and
            such a pattern may match nothing.
        on_table: Told how many tables were looked at, of how many.

    Raises:
        UnknownNameError: There is no such schema, or `exclude` names what is not there.
        RLEError: No table of it can be read.
    """
    result = Discovery()
    sources = _without(connector.sources_in(schema), exclude)
    found = _describe(connector, _names(sources), result, on_table)
    linked = _linked_keys(found)
    for item in found.values():
        result.tables.append(_draft(connector, item, found, linked, result.notes))
    return result


def link_to(table: str, column: str) -> str:
    """Return "table.column" as `ForeignKey` reads it, with quotes where they are needed."""
    return f"{table}.{column if NAME.fullmatch(column) else quote(column)}"


def time_candidates(table: GNNTable) -> tuple[str, ...]:
    """Return the columns that could say when a row became known."""
    roles = {key.column_name for key in table.candidate_keys}
    roles |= {key.column_name for key in table.foreign_keys}
    times = (c for c, dtype in table.columns.items() if dtype is ColumnDType.datetime_t)
    return tuple(column for column in times if column not in roles)


def _without(sources: Sequence[str], exclude: Iterable[str]) -> list[str]:
    patterns = [exclude] if isinstance(exclude, str) else list(exclude)
    tables = {source: _table_part(source) for source in sources}
    for pattern in patterns:
        hit = {
            s for s, table in tables.items() if fnmatchcase(table.casefold(), pattern.casefold())
        }
        if not hit and not set(pattern) & set("*?["):
            raise UnknownNameError("table to leave out", pattern, map(_table_part, sources))
        tables = {source: table for source, table in tables.items() if source not in hit}
    if not tables:
        raise ValidationError(
            f"Nothing is left of {len(sources)} tables: {patterns} names them all."
        )
    return list(tables)


def _table_part(source: str) -> str:
    return parse(source, example="DB.SCHEMA.TABLE")[2]


def _names(sources: Sequence[str]) -> dict[str, str]:
    """Return a name in the graph for each source: letters, digits and _, no two the same."""
    names: dict[str, str] = {}
    for source in sources:
        part = _table_part(source)
        plain = re.sub(r"\W+", "_", part.lower() if part.isupper() else part).strip("_")
        name = plain if NAME.fullmatch(plain) else f"t_{plain}"
        taken = set(names.values())
        number = 2
        unique = name
        while unique in taken:
            unique, number = f"{name}_{number}", number + 1
        names[source] = unique
    return names


def _describe(
    connector: Connector,
    names: Mapping[str, str],
    result: Discovery,
    on_table: Callable[[int, int], None],
) -> dict[str, _Found]:
    found: dict[str, _Found] = {}
    closed: Closed | None = None
    with closing(connector.survey(list(names), max_rows=SAMPLE_ROWS)) as surveyed:
        for done, item in enumerate(surveyed, 1):
            if isinstance(item, Closed):  # closed to us, or a view over a table that is gone
                closed = item
                why = f"left out, for it cannot be read: {item.error}"
                result.notes.append(Note(item.source, why))
            else:
                name = names[item.source]
                columns = Columns(connector, item.source, table=name, sample=item.sample)
                found[item.source] = _Found(name, item.source, columns, item.keys)
                result.samples[name] = item.sample.select(
                    [c for c, of in columns.arrow.items() if key_dtype(of) in _KEY_DTYPES]
                )
            on_table(done, len(names))
    if closed is not None and not found:
        raise closed.error
    return found


def _linked_keys(found: Mapping[str, _Found]) -> set[tuple[str, str]]:
    """Source and column of what declared links of one column refer to."""
    links = [link for item in found.values() for link in item.keys.foreign]
    return {(link.source, link.keys[0]) for link in links if len(link.keys) == 1}


def _draft(
    connector: Connector,
    item: _Found,
    found: Mapping[str, _Found],
    linked: set[tuple[str, str]],
    notes: list[Note],
) -> GNNTable:
    singles = item.single_keys()
    has_primary = item.keys.primary is not None and singles[:1] == list(item.keys.primary)
    primary = singles[0] if has_primary else None
    # Without a primary key any declared key will do; beside one, those that something links to.
    further = [c for c in singles if c != primary and (not primary or (item.source, c) in linked)]
    links: dict[str, ForeignKey] = {}
    for link in item.keys.foreign:
        problem = _cannot_link(item, link, found) or _taken(link, links)
        if problem is None:
            (column,), (key,) = link.columns, link.keys
            links[column] = ForeignKey(column, link_to(found[link.source].name, key))
        else:
            notes.append(Note(item.name, f"declared link {_in_words(link)} is not used: {problem}"))
    table = GNNTable(
        connector,
        item.name,
        item.source,
        primary_key=primary,
        candidate_keys=[CandidateKey(column) for column in further],
        foreign_keys=list(links.values()),
        columns=item.columns,
    )
    notes.extend(Note(item.name, text) for text in _about_keys(item, table))
    return table


def _about_keys(item: _Found, table: GNNTable) -> list[str]:
    texts = []
    primary = item.keys.primary
    if primary and len(primary) > 1:
        texts.append(
            f"its declared primary key has {len(primary)} columns ({', '.join(primary)}), and a "
            "table's key is one column: nothing can link to its rows, and no task be about them"
        )
    elif primary and not item.can_be_key(primary[0]):
        kind = item.columns.arrow[primary[0]]
        texts.append(f"its declared primary key {primary[0]} holds {kind}, which no key can be")
    unused = [
        c for c in item.single_keys() if c not in {k.column_name for k in table.candidate_keys}
    ]
    if unused:
        texts.append(
            f"declared unique, and no key here as nothing links to it: {', '.join(unused)}"
        )
    if len(table.foreign_keys) == 2 and {k.column_name for k in table.foreign_keys} == set(
        table.columns
    ):
        texts.append("holds two links and nothing else: its rows may be edges, type='edge'")
    return texts


def _cannot_link(item: _Found, link: DeclaredLink, found: Mapping[str, _Found]) -> str | None:
    """Say why a declared link cannot be drafted; None where it can."""
    if len(link.columns) > 1:
        return "a link is one column; a view that joins them into one would do"
    target = found.get(link.source)
    if target is None:
        return f"{link.source} is not in this draft"
    if link.keys[0] not in target.single_keys():
        return f"{link.keys[0]} is no key of {link.source}"
    if not item.can_be_key(link.columns[0]):
        return f"{link.columns[0]} holds {item.columns.arrow[link.columns[0]]}"
    return None


def _taken(link: DeclaredLink, links: Mapping[str, ForeignKey]) -> str | None:
    known = links.get(link.columns[0])
    return None if known is None else f"{link.columns[0]} links to {known.link_to} already"


def _in_words(link: DeclaredLink) -> str:
    return f"{', '.join(link.columns)} -> {link.source} ({', '.join(link.keys)})"
