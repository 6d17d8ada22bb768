"""Finds out, before any work, that a laptop, an engine and its nodes run different things.

What differs and matters is an error with code "version"; what differs and does not is a warning:

- GNN-RLE itself: an error. A request is JSON that two versions may read differently, and a model
  is what one version trained. With `upload_code` the code that travels with the job decides.
- Python: a warning. Nothing is pickled between a laptop and an engine, so that only code sent
  along can mind, where it uses what an older Python does not know.
- Ray: a warning. A laptop speaks HTTP to it and need not have it. How old it may be is known to
  `rle.engines.address`.
- Between an engine's nodes: an error for GNN-RLE. Python and Ray are compared by Ray as a node
  joins.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from rle import version
from rle.errors import JobHandlerError, ValidationError
from rle.jobs.request import JobRequest, Versions, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORMAT: int = JobRequest.model_fields["format"].default
"""Format of requests that this version reads and writes."""
KINDS = tuple(work.model_fields["kind"].default for work in get_args(get_args(Work)[0]))
"""Kinds of work that this version knows."""
NODE_TIMEOUT_S = 60.0
"""How long all nodes together have to answer; the first task on a node starts a process there."""


def read_request(text: str | bytes) -> JobRequest:
    """Return the request that `text` equals.

    Raises:
        JobHandlerError: It is of another format or kind ("version"), or damaged ("request").
    """
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise JobHandlerError(f"The job's request is no JSON: {error}.", "request") from None
    if not isinstance(raw, dict):
        raise JobHandlerError("The job's request is no JSON object.", "request")
    _check_readable(raw)
    try:
        return JobRequest.from_json(text)
    except ValidationError as error:
        theirs, ours = _versions(raw).get("rle"), Versions.here().rle
        if isinstance(theirs, str) and theirs != ours:
            raise JobHandlerError(
                f"The job was submitted by GNN-RLE {theirs:.40}, and GNN-RLE {ours}, which runs "
                f"here, cannot read its request: {error} {_way_out(theirs, ours)}",
                "version",
            ) from error
        raise JobHandlerError(f"The job's request cannot be read: {error}", "request") from error


def check_versions(request: JobRequest) -> list[str]:
    """Compare the place that submitted with this process.

    Returns:
        What differs and does not stop the job, one sentence each.

    Raises:
        JobHandlerError: GNN-RLE differs, or the code that was sent along is not what runs; code
            "version". Names both versions and the way out.
    """
    theirs, ours = request.versions, Versions.here()
    if theirs.rle != ours.rle:
        raise JobHandlerError(
            f"The job was submitted by GNN-RLE {theirs.rle}, but GNN-RLE {ours.rle} runs on the "
            f"engine. {_way_out(theirs.rle, ours.rle)}",
            "version",
        )
    if request.has_code and not _is_sent_along(Path(version.__file__)):
        raise JobHandlerError(
            f"Code was sent along with the job, but {Path(version.__file__).parent} runs instead. "
            "PYTHONSAFEPATH or PYTHONPATH on the engine comes before it; take them away there, or "
            "submit without upload_code.",
            "version",
        )
    warnings = []
    if theirs.python != ours.python:
        matters = "the code sent along must suit it" if request.has_code else "no harm is known"
        warnings.append(
            f"The job was submitted from Python {theirs.python}, and Python {ours.python} runs on "
            f"the engine; {matters}."
        )
    if _minor(theirs.ray) and _minor(ours.ray) and _minor(theirs.ray) != _minor(ours.ray):
        warnings.append(
            f"Ray is {theirs.ray} where the job was submitted and {ours.ray} on the engine; only "
            "that of the engine is used."
        )
    return warnings


def check_nodes(*, timeout_s: float = NODE_TIMEOUT_S) -> list[str]:
    """Ask every other node of the cluster, once and at the same time, which GNN-RLE it has.

    Call it before work that workers do, in a process that is connected to Ray. Costs nothing where
    there is one node; else a process start on each, some seconds.

    Args:
        timeout_s: How long all of them together have to answer.

    Returns:
        One sentence for each node that did not answer in time or is gone; it may still do its work.

    Raises:
        JobHandlerError: A node has another GNN-RLE, or none; code "version". Names all of them.
    """
    import ray

    asked = _ask_nodes()
    if not asked:
        return []
    done, late = ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s)
    warnings = [
        f"Node {asked[task]} did not say within {timeout_s:g} s which GNN-RLE it has."
        for task in late
    ]
    versions = {}
    for task in done:
        try:
            versions[asked[task]] = ray.get(task)
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            warnings.append(f"Node {asked[task]} could not be asked for its version: {reason:.200}")
    for task in late:
        ray.cancel(task, force=True)
    _check_same(versions)
    return warnings


def _ask_nodes() -> dict[Any, str]:
    """Start a task on each other node; return the tasks, and how the node of each is called."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def version_there() -> str | None:
        # Travels by value, so that a node without GNN-RLE can still say so.
        try:
            from rle.version import VERSION
        except ImportError:
            return None
        return VERSION

    ask = ray.remote(num_cpus=0, max_retries=0)(version_there)
    here = ray.get_runtime_context().get_node_id()
    nodes: Callable[[], list[dict[str, Any]]] = ray.nodes
    asked = {}
    for node in nodes():
        if node["Alive"] and node["NodeID"] != here:
            place = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            # Several nodes may be on one machine, and have one address.
            named = f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"
            asked[ask.options(scheduling_strategy=place).remote()] = named
    return asked


