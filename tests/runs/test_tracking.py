from __future__ import annotations

import math
import traceback
from urllib.parse import urlparse

import pytest
import yaml

from rle.errors import ConnectionError, ValidationError
from rle.runs import tracking
from rle.runs.events import (
    LEARNING_RATE,
    TRAINING_LOSS,
    VALIDATION_LOSS,
    MetricEvent,
    RunStatus,
    StatusEvent,
    WarningEvent,
)
from rle.runs.folders import home
from rle.runs.tracking import Tracker, default_uri, ui_command


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """One run with everything, on a sqlite of its own: making one costs seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLE_HOME", str(tmp_path_factory.mktemp("home")))
        tracker = Tracker(
            "shop/binary_classification/churn",
            params={
                "lr": 0.001,
                "fanouts": [8, 4],
                "max_iters": None,
                "device": "cpu",
                "x": "y" * 7000,
            },
            tags={"rle.dataset": "shop"},
            run_name="first",
        )
        tracker(MetricEvent(name="validation_roc_auc", value=0.7, step=10, epoch=1.0))
        tracker(MetricEvent(name="validation_roc_auc", value=0.8, step=20, epoch=2.0))
        tracker(WarningEvent(message="is not MLflow's"))
        model = tmp_path_factory.mktemp("model")
        (model / "model.json").write_text("{}")
        (model / "weights.safetensors").write_bytes(b"w")
        tracker.log_model(model, spec_version="1")
        tracker.log_text("dataset_config.yaml", "name: shop\n")
        tracker.log_file(model / "model.json")
        tracker.tag("rle.predictions", "PREDICTIONS_A")
        tracker(StatusEvent(status=RunStatus.COMPLETED))
        yield tracker, home()


def test_a_run_is_found_by_its_experiment_with_params_tags_and_status(tracked):
    tracker, _ = tracked
    client = tracker._client
    experiment = client.get_experiment_by_name("shop/binary_classification/churn")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == tracker.run_id
    assert run.info.status == "FINISHED"
    assert run.data.params["lr"] == "0.001"
    assert run.data.params["fanouts"] == "[8, 4]"
    assert run.data.params["max_iters"] == "null"
    assert run.data.params["device"] == "cpu"
    assert run.data.params["x"] == "y" * 6000
    assert run.data.tags["rle.dataset"] == "shop"
    assert run.data.tags["rle.predictions"] == "PREDICTIONS_A"


def test_metrics_keep_their_steps(tracked):
    tracker, _ = tracked
    history = tracker._client.get_metric_history(tracker.run_id, "validation_roc_auc")
    assert [(m.step, m.value) for m in history] == [(10, 0.7), (20, 0.8)]


def test_artifacts_land_in_home_and_the_model_has_no_pickle(tracked):
    tracker, place = tracked
    listed = {a.path for a in tracker._client.list_artifacts(tracker.run_id)}
    assert listed == {"dataset_config.yaml", "model", "model.json"}
    files = {a.path for a in tracker._client.list_artifacts(tracker.run_id, "model")}
    assert files == {"model/MLmodel", "model/model.json", "model/weights.safetensors"}
    uri = urlparse(tracker._client.get_run(tracker.run_id).info.artifact_uri)
    assert uri.path.startswith(str(place / "mlartifacts"))
    described = yaml.safe_load((place / uri.path / "model/MLmodel").read_text())
    assert described["run_id"] == tracker.run_id
    assert set(described["flavors"]) == {"rle"}


def test_a_logged_model_can_be_registered(tracked):
    tracker, _ = tracked
    client = tracker._client
    source = client.get_run(tracker.run_id).info.artifact_uri + "/model"
    client.create_registered_model("churn")
    version = client.create_model_version("churn", source=source, run_id=tracker.run_id)
    assert str(version.version) == "1"


def test_a_second_run_of_an_experiment_stands_beside_the_first(tracked):
    tracker, _ = tracked
    second = Tracker("shop/binary_classification/churn", params={}, tags={}, uri=tracker.uri)
    second(StatusEvent(status=RunStatus.FAILED))
    assert second.run_id != tracker.run_id
    assert second._client.get_run(second.run_id).info.status == "FAILED"


def test_the_ui_opens_on_this_machine_only():
    assert ui_command() == f"mlflow ui --host 127.0.0.1 --backend-store-uri {default_uri()}"


class Requests:
    """A second run of the experiment, and how many metrics each of its requests held."""

    def __init__(self, uri, monkeypatch, *, flush_every_s):
        monkeypatch.setattr(tracking, "FLUSH_EVERY_S", flush_every_s)
        self.tracker = Tracker("shop/binary_classification/churn", params={}, tags={}, uri=uri)
        self.sizes = []
        self.interrupt_after = None
        self._send = self.tracker._client.log_batch
        monkeypatch.setattr(self.tracker._client, "log_batch", self.log_batch)

    def log_batch(self, run_id, metrics, **given):
        self._send(run_id, metrics, **given)
        self.sizes.append(len(metrics))
        if len(self.sizes) == self.interrupt_after:
            raise KeyboardInterrupt

    def step(self, step):
        for name, value in ((TRAINING_LOSS, 1 / step), (LEARNING_RATE, 0.01)):
            self.tracker(MetricEvent(name=name, value=value, step=step, epoch=1.0))

    def history(self, name=TRAINING_LOSS):
        history = self.tracker._client.get_metric_history(self.tracker.run_id, name)
        return [(m.step, m.value) for m in history]


def test_metrics_of_steps_are_sent_together_at_the_end_and_none_is_lost(tracked, monkeypatch):
    run = Requests(tracked[0].uri, monkeypatch, flush_every_s=math.inf)
    for step in range(1, 1051):
        run.step(step)
    assert run.sizes == []
    run.tracker(StatusEvent(status=RunStatus.FAILED))
    assert run.sizes == [1000, 1000, 100]
    assert run.history() == [(step, 1 / step) for step in range(1, 1051)]
    assert len(run.history(LEARNING_RATE)) == 1050


def test_a_validation_sends_what_waits(tracked, monkeypatch):
    run = Requests(tracked[0].uri, monkeypatch, flush_every_s=math.inf)
    run.step(1)
    for name in (VALIDATION_LOSS, "validation_mae"):
        run.tracker(MetricEvent(name=name, value=2.0, step=1, epoch=1.0))
    assert run.sizes == [4]
    assert run.history("validation_mae") == [(1, 2.0)]


def test_any_event_sends_what_has_waited_long_enough(tracked, monkeypatch):
    run = Requests(tracked[0].uri, monkeypatch, flush_every_s=math.inf)
    run.step(1)
    monkeypatch.setattr(tracking, "FLUSH_EVERY_S", 0.0)
    run.tracker(WarningEvent(message="half way"))
    assert run.sizes == [2]
    run.tracker(WarningEvent(message="nothing to send"))
    assert run.sizes == [2]


def test_ctrl_c_while_metrics_are_sent_neither_loses_nor_doubles_one(tracked, monkeypatch):
    run = Requests(tracked[0].uri, monkeypatch, flush_every_s=math.inf)
    run.interrupt_after = 1
    for step in range(1, 4):
        run.step(step)
    with pytest.raises(KeyboardInterrupt):
        run.tracker(MetricEvent(name="validation_mae", value=2.0, step=3, epoch=1.0))
    run.tracker(StatusEvent(status=RunStatus.CANCELED))
    assert run.history() == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    assert run.history("validation_mae") == [(3, 2.0)]


def test_mlflows_own_variable_names_the_address(monkeypatch, tmp_path):
    uri = f"sqlite:///{tmp_path / 'shared.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert default_uri() == uri
    assert tracking.artifact_place(uri) == (tmp_path / "mlartifacts").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:s3cret@tracking.example:8443/mlflow")
    assert ui_command() == "https://***@tracking.example:8443/mlflow"
    assert tracking.artifact_place(default_uri()) is None


def test_a_password_in_the_address_is_never_told(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    password = "s3cret"
    with pytest.raises(ConnectionError) as caught:
        Tracker("a/b/c", params={}, tags={}, uri=f"http://ada:{password}@127.0.0.1:9")
    told = "".join(traceback.format_exception(caught.value))
    assert password not in told
    assert "127.0.0.1" in told


def test_mlflow_does_not_print_the_address_of_a_run_that_ends(tracked):
    from mlflow import environment_variables

    assert tracked[0].run_id
    assert environment_variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.get() is True


def test_a_deleted_experiment_is_named_with_the_ways_out(tracked):
    tracker, _ = tracked
    experiment = tracker._client.create_experiment("shop/regression/spend")
    tracker._client.delete_experiment(experiment)
    with pytest.raises(ValidationError, match="'shop/regression/spend' was deleted in MLflow"):
        Tracker("shop/regression/spend", params={}, tags={}, uri=tracker.uri)
