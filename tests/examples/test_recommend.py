"""The example of link prediction end to end, with a few steps instead of all."""

from __future__ import annotations

import re

import pytest

import rle
from examples import recommend


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_there")
def test_the_example_recommends_teams_by_their_own_keys(monkeypatch, capsys):
    config = rle.TrainerConfig

    def small(**settings):
        return config(**settings | {"n_epochs": 1, "max_iters": 4, "fanouts": [4, 2]})

    monkeypatch.setattr(rle, "TrainerConfig", small)
    recommend.main()
    lines = capsys.readouterr().out.splitlines()
    ranked = [line for line in lines if " in 2024: " in line]
    assert len(ranked) == 8
    assert all(re.fullmatch(r".+ in 2024: [A-Z]{3}, [A-Z]{3}, [A-Z]{3}", line) for line in ranked)
    (value,) = re.findall(r"MAP@10 on test: (0\.\d+)", lines[-1])
    # Popularity alone reaches 0.10, the order of the alphabet among past teams far more than that.
    assert float(value) > 0.4
