from __future__ import annotations

import json

from benchmarks.quality.baselines import ANY_TARGET, BASELINES
from benchmarks.quality.run import (
    DEFAULTS,
    PLACE,
    SETTINGS,
    TUNED,
    as_markdown,
    missing,
    read_results,
)
from examples.datasets import lahman, nycflights
from rle.spec.config import TrainerConfig

OTHER = TUNED | {"lr": 0.1}


def result(task, seed, test, settings=TUNED):
    return {
        "task": task,
        "seed": seed,
        "test": test,
        "validation": test,
        "cpu_s": 10,
        "settings": settings,
    }


def test_every_task_has_baselines_the_best_one_first():
    tasks = lahman.TASKS | nycflights.TASKS
    assert set(BASELINES) == set(tasks) | set(ANY_TARGET)
    for name, baseline in BASELINES.items():
        assert baseline.metric == tasks[ANY_TARGET.get(name, name)].metric.name
        best = min if baseline.lower_is_better else max
        assert baseline.best == best(baseline.values.values())


def test_settings_are_known_and_say_nothing_of_one_task():
    for settings in SETTINGS.values():
        assert set(settings) | set(PLACE) <= set(TrainerConfig.model_fields)
    assert set(DEFAULTS) == {"n_epochs", "max_iters"}


def test_finished_pairs_are_skipped_unless_the_settings_differ():
    done = [result("player-out", 0, 0.8), result("player-out", 1, 0.8, OTHER)]
    assert missing(done, tasks=["player-out"], seeds=[0, 1], settings=TUNED) == [("player-out", 1)]


def test_results_survive_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "quality.jsonl"
    assert read_results(path) == []
    path.write_text(json.dumps(result("player-out", 0, 0.8)) + '\n{"task": "pl')
    assert [r["seed"] for r in read_results(path)] == [0]


def test_the_table_has_mean_and_deviation_and_marks_what_beats_the_best_baseline():
    found = [
        result("player-out", 0, 0.83),
        result("player-out", 1, 0.85),
        result("player-out", 2, 0.1, OTHER),
        result("player-out", 2, 0.7, DEFAULTS),
        result("player-home-runs", 0, 5.9),
    ]
    lines = as_markdown(found, SETTINGS).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("| task | metric | defaults | tuned |")
    expected = "| player-out | roc_auc | 0.700 (1) | **0.840 ± 0.010** (2) |"
    assert lines[2].startswith(expected)
    assert lines[3].startswith("| player-home-runs | mae |  | 5.900 (1) |")
