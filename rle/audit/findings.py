"""What an audit found: frozen values, equal to their JSON, with the evidence in numbers."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

import pydantic

from rle.runs.progress import as_text
from rle.values import Value

if TYPE_CHECKING:
    from rich.table import Table


class Severity(StrEnum):
    """How sure it is that a metric would be wrong."""

    HIGH = "high"
    """A measured metric would not hold in the future. Correct it before training."""
    MEDIUM = "medium"
    """It looks like a leak, but honest data can look like this. Look at it."""
    LOW = "low"
    """Worth knowing; nothing needs to be done."""

    @property
    def rank(self) -> int:
        """0 for the gravest."""
        return list(Severity).index(self)


class FindingKind(StrEnum):
    """What kind of leak or defect a finding is about."""

    DECIDED_LABEL = "decided_label"
    """A visible value alone says the label."""
    NULL_PATTERN = "null_pattern"
    """Whether a value is NULL says the label."""
    LABEL_AT_T = "label_at_t"
    """Rows at the very moment of the prediction say the label; earlier ones do not."""
    FUTURE_VALUE = "future_value"
    """A visible row holds a date after the prediction."""
    ENTITY_NOT_ALIVE = "entity_not_alive"
    """The entity's own row begins after the prediction."""
    TARGET_NOT_ALIVE = "target_not_alive"
    """A link's target begins after the prediction; no leak, but a link that cannot be found."""
    UNKNOWN_ENTITY = "unknown_entity"
    """The task names entities that are not in the graph."""
    UNDATED_SNAPSHOT = "undated_snapshot"
    """A table or a column is as of the end of the data, not as of the prediction."""
    SPLIT_ORDER = "split_order"
    """A split begins before the one it follows has ended."""
    SPLIT_GAP = "split_gap"
    """Splits follow each other faster than the times within training do."""
    SPLIT_OVERLAP = "split_overlap"
    """The same entity and time are in two splits."""
    CONTRADICTING_LABELS = "contradicting_labels"
    """The same entity and time have two labels."""
    DUPLICATE_ROWS = "duplicate_rows"
    """The same entity, time and label come twice."""
    TRUNCATED_TIMES = "truncated_times"
    """Times are cut to the day, so rows are visible before they happened."""
    SHIFTED_TIMES = "shifted_times"
    """Times are another zone's midnights, so they are hours off."""


class Finding(Value):
    """One thing that was found, and how it shows."""

    kind: FindingKind
    severity: Severity
    table: str | None
    """Table of the graph, or the task's table; None where it is about the whole."""
    column: str | None = None
    message: str
    """What, the evidence in numbers, and what to do."""
    evidence: dict[str, float | int | str | None] = pydantic.Field(default_factory=dict)
    """The numbers behind the message, by name."""

    @property
    def place(self) -> str:
        """Where it is: table and column joined by a dot, the table alone, or nothing."""
        return ".".join(part for part in (self.table, self.column) if part is not None)


class AuditReport(Value):
    """What an audit looked at and what it found, gravest first."""

    dataset: str
    """Name of the experiment: "dataset/task_type/task"."""
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    """What was looked at, in numbers: rows, samples, shares that are no fault."""
    seconds: float = 0.0
    """Wall time, the graph's building included."""

    @property
    def ok(self) -> bool:
        """Whether nothing was found that needs a look: neither high nor medium."""
        return not self.at_least(Severity.MEDIUM)

    def at_least(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings that are as grave as this or graver."""
        return tuple(f for f in self.findings if f.severity.rank <= severity.rank)

    def of(self, kind: FindingKind) -> tuple[Finding, ...]:
        """Return the findings of one kind."""
        return tuple(f for f in self.findings if f.kind is kind)

    @property
    def summary(self) -> str:
        """One line: how many findings of each severity."""
        count = Counter(finding.severity for finding in self.findings)
        found = ", ".join(f"{count[s]} {s.value}" for s in Severity if count[s])
        return f"Leak audit of {self.dataset}: {found or 'nothing found'}."

    def render(self) -> Table:
        """Return the findings as a table that rich can print."""
        from rich.table import Table
        from rich.text import Text

        out = Table(
            title=Text(self.summary), caption=Text("\n".join(self.notes), justify="left"),
            show_lines=True, title_justify="left", caption_justify="left",
        )  # fmt: skip
        out.add_column("severity")
        out.add_column("where", overflow="fold")
        out.add_column("kind", overflow="fold")
        out.add_column("what", overflow="fold", ratio=1)
        styles = {Severity.HIGH: "bold red", Severity.MEDIUM: "yellow", Severity.LOW: "dim"}
        for f in self.findings:
            # Text, not markup: names of columns may hold square brackets.
            out.add_row(
                Text(f.severity.value, style=styles[f.severity]),
                Text(f.place),
                Text(f.kind.value.replace("_", " ")),
                Text(f.message),
            )
        return out

    def __str__(self) -> str:
        if not self.findings:
            return "\n".join([self.summary, *self.notes])
        lines = as_text(self.render(), width=120).split("\n")
        return "\n".join(line.rstrip() for line in lines)


def sorted_findings(findings: list[Finding]) -> tuple[Finding, ...]:
    """Return the findings gravest first, then by kind and place."""
    order = list(FindingKind)
    return tuple(
        sorted(findings, key=lambda f: (f.severity.rank, order.index(f.kind), f.place, f.message))
    )
