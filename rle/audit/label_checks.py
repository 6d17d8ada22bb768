"""Which visible columns alone say the label: every column within two hops, one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from rle.audit.findings import Severity
from rle.audit.places import Basis
from rle.audit.scores import NUM_NULL_BINS, cut, decided, measure, null_bins, row_bins
from rle.audit.suspects import Suspect, describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.audit.findings import Finding
    from rle.audit.labels import AuditLabels
    from rle.audit.probes import Probe
    from rle.audit.scores import Bins, Decided, Score


class Bar(NamedTuple):
    """How good a single column may be before it is a finding: the figure after chance is off."""

    high: float
    medium: float


BARS = {
    ("AUROC", False): Bar(0.90, 0.80),
    ("R2", False): Bar(0.80, 0.60),
    # History that is dated before the prediction may honestly say much: a pitcher stays a pitcher.
    ("AUROC", True): Bar(0.99, 0.97),
    ("R2", True): Bar(0.98, 0.95),
}
"""By metric and whether the column is history dated before the prediction."""
NEWS = 0.05
"""How much better a column must say the label than rows before t do, or than there being a row."""
WIDELY_DECIDED = 0.02
"""Share of a class that one value decides from which on it is grave."""


@dataclass(slots=True)
class LabelChecks:
    """Takes probes one by one; keeps the worst path per column."""

    labels: AuditLabels
    num_fit: int
    is_link: bool
    """Of a link task, whose targets may honestly hang on what kind of entity the source is."""
    num_tried: int = 0
    lows: dict[tuple[str, str | None, Basis], float] = field(default_factory=dict)
    """The best lowered figure per table, column and basis, findings or not."""
    _suspects: dict[tuple[str, str | None], Suspect] = field(default_factory=dict)

    def add(self, probe: Probe) -> None:
        """Measure one column at one place."""
        self.num_tried += 1
        bins = cut(probe, self.num_fit)
        score = measure(bins, self.labels, self.num_fit)
        key = (probe.table, probe.column)
        if score is not None:
            by_basis = (*key, probe.basis)
            self.lows[by_basis] = max(score.low, self.lows.get(by_basis, 0.0))
        found = self._judge(probe, bins, score)
        if found is not None:
            known = self._suspects.get(key)
            if known is None or found.strength > known.strength:
                self._suspects[key] = found

    def findings(self) -> Iterator[Finding]:
        """Yield one finding per column that says the label."""
        for (table, column), suspect in self._suspects.items():
            before = self.lows.get((table, column, Basis.DATED), 0.0)
            is_news = suspect.score is None or suspect.score.low > before + NEWS
            if suspect.probe.basis is not Basis.AT_T or is_news:
                yield describe(suspect)

    def _judge(self, probe: Probe, bins: Bins, score: Score | None) -> Suspect | None:
        is_dated = self.is_link or probe.basis is Basis.DATED
        if score is not None and not probe.has_row.all() and probe.column is not None:
            # That there is a row at all is for the count of rows to tell.
            row_score = measure(row_bins(bins), self.labels, self.num_fit)
            score = score if row_score is None or score.low > row_score.low + NEWS else None
        nulls = null_bins(bins)
        has_nulls = probe.column is not None and bool((nulls.ids == 1).any())
        null_score = measure(nulls, self.labels, self.num_fit) if has_nulls else None
        sure = null_sure = None
        if not is_dated:
            sure = decided(bins, self.labels, self.num_fit)
            null_sure = decided(nulls, self.labels, self.num_fit) if has_nulls else None
        certain = null_sure or sure
        if null_score is not None and score is None:
            null_score = None
        severities = [_over_bar(score, is_dated=is_dated), _over_bar(null_score, is_dated=is_dated)]
        if certain is not None:
            is_wide = certain.covered >= WIDELY_DECIDED
            severities.append(Severity.HIGH if is_wide else Severity.MEDIUM)
        worst = min((s for s in severities if s is not None), key=lambda s: s.rank, default=None)
        if worst is None:
            return None
        return Suspect(
            probe=probe,
            score=score,
            null_score=null_score,
            decided=certain,
            value=None if certain is None else _value(probe, nulls if null_sure else bins, certain),
            is_null_pattern=null_sure is not None
            or _over_bar(null_score, is_dated=is_dated) == worst,
            severity=worst,
        )


def _value(probe: Probe, bins: Bins, found: Decided) -> str:
    """Say which value it is that decides."""
    if found.bin == bins.null:
        return "NULL"
    if bins.num == NUM_NULL_BINS:
        return "not NULL"
    return "in one range of values" if bins.values is None else probe.name(bins.values[found.bin])


def _over_bar(score: Score | None, *, is_dated: bool) -> Severity | None:
    if score is None:
        return None
    bar = BARS[score.metric, is_dated]
    if score.low >= bar.high:
        return Severity.HIGH
    return Severity.MEDIUM if score.low >= bar.medium else None
