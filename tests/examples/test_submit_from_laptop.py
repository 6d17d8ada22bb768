"""Two homes: the laptop's knows an address and a token; in the cluster's the work is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import rle
from rle.engines.registry import backend_of
from rle.testing.shop import make_shop
from rle.testing.shop_dataset import shop_dataset

if TYPE_CHECKING:
    from rle.engines.base import EngineAccess

ROOT = Path(__file__).parents[2]


@pytest.fixture
def access(local_engine) -> EngineAccess:
    """The engine as somebody elsewhere is told of it: an address and a token."""
    return backend_of("local").access(local_engine.record, local_engine.folder)


def laptop(home, access, *arguments):
    """Run the example in a process of its own, whose home is the laptop's."""
    variables = {"RLE_HOME": str(home), "RLE_EXAMPLE_TOKEN": access.token.get_secret_value()}
    return subprocess.run(
        [sys.executable, "-m", "examples.submit_from_laptop", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | variables,
    )


@pytest.mark.slow
def test_a_job_outlives_the_laptop_that_sent_it(access, local_engine, tmp_path):
    database = make_shop(num_customers=60).write_duckdb(tmp_path / "shop.duckdb")
    connector = rle.DuckDBConnector(database=str(database))
    file = shop_dataset(connector, tables=("customers", "transactions")).save(tmp_path / "s.yaml")
    home = tmp_path / "laptop"

    sent = laptop(home, access, str(file), "--output", "shop.main", "--address", access.address)
    assert sent.returncode == 0, sent.stderr
    job_id = sent.stdout.strip()
    back = laptop(home, access, "--job", job_id)
    assert back.returncode == 0, back.stdout + back.stderr
    assert f"job {job_id} COMPLETED" in back.stdout
    paths = json.loads(back.stdout.splitlines()[-1])
    assert connector.sample(paths["predictions"], max_rows=5).num_rows == 5

    # What ran, ran in the cluster's home; the laptop keeps a receipt and the token's place alone.
    assert (local_engine.folder / "jobs" / job_id / "events.jsonl").is_file()
    kept = {path.name for path in home.rglob("*") if path.is_file()}
    assert "request.json" in kept
    assert not kept & {"events.jsonl", "model.json"}
    for path in home.rglob("*"):
        if path.is_file():
            assert access.token.get_secret_value() not in path.read_text(errors="replace")


def test_what_is_missing_is_said_before_anything_happens(access, tmp_path):
    nothing = laptop(tmp_path / "laptop", access)
    assert nothing.returncode == 2
    assert "--output DB.SCHEMA" in nothing.stderr
    assert not (tmp_path / "laptop").exists()
