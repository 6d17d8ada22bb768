"""The command line as a script sees it: output, exit codes, one line where it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

import rle
from rle import DuckDBConnector
from rle.audit.findings import AuditReport
from rle.cli.app import app
from rle.testing.shop import make_shop
from rle.testing.shop_dataset import shop_dataset


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def saved(folder, path):
    connector = DuckDBConnector(database=str(path))
    dataset = shop_dataset(connector, tables=("customers", "transactions"))
    return str(dataset.save(folder / "shop.yaml"))


@pytest.fixture
def clean(shop_db, tmp_path):
    return saved(tmp_path, shop_db)


@pytest.fixture
def leaky(tmp_path):
    shop = make_shop(leak=timedelta(0), num_customers=400)
    return saved(tmp_path, shop.write_duckdb(tmp_path / "leaky.duckdb"))


def test_help_names_the_commands_and_version_the_version():
    shown = run("--help")
    assert shown.exit_code == 0
    assert "audit" in shown.output
    assert run("--version").output == f"rle {rle.__version__}\n"
    assert "--fail-on" in run("audit", "--help").output


def test_a_clean_dataset_passes(clean):
    done = run("audit", clean, "--fail-on", "low")
    assert done.exit_code == 0
    assert "nothing found" in done.stdout


def test_a_finding_fails_from_the_severity_asked_for(leaky):
    done = run("audit", leaky)
    assert done.exit_code == 1
    assert "transactions.channel" in done.stdout
    assert run("audit", leaky, "--fail-on", "never").exit_code == 0
    assert run("audit", leaky, "--ignore", "transactions.channel").exit_code == 0


def test_json_is_the_report_and_nothing_else(leaky):
    done = run("audit", leaky, "--json")
    report = AuditReport.from_json(done.stdout)
    assert done.exit_code == 1
    assert [f.place for f in report.findings] == ["transactions.channel"]
    assert json.loads(done.stdout)["findings"][0]["severity"] == "high"


def test_an_error_is_one_line_on_standard_error(tmp_path):
    done = run("audit", str(tmp_path / "none.yaml"))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: There is no file")
    assert done.stderr.count("\n") == 1


def test_a_table_that_is_gone_is_an_error_without_a_traceback(tmp_path):
    path = make_shop(num_customers=20).write_duckdb(tmp_path / "shop.duckdb")
    file = saved(tmp_path, path)
    path.unlink()
    done = run("audit", file)
    assert done.exit_code == 2
    assert "shop.duckdb" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments", [("audit",), ("audit", "x", "--fail-on", "grave"), ("adit", "x")]
)
def test_wrong_use_is_exit_code_2(arguments):
    assert run(*arguments).exit_code == 2


def test_the_module_runs_as_a_program_and_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['rle', '--version']\n"
        "import rle.cli.app\n"
        "try:\n    rle.cli.app.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'ray', 'torch', 'numba', 'mlflow', 'duckdb'} & set(sys.modules)))"
    )
    root = str(Path(__file__).parents[2])
    shared = {"capture_output": True, "text": True, "check": True, "cwd": root, "env": os.environ}
    done = subprocess.run([sys.executable, "-c", code], **shared)
    assert done.stdout.split("\n")[:2] == [f"rle {rle.__version__}", "[]"]
    done = subprocess.run([sys.executable, "-m", "rle", "--version"], **shared)
    assert done.stdout == f"rle {rle.__version__}\n"
