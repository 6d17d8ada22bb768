from __future__ import annotations

import matplotlib.image
import numpy as np

from rle.runs.curve import draw_curve
from rle.runs.events import MetricEvent
from rle.spec.metric import EvaluationMetric


def history(metric="validation_roc_auc"):
    for epoch in range(1, 6):
        yield MetricEvent(name="training_loss", value=1 / epoch, step=10 * epoch, epoch=epoch)
        yield MetricEvent(name="validation_loss", value=1.2 / epoch, step=10 * epoch, epoch=epoch)
        yield MetricEvent(name=metric, value=0.5 + 0.05 * epoch, step=10 * epoch, epoch=epoch)


def colors(path):
    image = (matplotlib.image.imread(path)[:, :, :3] * 255).round().astype(int)
    return {tuple(int(v) for v in c) for c in np.unique(image.reshape(-1, 3), axis=0)}


def test_the_three_curves_are_drawn(tmp_path):
    path = draw_curve(
        history(), tmp_path / "curve.png", metric=EvaluationMetric(name="roc_auc"), title="t"
    )
    found = colors(path)
    assert {(0x7A, 0x8B, 0xA3), (0xD1, 0x49, 0x5B), (0x1B, 0x6C, 0xA8)} <= found


def test_a_run_without_metrics_and_one_with_nan_still_give_a_picture(tmp_path):
    metric = EvaluationMetric(name="mae")
    draw_curve([], tmp_path / "empty.png", metric=metric, title="nothing")
    nan = [MetricEvent(name="validation_mae", value=float("nan"), step=1, epoch=1.0)]
    draw_curve(nan, tmp_path / "nan.png", metric=metric, title="nan")
    assert (tmp_path / "empty.png").stat().st_size > 1000
    assert (tmp_path / "nan.png").stat().st_size > 1000
