"""What to do about a failure, where that depends on the failure: statements, paths and knobs."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rle.jobs.diagnosis import Case

_PART = r'(?:"(?:[^"\n]|"")+"|[A-Za-z_][\w$]*)'
_NAME = re.compile(rf"{_PART}(?:\.{_PART}){{0,2}}")
_UNKNOWN = ("<database>", "<schema>", "<table>")
_DEPTH = {"DATABASE": 1, "SCHEMA": 2}


def free_gpu_memory(case: Case) -> str:
    """Name the knobs that GPU memory hangs on, what helps most first."""
    return (
        f"Halve {case.knobs('train_batch_size', 'fanouts', 'channels')}; in a validation "
        f"{case.knobs('val_batch_size')}, in a prediction {case.knobs('test_batch_size')}. More "
        f"workers with a GPU each share a batch: {case.knobs('num_workers')}. Or take an engine "
        "with a larger GPU."
    )


def free_host_memory(case: Case) -> str:
    """Name the knobs that a node's memory hangs on, what helps most first."""
    knobs = case.knobs("num_workers", "sampler_workers", "train_batch_size", "fanouts")
    return (
        f"Take an engine with more memory per node, or hold less at once: lower {knobs}; in a "
        f"prediction {case.knobs('test_batch_size')}. Columns that are not needed, long texts "
        "first, can be left out of their tables."
    )


def survive_loss(case: Case) -> str:
    """Say how training goes on after it lost a worker or a node."""
    return (
        f"Raise {case.knobs('max_failures')}, and training goes on from its newest checkpoint "
        "when a worker is lost; or submit the job again. If it happens again, look at the node's "
        "memory: the kernel kills the largest process when there is none left (dmesg says so)."
    )


def grant_privilege(case: Case) -> str:
    """Return the GRANT for an object that can be seen but not used; groups `kind` and `name`."""
    kind = case.found["kind"].upper()
    if kind == "ACCOUNT":
        return (
            "The role lacks a privilege on the account, such as CREATE DATABASE. Ask an "
            "administrator (ACCOUNTADMIN) for it; SELECT CURRENT_ROLE() names the role."
        )
    name = case.found["name"]
    name = name if _NAME.fullmatch(name) else "<name>"
    use = {"TABLE": "SELECT", "VIEW": "SELECT", "STAGE": "READ, WRITE"}.get(kind, "USAGE")
    also = f" GRANT CREATE TABLE ON SCHEMA {name} TO ROLE <role>;" if kind == "SCHEMA" else ""
    return (
        f"Ask an administrator to run: GRANT {use} ON {kind} {name} TO ROLE <role>;{also} SELECT "
        "CURRENT_ROLE() names the role."
    )


def grant_sight(case: Case) -> str:
    """Return the GRANTs that make an object seen, from its database down; groups as above."""
    kind = (case.found["kind"] or "TABLE").upper()
    depth = _DEPTH.get(kind, len(_UNKNOWN))
    name = case.found["name"]
    parts = re.findall(_PART, name)[-depth:] if _NAME.fullmatch(name) else []
    full = [*_UNKNOWN[: depth - len(parts)], *parts]
    wanted = [f"GRANT USAGE ON DATABASE {full[0]} TO ROLE <role>;"]
    if depth > 1:
        wanted.append(f"GRANT USAGE ON SCHEMA {'.'.join(full[:2])} TO ROLE <role>;")
    if depth == len(_UNKNOWN):
        kind = "VIEW" if kind == "VIEW" else "TABLE"
        wanted.append(f"GRANT SELECT ON {kind} {'.'.join(full)} TO ROLE <role>;")
    return (
        "Check how the name is spelt; one that is not all capitals needs double quotes. If it is "
        f"right, ask an administrator to run: {' '.join(wanted)} SELECT CURRENT_ROLE() names the "
        "role."
    )


def open_path(case: Case) -> str:
    """Return the command that opens a file or folder to its user; group `path`."""
    found = case.found.groupdict().get("path")
    path = shlex.quote(found) if found and found.isprintable() else "PATH"
    return (
        f"On the machine where the job runs, as the owner: chmod u+rw {path} for a file, chmod "
        f"u+rwx {path} for a folder; `ls -ld {path}` says whose it is. The engine's processes run "
        "as the user who started it."
    )
