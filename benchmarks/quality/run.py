"""How good are the models? Eleven tasks on real data, two sets of settings, several seeds.

Every finished (settings, task, seed) is a line of results/quality.jsonl, so that a run that was
stopped goes on where it was: `python -m benchmarks.quality`. Two runs are the same when task, seed
and settings are. `--table` only prints what is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rle
from benchmarks.quality.baselines import ANY_TARGET, BASELINES, Baseline
from examples.datasets import lahman, nycflights
from rle import pipeline
from rle.runs.folders import home
from rle.runs.progress import ProgressDisplay
from rle.values import TaskType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rle.spec.dataset import DatasetSpec

RESULTS = Path(__file__).parents[1] / "results" / "quality.jsonl"
PLACE: dict[str, Any] = {"device": "cpu", "num_workers": 0, "strict_receptive_field": False}
"""What changes no result: where it runs, and that two hops may be fewer than the schema is wide."""
DEFAULTS: dict[str, Any] = {"n_epochs": 4, "max_iters": 150}
"""Everything else is TrainerConfig's default."""
TUNED: dict[str, Any] = {
    "n_epochs": 8,
    "max_iters": 60,
    "train_batch_size": 512,
    "val_batch_size": 512,
    "lr": 0.003,
    "channels": 64,
    "fanouts": [16, 16],
    "temporal_strategy": "last",
    "clamp_min": None,
    "clamp_max": None,
    "patience": 3,
}
"""The same for all tasks; everything else is TrainerConfig's default."""
SETTINGS = {"tuned": TUNED, "defaults": DEFAULTS}
"""In the order in which they are run; the table shows the defaults first."""

Result = dict[str, Any]


def read_results(path: Path) -> list[Result]:
    """Return the finished runs; a last line that was cut off by a kill is left out."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def missing(
    results: Sequence[Result],
    *,
    tasks: Iterable[str],
    seeds: Iterable[int],
    settings: dict[str, Any],
) -> list[tuple[str, int]]:
    """Return the (task, seed) pairs that have no result with these settings, seeds outermost."""
    done = {(r["task"], r["seed"]) for r in results if r["settings"] == settings}
    return [(task, seed) for seed in seeds for task in tasks if (task, seed) not in done]


def dataset_of(task: str) -> tuple[rle.DuckDBConnector, DatasetSpec]:
    """Build the database of a task, unless it is there, and declare it."""
    base = ANY_TARGET.get(task, task)
    package = lahman if base in lahman.TASKS else nycflights
    name = package.__name__.rpartition(".")[2]
    database = package.build(home() / "examples" / f"{name}.duckdb")
    connector = rle.DuckDBConnector(database=str(database))
    spec = package.dataset(connector, base).spec
    if task in ANY_TARGET:
        spec = spec.replace(task=spec.task.replace(task_type=TaskType.LINK_PREDICTION))
    return connector, spec


def run_one(task: str, seed: int, settings: dict[str, Any]) -> Result:
    """Train and test one model; the databases, snapshots and runs stay in this home."""
    connector, dataset = dataset_of(task)
    config = rle.TrainerConfig(connector=connector, seed=seed, **PLACE, **settings)
    wall_s, cpu_s = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as folder, ProgressDisplay() as display:
        result = pipeline.fit_predict(
            dataset,
            config,
            output_alias="quality",
            compute_test_metrics=True,
            output_config=rle.OutputConfig.local(artifacts_dir=folder),
            test_batch_size=config.val_batch_size,
            on_event=display,
        )
    return {
        "task": task,
        "seed": seed,
        "metric": result.fit.metric,
        "validation": result.fit.validation,
        "test": result.prediction.test_metrics[result.fit.metric],
        "test_metrics": result.prediction.test_metrics,
        "best_epoch": result.fit.best_epoch,
        "cpu_s": round(time.process_time() - cpu_s, 1),
        "wall_s": round(time.monotonic() - wall_s, 1),
        "commit": commit(),
        "settings": settings,
    }


def commit() -> str:
    """The state of the code: a commit, with a "+" where files differ from it."""
    words = ["git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty=+"]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def as_markdown(results: Sequence[Result], settings: Mapping[str, dict[str, Any]]) -> str:
    """Return mean and deviation over seeds beside the baselines, a row per task.

    A value better than the best baseline is bold.

    Args:
        results: What was read.
        settings: By name; a column each, the last one first.
    """
    names = list(reversed(settings))
    titles = ["task", "metric", *names, "baselines", *(f"{name}, CPU s" for name in names)]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for task, baseline in BASELINES.items():
        found = [
            [r for r in results if r["task"] == task and r["settings"] == settings[name]]
            for name in names
        ]
        if not any(found):
            continue
        baselines = ", ".join(f"{name} {value:.3f}" for name, value in baseline.values.items())
        shown = [_shown([r["test"] for r in runs], baseline) for runs in found]
        spent = [
            f"{statistics.fmean(r['cpu_s'] for r in runs):.0f}" if runs else "" for runs in found
        ]
        cells = [task, baseline.metric, *shown, baselines, *spent]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(tests: Sequence[float], baseline: Baseline) -> str:
    if not tests:
        return ""
    mean = statistics.fmean(tests)
    wins = mean < baseline.best if baseline.lower_is_better else mean > baseline.best
    value = f"{mean:.3f}"
    if len(tests) > 1:
        value += f" ± {statistics.pstdev(tests):.3f}"
    return f"{f'**{value}**' if wins else value} ({len(tests)})"


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(BASELINES), choices=list(BASELINES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--table", action="store_true", help="print what is there and stop")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="FIELD=JSON", help="other settings, to try them"
    )
    arguments = parser.parse_args()
    changes = {field: json.loads(text) for field, text in (s.split("=", 1) for s in arguments.set)}
    chosen = {name: SETTINGS[name] | changes for name in arguments.settings}
    for settings in () if arguments.table else chosen.values():
        todo = missing(
            read_results(arguments.results),
            tasks=arguments.tasks,
            seeds=arguments.seeds,
            settings=settings,
        )
        for task, seed in todo:
            print(f"== {task}, seed {seed} ({len(todo)} to do)", flush=True)
            append(run_one(task, seed, settings), arguments.results)
    print(as_markdown(read_results(arguments.results), chosen))


def append(result: Result, path: Path) -> None:
    """Keep and print a finished run."""
    line = json.dumps(result)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    print(line, flush=True)


if __name__ == "__main__":
    main()
