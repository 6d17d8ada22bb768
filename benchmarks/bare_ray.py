"""The least that Ray itself does: a job that prints, and a training function on one worker.

Run by Ray as a job's entrypoint. Each line it prints is "<what> <seconds since 1970>".
"""

from __future__ import annotations

import sys
import tempfile
import time


def say(what: str) -> None:
    """Print what happened and when."""
    print(what, time.time(), flush=True)


def train() -> None:
    """Start Ray Train with one worker and say when its function begins."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    with tempfile.TemporaryDirectory() as folder:
        place = f"{folder}/began"

        def begin(config: dict[str, str]) -> None:
            with open(config["place"], "w") as file:
                file.write(repr(time.time()))

        TorchTrainer(
            begin,
            train_loop_config={"place": place},
            scaling_config=ScalingConfig(num_workers=1, use_gpu=False),
            run_config=RunConfig(storage_path=folder),
        ).fit()
        with open(place) as file:
            print("training", file.read(), flush=True)


def main() -> None:
    """Say that the job runs; with --train, train too."""
    say("running")
    if "--train" in sys.argv:
        train()


if __name__ == "__main__":
    main()
