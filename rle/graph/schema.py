"""The shape of a snapshot: its tables, the blocks they hold and the relations between them."""

from __future__ import annotations

from rle.errors import InternalError, ValidationError
from rle.values import Value


class Relation(Value):
    """One direction of a link. Messages and samples follow it from source to target."""

    name: str
    """`"<link>:children"` (one parent, many rows) or `"<link>:parent"` (one row, one parent)."""
    source: str
    """Table whose rows are expanded."""
    target: str
    """Table whose rows are found."""
    many: bool
    """Whether a source row may have several targets."""
    link: str
    """The foreign key behind it, `"child.column"`."""


class TableLayout(Value):
    """Which column lies where in the blocks of one table."""

    name: str
    has_time: bool
    number_columns: tuple[str, ...] = ()
    code_columns: tuple[str, ...] = ()
    stamp_columns: tuple[str, ...] = ()
    vector_columns: tuple[tuple[str, int], ...] = ()
    """Name and dimension of each vector column, text embeddings among them."""
    list_columns: tuple[str, ...] = ()
    key_columns: tuple[str, ...] = ()
    """Candidate keys; the first one decides the order of rows of equal time."""

    @property
    def num_columns(self) -> int:
        """Feature columns of all kinds."""
        return (
            len(self.number_columns)
            + len(self.code_columns)
            + len(self.stamp_columns)
            + len(self.vector_columns)
            + len(self.list_columns)
        )


class GraphSchema(Value):
    """Tables and relations, both in a fixed order that topologies and models rely on."""

    tables: tuple[TableLayout, ...]
    relations: tuple[Relation, ...]

    def table(self, name: str) -> TableLayout:
        """Return the layout of a table that must be there."""
        for layout in self.tables:
            if layout.name == name:
                return layout
        raise InternalError(f"The graph has no table {name!r}.")

    def extension(self, relation: Relation) -> tuple[Relation, Relation] | None:
        """Return what an inherited relation was made of, None for any other.

        Departures extend flights, so an airport inherits departures: the two relations are from a
        departure to its flight, and from the airport to the flights that departures extend.
        """
        for up in self.relations_from(relation.target):
            for beside in self.relations_from(relation.source):
                column = beside.link.removeprefix(f"{up.target}.")
                is_list = beside.many and not up.many and beside.target == up.target
                if is_list and relation.link == f"{up.link}>{column}":
                    return up, beside
        return None

    def relations_from(self, table: str) -> tuple[Relation, ...]:
        """Return the relations whose source is `table`, in schema order."""
        return tuple(r for r in self.relations if r.source == table)


def relations_of_link(link: str, *, child: str, parent: str) -> tuple[Relation, Relation]:
    """Return both directions of the foreign key `link` from `child` to `parent`."""
    return (
        Relation(name=f"{link}:children", source=parent, target=child, many=True, link=link),
        Relation(name=f"{link}:parent", source=child, target=parent, many=False, link=link),
    )


def relations_of_edge_table(
    table: str, *, columns: tuple[str, str], parents: tuple[str, str]
) -> tuple[Relation, Relation]:
    """Return both directions of an edge table: two foreign keys and no rows of its own."""
    first, second = (f"{table}.{column}" for column in columns)
    return (
        Relation(
            name=f"{first}:children", source=parents[0], target=parents[1], many=True, link=first
        ),
        Relation(
            name=f"{second}:children", source=parents[1], target=parents[0], many=True, link=second
        ),
    )


def check_same_graph(trained: GraphSchema, given: GraphSchema) -> None:
    """Refuse a graph whose blocks and relations are not those a model was trained on.

    Raises:
        ValidationError: Names the tables and relations that differ.
    """
    if trained == given:
        return
    differences = []
    for before, after, what in (
        (trained.tables, given.tables, "table"),
        (trained.relations, given.relations, "relation"),
    ):
        old, new = {b.name: b for b in before}, {a.name: a for a in after}
        differences += [f"{what} {name!r} is gone" for name in old if name not in new]
        differences += [f"{what} {name!r} is new" for name in new if name not in old]
        differences += [
            f"{what} {name!r} was {old[name].to_json()} and is {new[name].to_json()}"
            for name in old
            if name in new and old[name] != new[name]
        ]
    raise ValidationError(
        "The tables do not have the graph that the model was trained on: "
        + ("; ".join(differences) or "tables or relations come in another order")
        + ". Declare them as in training, or train a new model. A relation with '>' is inherited "
        "by a table that extends another row for row; inherit_links=False trains without."
    )
