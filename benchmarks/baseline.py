"""What does LightGBM on automatic aggregates reach, and in how many seconds?

    python -m benchmarks.baseline [task ...]

Prints a row per task beside what is known to be reached without a GNN.
"""

from __future__ import annotations

import argparse
import time

import rle
from benchmarks.quality.baselines import BASELINES
from examples.datasets import lahman, nycflights
from rle.runs.folders import home


def measure(task: str) -> tuple[object, ...]:
    """Run one task's baseline; the database and its graph stay in this home."""
    package = lahman if task in lahman.TASKS else nycflights
    file = f"{package.__name__.rpartition('.')[2]}.duckdb"
    database = package.build(home() / "examples" / file)
    dataset = package.dataset(rle.DuckDBConnector(database=str(database)), task)
    started = time.process_time()
    report = dataset.baseline()
    cpu_s = time.process_time() - started
    known = BASELINES.get(task)
    name, best = next(iter(known.values.items())) if known else ("", None)
    test = report.test
    return (
        task,
        report.metric.name,
        f"{report.validation:.4f}",
        "" if test is None else f"{test:.4f}",
        "" if best is None else f"{best:.3f} ({name})",
        report.methods[0].method,
        f"{cpu_s:.0f}",
        f"{report.seconds:.0f}",
    )


def main() -> None:
    """Print a table as tasks finish."""
    tasks = [*lahman.TASKS, *nycflights.TASKS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", default=tasks, help=", ".join(tasks))
    header = (
        "task", "metric", "validation", "test", "known best, test", "method", "CPU s", "s",
    )  # fmt: skip
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}", flush=True)
    for task in parser.parse_args().tasks:
        print(f"| {' | '.join(map(str, measure(task)))} |", flush=True)


if __name__ == "__main__":
    main()
