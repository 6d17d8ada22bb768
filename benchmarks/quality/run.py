"""How good are the models? Eight tasks on real data, one set of settings, several seeds.

Every finished (task, seed) is a line of results/quality.jsonl, so that a run that was stopped goes
on where it was: `python -m benchmarks.quality`. Two pairs are the same run when task, seed and
settings are. `--table` only prints what is there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rle
from benchmarks.quality.baselines import BASELINES
from examples.datasets import lahman, nycflights
from rle import pipeline
from rle.runs.folders import home
from rle.runs.progress import ProgressDisplay

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RESULTS = Path(__file__).parents[1] / "results" / "quality.jsonl"
SETTINGS: dict[str, Any] = {
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
    "num_workers": 0,
}
"""The same for all tasks; everything else is TrainerConfig's default."""

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


def run_one(task: str, seed: int, settings: dict[str, Any]) -> Result:
    """Train and test one model; the databases, snapshots and runs stay in this home."""
    package = lahman if task in lahman.TASKS else nycflights
    name = package.__name__.rpartition(".")[2]
    database = package.build(home() / "examples" / f"{name}.duckdb")
    connector = rle.DuckDBConnector(database=str(database))
    config = rle.TrainerConfig(connector=connector, device="cpu", seed=seed, **settings)
    wall_s, cpu_s = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as folder, ProgressDisplay() as display:
        result = pipeline.fit_predict(
            package.dataset(connector, task),
            config,
            output_alias="quality",
            output_config=rle.OutputConfig.local(artifacts_dir=folder),
            test_batch_size=config.val_batch_size,
            compute_test_metrics=True,
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
        "settings": settings,
    }


def as_markdown(results: Sequence[Result], settings: dict[str, Any]) -> str:
    """Return mean and deviation over seeds beside the baselines, a row per task.

    A value better than LightGBM on hand-made history is bold.
    """
    header = (
        "| task | metric | GNN-RLE test | seeds | validation | trivial "
        "| LightGBM own columns | LightGBM history | CPU s |"
    )
    lines = [header, "|---|---|---|---|---|---|---|---|---|"]
    for task, baseline in BASELINES.items():
        found = [r for r in results if r["task"] == task and r["settings"] == settings]
        if not found:
            continue
        tests = [r["test"] for r in found]
        mean = statistics.fmean(tests)
        wins = mean < baseline.history if baseline.lower_is_better else mean > baseline.history
        shown = f"{mean:.3f} ± {statistics.pstdev(tests):.3f}"
        cells = [
            task,
            baseline.metric,
            f"**{shown}**" if wins else shown,
            str(len(found)),
            f"{statistics.fmean(r['validation'] for r in found):.3f}",
            f"{baseline.trivial:.3f}",
            f"{baseline.own_columns:.3f}",
            f"{baseline.history:.3f}",
            f"{statistics.fmean(r['cpu_s'] for r in found):.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", nargs="+", default=list(BASELINES), choices=list(BASELINES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="print what is there and stop")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="FIELD=JSON", help="other settings, to try them"
    )
    arguments = parser.parse_args()
    changes = dict(pair.split("=", 1) for pair in arguments.set)
    settings = SETTINGS | {field: json.loads(text) for field, text in changes.items()}
    if not arguments.table:
        todo = missing(
            read_results(arguments.results),
            tasks=arguments.tasks,
            seeds=arguments.seeds,
            settings=settings,
        )
        for task, seed in todo:
            print(f"== {task}, seed {seed} ({len(todo)} to do)", flush=True)
            result = run_one(task, seed, settings)
            arguments.results.parent.mkdir(parents=True, exist_ok=True)
            with arguments.results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(result) + "\n")
            print(json.dumps(result), flush=True)
    print(as_markdown(read_results(arguments.results), settings))


if __name__ == "__main__":
    main()
