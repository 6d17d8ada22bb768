"""Keys and links that nobody declared but that names and values speak for. Proposed, not applied.

A column is proposed as a key where its table has none, it is named like one (id, customer_id in
customers, C_CUSTKEY in CUSTOMER) and its sampled values are distinct and not NULL. A column is
proposed as a link where it is named like another table's key and each sampled value is found there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from rle.spec.discover import Note, link_to
from rle.spec.infer import key_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rle.connectors.base import Connector
    from rle.spec.gnn_table import GNNTable

MAX_KEY_ROWS = 2_000_000
"""Rows of a table whose key is looked through for the values of a link."""
_GENERIC = ("id", "key", "code", "no", "nr", "num", "number", "uuid", "guid", "sk", "pk")
_MIN_STEM = 3
_MIN_KEY_ROWS = 2  # a single row differs from all others whatever it holds


@dataclass(frozen=True, slots=True)
class SuggestedKey:
    """A column that may be its table's key."""

    table: str
    column: str
    num_rows: int
    """Sampled rows, whose values are all different."""

    def __str__(self) -> str:
        return f"key {self.table}.{self.column}: {self.num_rows:,} sampled rows are all different"


@dataclass(frozen=True, slots=True)
class SuggestedLink:
    """A column that may refer to another table's key."""

    table: str
    column: str
    target: str
    """Table whose key is meant."""
    key: str
    num_values: int
    """Different values in the sample, each found among the keys."""

    @property
    def link_to(self) -> str:
        """As `ForeignKey` takes it."""
        return link_to(self.target, self.key)

    def __str__(self) -> str:
        found = f"{self.num_values:,} sampled values are all found there"
        return f"link {self.table}.{self.column} -> {self.link_to}: {found}"


Suggestion = SuggestedKey | SuggestedLink


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A column that is named like some key."""

    table: str
    column: str
    values: pa.Array
    """Its sampled values, each once, without NULL."""


@dataclass(frozen=True, slots=True)
class _Table:
    """A drafted table, and a sample of the columns that could be keys."""

    draft: GNNTable
    rows: pa.Table
    prefix: str
    """What each of its columns begins with, such as "c_"; not part of what a column is called."""

    def words(self, column: str) -> list[str]:
        return _words(column[len(self.prefix) :])

    def is_called_by(self, column: str) -> bool:
        """Whether a column is named as the table's own key would be."""
        name = "".join(self.words(column))
        if name in _GENERIC or name in _forms(self.draft.name):
            return True
        suffix = next((g for g in _GENERIC if name.endswith(g)), None)
        stem = name.removesuffix(suffix or "")
        is_start = any(form.startswith(stem) for form in _forms(self.draft.name))
        return suffix is not None and len(stem) >= _MIN_STEM and is_start


def suggest(
    connector: Connector, tables: Sequence[GNNTable], samples: Mapping[str, pa.Table]
) -> tuple[list[Suggestion], list[Note]]:
    """Look for keys and links that were not declared; also return what looked like one and is none.

    Costs the key column of each table of at most `MAX_KEY_ROWS` rows that something seems to link
    to, unless the sample is all of it.

    Args:
        connector: Where the tables are.
        tables: As they were drafted.
        samples: By table, see `Discovery.samples`.
    """
    looked_at = [_look(table, samples[table.name]) for table in tables]
    own_keys = [key for table in looked_at for key in _own_keys(table)]
    keys = {t.draft.name: {k.column_name for k in t.draft.candidate_keys} for t in looked_at}
    for key in own_keys:
        keys[key.table].add(key.column)
    links: list[SuggestedLink] = []
    notes: list[Note] = []
    for target in looked_at:
        for column in sorted(keys[target.draft.name]):
            wanted = list(_named_like(target, column, looked_at, keys))
            for found in _check(connector, target, column, wanted):
                if isinstance(found, Note):
                    notes.append(found)
                else:
                    links.append(found)
    links.sort(key=lambda link: (link.table, link.column, link.link_to))
    return [*own_keys, *links], notes


