"""The demo end to end, with a few steps per epoch instead of all."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

import rle
from examples import player_out


@pytest.fixture
def one_engine():
    """The name stands in the file, so that what starts an engine runs in one process."""
    yield "local_engine"
    rle.Provider().delete_gnn(player_out.ENGINE)


def interrupt_once(state):
    assert state == "READY"
    raise KeyboardInterrupt


def state():
    return rle.Provider().get_gnn(player_out.ENGINE)["state"]


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_there", "one_engine")
def test_the_demo_prints_all_it_promises(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(rle, "TrainerConfig", partial(rle.TrainerConfig, max_iters=3))
    draw = player_out.draw_schema

    def draw_without_graphviz(*arguments):
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(tmp_path))
            return draw(*arguments)

    monkeypatch.setattr(player_out, "draw_schema", draw_without_graphviz)
    player_out.main()
    lines = capsys.readouterr().out.splitlines()
    summary = json.loads(lines[-1])
    assert list(summary) == [
        "task",
        "metric",
        "validation",
        "test",
        "predictions_table",
        "rows",
        "seconds",
    ]
    assert summary["rows"] == 9839
    assert summary["test"] > 0.7
    text = "\n".join(lines)
    for promised in (
        "people.playerID",  # the schema
        "train epoch 4/4: 3 steps",
        "validation roc auc",
        "No schema diagram: Drawing needs Graphviz",
        "LightGBM on the player's own columns",
        "0.609",
        summary["predictions_table"],
        "mlflow ui --host 127.0.0.1",
        "rle jobs list --engine demo",
    ):
        assert promised in text
    (curve,) = (line.removeprefix("Training curve: ") for line in lines if "Training curve" in line)
    assert Path(curve).read_bytes().startswith(b"\x89PNG")
    assert text.count("│ 0 ") + text.count("│ 1 ") >= 5  # rows of the prediction table

    assert state() == "SUSPENDED"
    (job,) = rle.JobManager(engine=player_out.ENGINE).list_jobs()
    assert (job.status, job.kind) == ("COMPLETED", "train_inference")

    # A second run finds the engine, and leaves it suspended whatever happens.
    with pytest.raises(KeyboardInterrupt), player_out.running_engine(Console()):
        interrupt_once(state())
    assert state() == "SUSPENDED"
