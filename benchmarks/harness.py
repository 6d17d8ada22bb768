"""The harness of all benchmarks: run, compare with a baseline, print JSON, keep a dated file."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "numpy",
    "numba",
    "pyarrow",
    "duckdb",
    "torch",
    "ray",
    "torch-geometric",
    "snowflake-connector-python",
)


@dataclass(frozen=True, slots=True)
class Timing:
    """The best of several runs of one callable, and what it returned."""

    result: Any
    cpu_s: float
    """CPU seconds of this process, all threads, and of children that have ended."""
    wall_s: float


def time_of(run: Callable[[], Any], *, warmup: int = 1, repeats: int = 3) -> Timing:
    """Run `run` and keep the repeat with the fewest CPU seconds; machines are shared."""
    for _ in range(warmup):
        run()
    best: Timing | None = None
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), _cpu_seconds()
        result = run()
        timing = Timing(result, _cpu_seconds() - cpu, time.perf_counter() - wall)
        if best is None or timing.cpu_s < best.cpu_s:
            best = timing
    assert best is not None
    return best


def measure(
    name: str,
    *,
    case: str,
    unit: str,
    run: Callable[[], Any],
    work: Callable[[Any], float],
    baseline: Callable[[], Any] | None = None,
    baseline_name: str = "",
    baseline_work: Callable[[Any], float] | None = None,
    warmup: int = 1,
    repeats: int = 3,
) -> dict[str, Any]:
    """Measure a rate: work per CPU second of `run`, against `baseline` in the same process.

    Args:
        name: Benchmark, such as "sample_hop"; also the result file's name.
        case: Which variant, such as "uniform [15,10] batch 128".
        unit: Of the value, such as "seeds/cpu_s".
        run: What is measured; warmed up, then repeated.
        work: Units of work done, from what `run` returned.
        baseline: The same work done the usual way; None where there is none.
        baseline_name: What the baseline is.
        baseline_work: As `work`, if the baseline returns something else.
        warmup: Runs that are not counted.
        repeats: Runs that are; the one with the fewest CPU seconds is kept.
    """
    timing = time_of(run, warmup=warmup, repeats=repeats)
    baseline_value = None
    if baseline is not None:
        other = time_of(baseline, warmup=min(warmup, 1), repeats=repeats)
        baseline_value = (baseline_work or work)(other.result) / max(other.cpu_s, 1e-9)
    return record(
        name,
        case=case,
        value=work(timing.result) / max(timing.cpu_s, 1e-9),
        unit=unit,
        baseline=baseline_name,
        baseline_value=baseline_value,
        cpu_s=timing.cpu_s,
        wall_s=timing.wall_s,
    )


def record(
    name: str,
    *,
    case: str,
    value: float,
    unit: str,
    higher_is_better: bool = True,
    baseline: str = "",
    baseline_value: float | None = None,
    cpu_s: float = 0.0,
    wall_s: float = 0.0,
) -> dict[str, Any]:
    """Print one result as a line of JSON and append it to results/<name>_<date>.json.

    `ratio` is above 1 where we are better than the baseline, whichever way the unit points.
    """
    ratio = None
    if baseline_value:
        ratio = value / baseline_value if higher_is_better else baseline_value / max(value, 1e-12)
    line = {
        "name": name,
        "case": case,
        "value": _rounded(value),
        "unit": unit,
        "higher_is_better": higher_is_better,
        "baseline": baseline,
        "baseline_value": _rounded(baseline_value),
        "ratio": _rounded(ratio),
        "cpu_s": _rounded(cpu_s),
        "wall_s": _rounded(wall_s),
    }
    print(json.dumps(line), flush=True)
    _keep(name, line)
    return line


def arguments(description: str, **flags: str) -> argparse.Namespace:
    """Parse the command line: --quick (under a minute), and more flags as name="help"."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="under a minute, smaller sizes")
    for flag, text in flags.items():
        parser.add_argument(f"--{flag.replace('_', '-')}", action="store_true", help=text)
    return parser.parse_args()


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a result comes from."""

    cpu: str
    cores: int
    memory_gib: float
    load: float
    python: str
    system: str


def machine() -> Machine:
    """Describe this machine."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return Machine(
        cpu=cpu,
        cores=os.cpu_count() or 1,
        memory_gib=round(memory, 1),
        load=round(os.getloadavg()[0], 1),
        python=platform.python_version(),
        system=platform.system(),
    )


def versions() -> dict[str, str]:
    """Return the installed versions of the packages that decide the figures."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _keep(name: str, line: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = RESULTS / f"{name}_{today}.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    # The newest result of a case replaces an older one of the same day.
    lines = [x for x in kept.get("results", []) if x["case"] != line["case"]]
    commit = _commit()
    content = {
        "name": name,
        "machine": asdict(machine()),
        "commit": commit,
        "versions": versions(),
        "results": [*lines, line | {"commit": commit}],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True, text=True, check=False, cwd=RESULTS.parent,
    )  # fmt: skip
    return found.stdout.strip() or "unknown"


def _cpu_seconds() -> float:
    t = os.times()  # in hundredths of a second, too coarse for this process itself
    return time.process_time() + t.children_user + t.children_system


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