def _look(table: GNNTable, sample: pa.Table) -> _Table:
    names = list(table.columns)
    first = names[0].split("_")[0] + "_" if names and "_" in names[0] else ""
    shared = len(names) > 1 and first and all(name.startswith(first) for name in names)
    rows = sample.select([c for c in sample.column_names if c in table.columns])
    return _Table(table, rows, first if shared else "")


def _own_keys(table: _Table) -> Iterator[SuggestedKey]:
    if table.draft.candidate_keys or table.rows.num_rows < _MIN_KEY_ROWS:
        return
    for column in table.rows.schema.names:
        values = table.rows[column]
        is_distinct = pc.count_distinct(values, mode="all").as_py() == table.rows.num_rows
        if table.is_called_by(column) and not values.null_count and is_distinct:
            yield SuggestedKey(table.draft.name, column, table.rows.num_rows)
            return


def _named_like(
    target: _Table, key: str, tables: Sequence[_Table], keys: Mapping[str, set[str]]
) -> Iterator[_Candidate]:
    """Yield the columns that are named like a key and could hold its values."""
    if key not in target.rows.schema.names:
        return
    called = "".join(target.words(key))
    is_generic = called in _GENERIC
    wanted = {form + called for form in _forms(target.draft.name)} if is_generic else {called}
    kind = key_dtype(target.rows.schema.field(key).type)
    for table in tables:
        linked = {link.column_name for link in table.draft.foreign_keys}
        own = {column for column in keys[table.draft.name] if table.is_called_by(column)}
        own |= {key} if table is target else set()
        for field in table.rows.schema:
            words = table.words(field.name)
            is_like = any("".join(words[i:]) in wanted for i in range(len(words)))
            if not is_like or field.name in own | linked or key_dtype(field.type) is not kind:
                continue
            values = pc.unique(table.rows[field.name]).drop_null()
            if len(values):
                yield _Candidate(table.draft.name, field.name, values)


def _check(
    connector: Connector, target: _Table, key: str, candidates: Sequence[_Candidate]
) -> Iterator[SuggestedLink | Note]:
    if not candidates:
        return
    name = target.draft.name
    num_rows = connector.num_rows(target.draft.source)
    is_whole = target.rows.num_rows == num_rows  # a sample may be shorter than it was asked for
    if num_rows > MAX_KEY_ROWS:
        for found in candidates:
            text = (
                f"{found.column} is named like {link_to(name, key)}, which was not looked through"
            )
            yield Note(found.table, f"{text} ({num_rows:,} rows): link it if it belongs there")
        return
    keys = iter([target.rows[key]]) if is_whole else _keys(connector, target.draft.source, key)
    missing = _num_missing(keys, [c.values for c in candidates])
    for found, num in zip(candidates, missing, strict=True):
        if not num:
            yield SuggestedLink(found.table, found.column, name, key, len(found.values))
        elif num < len(found.values):
            text = f"{found.column} is named like {link_to(name, key)}, which lacks {num:,} of its"
            yield Note(found.table, f"{text} {len(found.values):,} sampled values")


def _keys(connector: Connector, source: str, key: str) -> Iterator[pa.Array]:
    for chunk in connector.chunks(source, columns=[key]):
        for batch in connector.read(chunk):
            yield batch.column(0)


def _num_missing(
    keys: Iterator[pa.Array | pa.ChunkedArray], wanted: Sequence[pa.Array]
) -> list[int]:
    """Return how many values of each array are not among the keys. Stops when all are found."""
    # As text, for the same whole number may be an integer in one table and a decimal in the other.
    left = [values.cast(pa.string()) for values in wanted]
    for part in keys:
        known = part.cast(pa.string())
        left = [values.filter(pc.invert(pc.is_in(values, known))) for values in left]
        if not any(len(values) for values in left):
            break
    return [len(values) for values in left]


def _words(name: str) -> list[str]:
    """Split at what is no letter or digit, and before capitals that follow small letters."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return [word.casefold() for word in re.split(r"[\W_]+", apart) if word]


def _forms(table: str) -> set[str]:
    """Return how a column may call a table: categories, categorie, categori, category."""
    name = "".join(_words(table))
    forms = {name, name.removesuffix("s"), name.removesuffix("es")}
    return forms | ({name.removesuffix("ies") + "y"} if name.endswith("ies") else set())
