"""What to do about a failure, where that depends on the failure: statements, paths and knobs."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rle.jobs.diagnosis import Case


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


def open_path(case: Case) -> str:
    """Return the command that opens a file or folder to its user; group `path`."""
    found = case.found.groupdict().get("path")
    path = shlex.quote(found) if found and found.isprintable() else "PATH"
    return (
        f"On the machine where the job runs, as the owner: chmod u+rw {path} for a file, chmod "
        f"u+rwx {path} for a folder; `ls -ld {path}` says whose it is. The engine's processes run "
        "as the user who started it."
    )
