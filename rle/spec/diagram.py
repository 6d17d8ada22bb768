"""The schema of a dataset as a picture: DOT text made here, drawn by Graphviz."""

from __future__ import annotations

import html
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

import graphviz

from rle.errors import UnknownNameError, ValidationError
from rle.spec.show import say
from rle.spec.task import NodeTaskSpec

if TYPE_CHECKING:
    from rle.spec.dataset import DatasetSpec
    from rle.spec.table import TableSpec

FORMATS = ("svg", "png", "pdf")
TABLE_COLOUR, EDGE_COLOUR, TASK_COLOUR = "#dbe7f6", "#eeeeee", "#fbe3c8"


class DatasetDiagram:
    """Tables, links and the task as a graph. Drawing needs Graphviz's `dot` on the PATH.

    Args:
        source: DOT text.
        nodes: Names of the tables, then of the task.
    """

    def __init__(self, source: str, nodes: tuple[str, ...]) -> None:
        self._source, self._nodes = source, nodes

    @property
    def source(self) -> str:
        """The diagram as DOT text."""
        return self._source

    def to_string(self) -> str:
        """Return the diagram as DOT text."""
        return self._source

    def get_nodes(self) -> list[str]:
        """Return the names of the tables, then of the task."""
        return list(self._nodes)

    def create_png(self) -> bytes:
        """Draw the diagram; return the bytes of a PNG file.

        Raises:
            ValidationError: Graphviz is not on the PATH, which is looked up now.
        """
        return self._draw("png")

    def save(self, path: str | Path) -> Path:
        """Draw the diagram into a file; its ending (.svg, .png or .pdf) says how.

        Raises:
            ValidationError: Another ending, or Graphviz is not on the PATH.
        """
        target = Path(path)
        extension = target.suffix.removeprefix(".").lower()
        if extension not in FORMATS:
            raise UnknownNameError("diagram format", extension, FORMATS)
        drawing = self._draw(extension)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(drawing)
        return target

    def display(self) -> None:
        """Show the diagram in a notebook; elsewhere print its DOT text."""
        try:
            notebook = pkgutil.resolve_name("IPython.display")
        except ModuleNotFoundError:
            say(self._source)
        else:
            notebook.display(notebook.SVG(self._draw("svg")))

    def __str__(self) -> str:
        return self._source

    def _draw(self, extension: str) -> bytes:
        try:
            drawing: bytes = graphviz.Source(self._source).pipe(format=extension)
        except graphviz.ExecutableNotFound as error:
            raise ValidationError(
                "Drawing needs Graphviz, and there is no 'dot' on the PATH. Install it, such as "
                "with 'apt-get install graphviz' or 'brew install graphviz', or add its folder to "
                "PATH. The DOT text is there without it: to_string()."
            ) from error
        return drawing


def draw_dataset(spec: DatasetSpec, *, show_dtypes: bool) -> DatasetDiagram:
    """Return the diagram of a dataset.

    Args:
        spec: The dataset.
        show_dtypes: Whether all columns are listed with their dtypes, or only keys and time.
    """
    lines = [
        "digraph dataset {",
        "  rankdir=LR;",
        '  node [shape=plain, fontname="Helvetica", fontsize=11];',
        '  edge [fontname="Helvetica", fontsize=9, color="#555555"];',
    ]
    for table in spec.tables:
        rows = _table_rows(table, show_dtypes=show_dtypes)
        colour = TABLE_COLOUR if table.type == "node" else EDGE_COLOUR
        lines.append(_node(table.name, table.name, rows, colour))
    # A task may be called like a table, so its node has a name that no table can have.
    lines.append(
        _node(
            "task:", f"{spec.task.name}\n{spec.task.task_type.value}", _task_rows(spec), TASK_COLOUR
        )
    )
    lines += [
        f"  {_quote(table.name)} -> {_quote(key.link_table)} [label={_quote(key.column_name)}];"
        for table in spec.tables
        for key in table.foreign_keys
    ]
    lines += [
        f"  {_quote('task:')} -> {_quote(table)} [label={_quote(column)}, style=dashed];"
        for table, _, column, _ in spec.entities
    ]
    lines.append("}")
    names = (*(table.name for table in spec.tables), spec.task.name)
    return DatasetDiagram("\n".join(lines) + "\n", names)


def _table_rows(table: TableSpec, *, show_dtypes: bool) -> list[str]:
    rows = []
    for column in table.columns:
        roles = []
        if column.name in table.key_columns:
            roles.append("key")
        if column.name in table.link_columns:
            roles.append("link")
        if column.name == table.time_column:
            roles.append("time")
        if roles or show_dtypes:
            dtype = f": {column.dtype.value}" if show_dtypes else ""
            rows.append(f"{column.name}{dtype}" + (f" ({', '.join(roles)})" if roles else ""))
    return rows


def _task_rows(spec: DatasetSpec) -> list[str]:
    task = spec.task
    rows = [f"metric: {task.metric.name}"]
    if isinstance(task, NodeTaskSpec):
        rows.append(f"{task.target_column} (label)")
    if task.time_column is not None:
        rows.append(f"{task.time_column} (time)")
    return rows


def _node(name: str, title: str, rows: list[str], colour: str) -> str:
    cells = [f'<TR><TD BGCOLOR="{colour}"><B>{_escape(title)}</B></TD></TR>']
    cells += [f'<TR><TD ALIGN="LEFT">{_escape(row)}</TD></TR>' for row in rows]
    frame = '<TABLE BORDER="0" CELLBORDER="1" CELLSPACING="0" CELLPADDING="4">'
    return f"  {_quote(name)} [label=<{frame}{''.join(cells)}</TABLE>>];"


def _escape(text: str) -> str:
    return html.escape(text).replace("\n", "<BR/>")


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
