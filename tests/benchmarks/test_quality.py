from __future__ import annotations

import json

from benchmarks.quality.baselines import BASELINES
from benchmarks.quality.run import SETTINGS, as_markdown, missing, read_results
from examples.datasets import lahman, nycflights

OTHER = SETTINGS | {"lr": 0.1}


def result(task, seed, test, settings=SETTINGS):
    return {
        "task": task,
        "seed": seed,
        "test": test,
        "validation": test,
        "cpu_s": 10,
        "settings": settings,
    }


def test_every_node_task_has_a_baseline_and_nothing_else():
    tasks = lahman.TASKS | nycflights.TASKS
    assert set(BASELINES) == {name for name, task in tasks.items() if not task.type.is_link}
    assert all(BASELINES[name].metric == tasks[name].metric.name for name in BASELINES)


def test_finished_pairs_are_skipped_unless_the_settings_differ():
    done = [result("player-out", 0, 0.8), result("player-out", 1, 0.8, OTHER)]
    assert missing(done, tasks=["player-out"], seeds=[0, 1], settings=SETTINGS) == [
        ("player-out", 1)
    ]


def test_results_survive_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "quality.jsonl"
    assert read_results(path) == []
    path.write_text(json.dumps(result("player-out", 0, 0.8)) + '\n{"task": "pl')
    assert [r["seed"] for r in read_results(path)] == [0]


def test_the_table_has_mean_and_deviation_and_marks_what_beats_history():
    found = [
        result("player-out", 0, 0.83),
        result("player-out", 1, 0.85),
        result("player-out", 2, 0.1, OTHER),
        result("player-home-runs", 0, 5.9),
    ]
    lines = as_markdown(found, SETTINGS).splitlines()
    assert len(lines) == 4
    assert "| player-out | roc_auc | **0.840 ± 0.010** | 2 |" in lines[2]
    assert "| player-home-runs | mae | 5.900 ± 0.000 | 1 |" in lines[3]
