"""The keys that a warehouse has declared for a table: facts, which it may or may not enforce."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeclaredLink:
    """A foreign key as the warehouse declares it."""

    columns: tuple[str, ...]
    """Columns of the table itself."""
    source: str
    """Full name of the table they refer to, as `Connector.sources` spells it."""
    keys: tuple[str, ...]
    """Columns of that table, position by position."""


@dataclass(frozen=True, slots=True)
class TableKeys:
    """What is declared for one table. Snowflake, for one, does not check that rows keep it."""

    primary: tuple[str, ...] | None = None
    """Columns of the primary key, in its order; None: there is none."""
    unique: tuple[tuple[str, ...], ...] = ()
    """Columns of each further unique key."""
    foreign: tuple[DeclaredLink, ...] = ()
    """Foreign keys, in the order in which the warehouse lists them."""
