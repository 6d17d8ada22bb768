"""A drafted schema: tables for a person to look at, complete and turn into a dataset."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rle.connectors.names import shown
from rle.errors import UnknownNameError, ValidationError
from rle.runs.progress import ProgressDisplay
from rle.runs.stage import StageProgress
from rle.spec.dataset_handle import reads_task_table
from rle.spec.discover import Note, discover, time_candidates
from rle.spec.show import say
from rle.spec.suggest import SuggestedKey, Suggestion, suggest
from rle.spec.table import ForeignKey
from rle.spec.task_handle import LinkTask, NodeTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rle.connectors.base import Connector
    from rle.sdk.dataset import Dataset
    from rle.spec.gnn_table import GNNTable

MANY_TABLES = 20
"""From so many tables on, there is a progress bar."""


class SchemaDraft:
    """Tables of a schema as far as they are known; `print` it. Made by `Dataset.from_schema`.

    The tables are ordinary GNNTables: change them with their setters. What only a person can say
    (which column tells when a row became known, links that nobody declared) is left open until it
    is said, and `dataset` refuses while a time is open.
    """

    def __init__(
        self,
        connector: Connector,
        schema: str,
        tables: Sequence[GNNTable],
        *,
        notes: Sequence[Note] = (),
        suggestions: Sequence[Suggestion] = (),
        always_known: Iterable[str] = (),
    ) -> None:
        self.connector, self.schema = connector, schema
        self._tables = {table.name: table for table in tables}
        self._notes, self._suggestions = list(notes), list(suggestions)
        self._always_known = set(always_known)

    @property
    def tables(self) -> tuple[GNNTable, ...]:
        """The tables of the draft."""
        return tuple(self._tables.values())

    @property
    def notes(self) -> tuple[str, ...]:
        """What was declared and could not be used, and what is missing: "table: what"."""
        return tuple(f"{note.table}: {note.text}" for note in self._notes)

    @property
    def suggestions(self) -> tuple[Suggestion, ...]:
        """Keys and links that nobody declared but that names and values speak for; not applied."""
        return tuple(self._suggestions)

    @property
    def always_known(self) -> frozenset[str]:
        """Tables that have dates, but of which it was said that their rows were always known."""
        return frozenset(self._always_known)

    @property
    def open_times(self) -> dict[str, tuple[str, ...]]:
        """Columns that may say when a row became known, by table where none was chosen."""
        candidates = {t.name: time_candidates(t) for t in self.tables if t.time_column is None}
        return {
            n: found for n, found in candidates.items() if found and n not in self._always_known
        }

    @property
    def loose(self) -> tuple[str, ...]:
        """Tables that have neither a key nor a link, so that they cannot be part of a graph."""
        return tuple(t.name for t in self.tables if not t.candidate_keys and not t.foreign_keys)

    def __getitem__(self, name: str) -> GNNTable:
        if name not in self._tables:
            raise UnknownNameError("table in the draft", name, self._tables)
        return self._tables[name]

    def set_time_columns(self, columns: Mapping[str, str | None]) -> None:
        """Say which column tells when a row became known, by table; None: rows were always known.

        Raises:
            UnknownNameError: There is no such table or column.
            ValidationError: The column is no datetime, or a key.
        """
        for name, column in columns.items():
            table = self[name]
            if column is not None:
                table.set_time_column(column)
                self._always_known.discard(name)
            else:
                if table.time_column is not None:
                    table.unset_time_column(table.time_column)
                self._always_known.add(name)

    def accept(self, *suggestions: Suggestion) -> None:
        """Apply suggestions; all of them where none is named.

        Raises:
            ValidationError: A column is to link to two tables, or to a column that is no key yet.
        """
        chosen = list(suggestions) or list(self._suggestions)
        keys = [found for found in chosen if isinstance(found, SuggestedKey)]
        links = [found for found in chosen if not isinstance(found, SuggestedKey)]
        targets: dict[tuple[str, str], str] = {}
        for link in links:
            other = targets.setdefault((link.table, link.column), link.link_to)
            if other != link.link_to:
                raise ValidationError(
                    f"{link.table}.{link.column} may link to {other} and to {link.link_to}. Accept "
                    "one of them: draft.accept(draft.suggestions[...])."
                )
            known = {key.column_name for key in self[link.target].candidate_keys}
            if link.key not in known | {k.column for k in keys if k.table == link.target}:
                raise ValidationError(
                    f"{link.link_to} is no key yet, so {link.table}.{link.column} cannot link to "
                    "it. Accept the key too, or set it: "
                    f"draft[{link.target!r}].set_primary_key({link.key!r})."
                )
        for key in keys:
            self[key.table].set_primary_key(key.column)
        for link in links:
            self[link.table].set_foreign_key(ForeignKey(link.column, link.link_to))
        self._suggestions = [found for found in self._suggestions if found not in chosen]

    def leave_out(self, *names: str) -> None:
        """Take tables out of the draft, and with them the links that lead to them.

        Raises:
            UnknownNameError: There is no such table.
        """
        for name in names:
            _ = self[name]
        for name in names:
            del self._tables[name]
        for table in self.tables:
            for link in [key for key in table.foreign_keys if key.link_table in names]:
                table.unset_foreign_key(link)
                text = f"{link.column_name} -> {link.link_to} went with the table it leads to"
                self._notes.append(Note(table.name, text))
        self._notes = [note for note in self._notes if note.table not in names]
        self._suggestions = [
            found
            for found in self._suggestions
            if found.table not in names and getattr(found, "target", None) not in names
        ]

    def dataset(self, name: str, task_description: NodeTask | LinkTask) -> Dataset:
        """Return the dataset of the draft's tables and a task.

        The task's own tables, where the draft has them, are no part of the graph: they hold labels.

        Args:
            name: First part of the experiment's name; may not hold "/".
            task_description: What to predict.

        Raises:
            ValidationError: It is open when a table's rows became known, a table has neither key
                nor link, one links to a table of the task, or as for `Dataset`.
        """
        from rle.sdk.dataset import Dataset

        # What is no task is refused by the dataset, in its own words.
        is_task = isinstance(task_description, NodeTask | LinkTask)
        of_task = [t.name for t in self.tables if is_task and reads_task_table(t, task_description)]
        if of_task:
            say(f"Left out of the graph, as tables of the task: {', '.join(of_task)}.")
        tables = [table for table in self.tables if table.name not in of_task]
        _check_no_link_to(of_task, tables)
        self._check_decided(tables)
        return Dataset(self.connector, name, tables, task_description)

    def to_code(self) -> str:
        """Return Python code that makes the same tables, to be edited and kept."""
        from rle.sdk.draft_code import to_code

        return to_code(self)

    def save(self, path: str | Path) -> Path:
        """Write the draft to a new YAML file, to be edited and read by `Dataset.from_draft`.

        Returns:
            `path`.

        Raises:
            ValidationError: The name does not end in .yaml or .yml.
            OutputExistsError: The file is there already.
            StorageError: It cannot be written.
        """
        from rle.sdk.draft_file import write_draft

        return write_draft(self, path)

    def __str__(self) -> str:
        num_links = sum(len(table.foreign_keys) for table in self.tables)
        found = f"{_count(len(self.tables), 'table')}, {_count(num_links, 'link')}"
        lines = [f"Draft of {self.schema}: {found}"]
        for table in self.tables:
            lines.append(f"  {table.name} ({table.source}): {', '.join(_roles(table))}")
            lines += [f"    {key.column_name} -> {key.link_to}" for key in table.foreign_keys]
        if self.open_times:
            lines.append("When did a row become known? draft.set_time_columns({table: column}):")
            lines += [f"  {name}: {', '.join(c)}?" for name, c in self.open_times.items()]
        if self.loose:
            lines.append("Neither key nor link; give them one, or draft.leave_out(...):")
            lines.append(f"  {', '.join(self.loose)}")
        if self._suggestions:
            lines.append("Not declared, but likely. draft.accept() applies all of these:")
            lines += [f"  {found}" for found in self._suggestions]
        if self._notes:
            lines.append("To know:")
            lines += [f"  {note}" for note in self.notes]
        return "\n".join(map(shown, lines))

    def __repr__(self) -> str:
        return f"<SchemaDraft of {self.schema}: {', '.join(self._tables)}>"

    def _check_decided(self, tables: Sequence[GNNTable]) -> None:
        names = {table.name for table in tables}
        still_open = {name: found for name, found in self.open_times.items() if name in names}
        if still_open:
            choices = "; ".join(f"{name}: {' or '.join(c)}" for name, c in still_open.items())
            example = {name: found[0] for name, found in still_open.items()}
            raise ValidationError(
                f"Which column says when a row became known? {choices}. Rows of a table without "
                "one are visible at any time, so a later one may give the answer away. Say so: "
                f"draft.set_time_columns({example}); None where rows were always known."
            )
        loose = [name for name in self.loose if name in names]
        if loose:
            raise ValidationError(
                f"Tables {loose} have neither a key nor a link, so they cannot be part of the "
                f"graph. Leave them out, draft.leave_out({', '.join(map(repr, loose))}), or set "
                f"one: draft[{loose[0]!r}].set_primary_key(...)."
            )


@contextmanager
def progress_of_tables() -> Iterator[Callable[[int, int], None]]:
    """Give what is to be told how many tables were looked at; shows it where they are many."""
    with ProgressDisplay() as display:
        progress = StageProgress("look at tables", display)
        yield lambda done, of: progress(done, of) if of >= MANY_TABLES else None


def draft_schema(
    connector: Connector,
    schema: str,
    *,
    exclude: Iterable[str] = (),
    time_columns: Mapping[str, str | None] | None = None,
    look_for_links: bool = True,
) -> SchemaDraft:
    """Draft the tables of a schema; see `Dataset.from_schema`."""
    with progress_of_tables() as on_table:
        found = discover(connector, schema, exclude=exclude, on_table=on_table)
    suggestions: list[Suggestion] = []
    if look_for_links:
        suggestions, notes = suggest(connector, found.tables, found.samples)
        found.notes.extend(notes)
    draft = SchemaDraft(connector, schema, found.tables, notes=found.notes, suggestions=suggestions)
    draft.set_time_columns(time_columns or {})
    return draft


def _roles(table: GNNTable) -> list[str]:
    keys = [key.column_name for key in table.candidate_keys]
    roles = [_count(len(table.columns), "column"), f"key {', '.join(keys)}" if keys else "no key"]
    return roles + ([f"time {table.time_column}"] if table.time_column else [])


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _check_no_link_to(of_task: Sequence[str], tables: Sequence[GNNTable]) -> None:
    for table in tables:
        for link in table.foreign_keys:
            if link.link_table in of_task:
                raise ValidationError(
                    f"{table.name}.{link.column_name} links to {link.link_table!r}, a table of the "
                    "task, which is no part of the graph, as it holds labels. "
                    f"draft.leave_out({link.link_table!r}) takes the links to it out as well."
                )
