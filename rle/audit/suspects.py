"""A column that says the label, put into words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rle.audit.findings import Finding, FindingKind
from rle.audit.places import Basis

if TYPE_CHECKING:
    from rle.audit.findings import Severity
    from rle.audit.probes import Probe
    from rle.audit.scores import Decided, Score


@dataclass(frozen=True, slots=True)
class Suspect:
    """A column that says the label, along the path on which it does so best."""

    probe: Probe
    score: Score | None
    null_score: Score | None
    """Of knowing only whether it is NULL."""
    decided: Decided | None
    value: str | None
    """The value that decides the label, where one does."""
    is_null_pattern: bool
    """Whether it is the NULLs that say it."""
    severity: Severity

    @property
    def strength(self) -> tuple[int, float]:
        """Larger is worse."""
        low = max((s.low for s in (self.score, self.null_score) if s is not None), default=0.0)
        return -self.severity.rank, max(low, self.decided.rate if self.decided else 0.0)

    @property
    def kind(self) -> FindingKind:
        """What the finding is about."""
        if self.probe.basis is Basis.AT_T:
            return FindingKind.LABEL_AT_T
        return FindingKind.NULL_PATTERN if self.is_null_pattern else FindingKind.DECIDED_LABEL


def describe(suspect: Suspect) -> Finding:
    """Return the finding: what, the evidence and what to do."""
    probe = suspect.probe
    sentences = [*_facts(suspect), _advice(suspect)]
    return Finding(
        kind=suspect.kind,
        severity=suspect.severity,
        table=probe.table,
        column=probe.column,
        message=" ".join(sentences),
        evidence=_evidence(suspect),
    )


def _facts(suspect: Suspect) -> list[str]:
    probe, score, sure = suspect.probe, suspect.score, suspect.decided
    what = f"Column {probe.column!r}" if probe.column else f"The number of {probe.table} rows"
    out = []
    shown = suspect.null_score if suspect.is_null_pattern and sure is None else score
    if shown is not None:
        nulls = "whether it is NULL, " if shown is suspect.null_score else ""
        label = f"label {shown.target!r}" if shown.target is not None else "the label"
        out.append(
            f"{what} ({probe.path}) alone says {label}: {nulls}{shown.metric} {shown.value:.3f} on "
            f"later rows (at least {shown.low:.3f} allowing for chance)."
        )
    else:
        out.append(f"{what} ({probe.path}) alone says the label.")
    if sure is not None:
        out.append(
            f"Where it is {suspect.value}, {sure.rate:.1%} of {sure.num_rows:,} sampled rows have "
            f"label {sure.target!r}, against {sure.base_rate:.1%} in all; they are "
            f"{sure.covered:.1%} of that label."
        )
    return out


def _advice(suspect: Suspect) -> str:
    table, column, basis = suspect.probe.table, suspect.probe.column, suspect.probe.basis
    leave_out = f"remove_column({column!r})" if column else f"leave {table} out"
    if basis is Basis.AT_T:
        return (
            "Rows of the moment (or day) of the prediction say it and earlier ones do not: use "
            f"current_time=False, give {table} its exact times, or move the task's time."
        )
    if basis is Basis.DATED:
        return (
            f"It is dated before the prediction. If {table}'s time says when its rows became "
            f"known, the task is easy; if rows are changed later, {leave_out} or correct the time."
        )
    return (
        "Nothing says that it was known then: if it is written with or after the outcome, "
        f"{leave_out}, or move it to a table with the time at which it became known."
    )


def _evidence(suspect: Suspect) -> dict[str, float | int | str | None]:
    out: dict[str, float | int | str | None] = {"path": suspect.probe.path}
    for name, score in (("value", suspect.score), ("null", suspect.null_score)):
        if score is not None:
            out |= {f"{name}_{score.metric.lower()}": score.value, f"{name}_at_least": score.low}
            out |= {"target": score.target}
    if suspect.decided is not None:
        sure = suspect.decided
        out |= {
            "decided_by": suspect.value,
            "decided_target": sure.target,
            "decided_rows": sure.num_rows,
            "decided_rate": sure.rate,
            "base_rate": sure.base_rate,
            "covered": sure.covered,
        }
    return out
