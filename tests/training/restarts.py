"""What every training job promises: a run that is continued gives the curve it would have given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rle.runs.events import ProgressEvent
from rle.training.loop import fit
from rle.training.ranks import Ranks

if TYPE_CHECKING:
    from rle.training.job import TrainingJob


def losses(events):
    return [e.loss for e in events if isinstance(e, ProgressEvent) and e.stage == "train"]


def check_restart(job: TrainingJob) -> dict[str, torch.Tensor]:
    """Train twice, the second time from the middle of the second epoch; return the weights."""
    job.prepare()
    events, states = [], []

    def run(**given):
        parts = job.build(Ranks(device=torch.device("cpu")))
        try:
            return fit(parts, job.config, job.metric, **given)
        finally:
            parts.train_loader.close()
            parts.validator.close()

    whole = run(on_event=events.append, on_state=states.append)
    middle = next(s for s in states if s.position.step > 0 and s.position.epoch == 1)
    later = []
    rest = run(on_event=later.append, state=middle)
    assert losses(later) == losses(events)[middle.position.total_steps :]
    assert rest.history == whole.history
    assert all(torch.equal(rest.weights[k], whole.weights[k]) for k in whole.weights)
    return whole.weights
