from __future__ import annotations

import pytest

from rle.connectors.duckdb import DuckDBConnector
from rle.errors import ValidationError
from rle.spec.metric import EvaluationMetric
from rle.spec.output import OutputConfig
from rle.spec.predict_request import PredictRequest, as_version
from rle.testing.shop_dataset import shop_dataset

EXPERIMENT = {"experiment_name": "shop/binary_classification/churn", "test_table": "shop.main.t"}
BEST = {"model_selection_strategy": "best"}
RUN = {"model_run_id": "abc"}
REGISTERED = {"registered_model_name": "churn", "version": "1"}
METRIC = {"evaluation_metric": EvaluationMetric("roc_auc")}


@pytest.fixture(scope="module")
def dataset(shop_db):
    connector = DuckDBConnector(database=str(shop_db))
    return shop_dataset(connector, tables=("customers", "transactions")).spec


def ask(**given):
    output = OutputConfig.local(artifacts_dir="out")
    return PredictRequest(output_alias="a", output_config=output, **given)


@pytest.mark.parametrize(
    "model",
    [RUN, REGISTERED, BEST | METRIC, {"select_best_model": True} | METRIC],
    ids=["run", "registered", "best", "best, other spelling"],
)
def test_every_promised_way_is_accepted_and_equals_its_json(dataset, model):
    for data in (EXPERIMENT, {"dataset": dataset}):
        request = ask(**data, **model)
        assert PredictRequest.from_json(request.to_json()) == request


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (EXPERIMENT | RUN | {"version": "1"}, "version '1' needs registered_model_name"),
        (EXPERIMENT | REGISTERED | BEST | METRIC, "registered_model_name and model_selection"),
        (EXPERIMENT | RUN | BEST | METRIC, "model_run_id and model_selection_strategy='best'"),
        (EXPERIMENT | RUN | {"select_best_model": True} | METRIC, "model_run_id and model_sel"),
        (EXPERIMENT | RUN | REGISTERED, "model_run_id and registered_model_name each name a model"),
        (EXPERIMENT | RUN | METRIC, "evaluation_metric chooses the best model"),
        (RUN, "Give dataset, or experiment_name with test_table"),
        (EXPERIMENT, "Which model"),
        (EXPERIMENT | {"registered_model_name": "churn"}, "needs version, such as '1'"),
        (RUN | {"experiment_name": "shop/regression/spend"}, "needs test_table"),
        (RUN | {"test_table": "t"}, "Give dataset, or experiment_name"),
        (EXPERIMENT | BEST, "needs evaluation_metric, such as .*roc_auc"),
        (
            EXPERIMENT | BEST | {"evaluation_metric": EvaluationMetric("mae")},
            "'mae' does not fit a binary_classification task",
        ),
        (RUN | {"experiment_name": "churn", "test_table": "t"}, "must be 'dataset/task_type/task'"),
        (EXPERIMENT | {"model_selection_strategy": "newest"}, "should be 'best'"),
        (EXPERIMENT | RUN | {"test_batch_size": 0}, "test_batch_size.* greater than or equal to 1"),
        (EXPERIMENT | RUN | {"test_batch_size": True}, "test_batch_size.* valid integer"),
        (EXPERIMENT | RUN | {"align_dtypes": "no"}, "align_dtypes.* valid boolean"),
        (EXPERIMENT | RUN | {"output_alias": None}, "output_alias"),
    ],
)
def test_every_conflict_is_an_error_before_anything_is_looked_up(given, words):
    output = OutputConfig.local(artifacts_dir="out")
    with pytest.raises(ValidationError, match=words):
        PredictRequest(**{"output_alias": "a", "output_config": output} | given)


@pytest.mark.parametrize("more", [EXPERIMENT, {"test_table": "shop.main.t"}])
def test_a_dataset_brings_its_own_experiment_and_test_table(dataset, more):
    with pytest.raises(ValidationError, match=r"not both|goes with experiment_name"):
        ask(dataset=dataset, **more, **RUN)


def test_the_metric_of_the_dataset_chooses_the_best_unless_another_is_given(dataset):
    assert ask(dataset=dataset, **BEST).metric == dataset.task.metric
    other = EvaluationMetric("f1")
    assert ask(dataset=dataset, select_best_model=True, evaluation_metric=other).metric == other
    assert ask(dataset=dataset, **RUN).metric is None


@pytest.mark.parametrize("given", ["1", 1])
def test_a_version_is_a_number_however_it_is_given(given):
    assert as_version(given) == "1"


@pytest.mark.parametrize(
    ("given", "instead"),
    [("Version 1", "1"), ("v12", "12"), ("latest", "1"), ("01", "1"), (1.0, "1"), (True, "1")],
)
def test_a_version_that_is_no_number_is_refused_with_the_right_form(given, instead):
    with pytest.raises(ValidationError, match=f"such as '{instead}', not {given!r}"):
        as_version(given)


def test_a_misspelt_option_is_named():
    with pytest.raises(ValidationError, match="Did you mean 'model_run_id'"):
        ask(**EXPERIMENT, model_runid="abc")