def _check_same(versions: Mapping[str, str | None]) -> None:
    """Raise if a node, by its name, has another GNN-RLE than this process, or none (None)."""
    ours = Versions.here().rle
    wrong = {node: found for node, found in versions.items() if found != ours}
    if not wrong:
        return
    named = ", ".join(f"{node} has {found or 'none'}" for node, found in sorted(wrong.items()))
    raise JobHandlerError(
        f"The driver runs GNN-RLE {ours}, but node {named}. Install gnn-rle=={ours} on every "
        "node, in the Python that Ray runs there, or send your code along with upload_code=True.",
        "version",
    )


def _check_readable(raw: Mapping[str, Any]) -> None:
    ours = Versions.here().rle
    theirs = _versions(raw).get("rle", "another version")
    if raw.get("format", FORMAT) != FORMAT:
        raise JobHandlerError(
            f"The job's request has format {raw['format']!r:.20}, of GNN-RLE {theirs!s:.40}; "
            f"GNN-RLE {ours}, which runs here, knows format {FORMAT}. "
            f"{_way_out(str(theirs), ours)}",
            "version",
        )
    work = raw.get("work")
    kind = work.get("kind") if isinstance(work, dict) else None
    if isinstance(kind, str) and kind not in KINDS:
        raise JobHandlerError(
            f"The job is of kind {kind!r:.40}, which GNN-RLE {ours} here does not know; it knows "
            f"{', '.join(KINDS)}. GNN-RLE {theirs!s:.40} submitted it. "
            f"{_way_out(str(theirs), ours)}",
            "version",
        )


def _versions(raw: Mapping[str, Any]) -> dict[str, Any]:
    found = raw.get("versions")
    return found if isinstance(found, dict) else {}


def _way_out(theirs: str, ours: str) -> str:
    return (
        f"Submit with gnn-rle=={ours}, install gnn-rle=={theirs:.40} on the engine, or send your "
        "own code along with upload_code=True."
    )


def _is_sent_along(package: Path) -> bool:
    """Whether a module's file lies where Ray unpacks what travels with a job."""
    return "runtime_resources" in package.parts or package.is_relative_to(Path.cwd())


def _minor(version: str | None) -> tuple[int, int] | None:
    found = re.match(r"(\d+)\.(\d+)", version or "")
    return (int(found[1]), int(found[2])) if found else None
