"""Findings as values: order, what is grave, text and JSON."""

from __future__ import annotations

from rle.audit.findings import AuditReport, Finding, FindingKind, Severity, sorted_findings


def finding(severity, table="t", column=None, kind=FindingKind.DECIDED_LABEL, **evidence):
    return Finding(
        kind=kind,
        severity=severity,
        table=table,
        column=column,
        message="m [bold]",
        evidence=evidence,
    )


def report(*findings):
    return AuditReport(dataset="d/x/y", findings=sorted_findings(list(findings)), notes=("n [x]",))


def test_the_gravest_comes_first_and_low_needs_no_look():
    low, high = finding(Severity.LOW, "a"), finding(Severity.HIGH, "z", "c")
    medium = finding(Severity.MEDIUM, None)
    found = report(low, medium, high)
    assert found.findings == (high, medium, low)
    assert [f.place for f in found.findings] == ["z.c", "", "a"]
    assert found.at_least(Severity.MEDIUM) == (high, medium)
    assert not found.ok
    assert report(low).ok


def test_text_names_every_finding_whatever_its_characters():
    text = str(report(finding(Severity.HIGH, "odd[table]", "c")))
    assert "odd[table].c" in text
    assert "m [bold]" in text
    assert "n [x]" in text
    assert "1 high" in text.splitlines()[0]
    assert str(report()) == "Leak audit of d/x/y: nothing found.\nn [x]"


def test_json_gives_the_report_back():
    found = report(finding(Severity.HIGH, rows=3, share=0.5, path="own row"))
    assert AuditReport.from_json(found.to_json()) == found
