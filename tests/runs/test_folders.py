from __future__ import annotations

from pathlib import Path

import pytest

from rle.errors import StorageError
from rle.runs.folders import home, make_home, model_folder, run_folder, snapshots_folder


def test_home_is_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("RLE_HOME", str(tmp_path / "a"))
    assert home() == tmp_path / "a"
    assert not home().exists()


def test_home_is_in_the_current_folder_by_default(monkeypatch, tmp_path):
    monkeypatch.delenv("RLE_HOME")
    monkeypatch.chdir(tmp_path)
    assert home() == Path.cwd() / ".rle"


def test_folders_are_made_on_first_use():
    assert run_folder("r1").is_dir()
    assert run_folder("r1") == home() / "runs" / "r1"
    assert snapshots_folder().is_dir()
    assert model_folder("r1") == run_folder("r1") / "model"
    assert not model_folder("r1").exists()


@pytest.mark.parametrize("make", [make_home, snapshots_folder, lambda: run_folder("r1")])
def test_a_home_that_cannot_be_made_is_named(monkeypatch, tmp_path, make):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RLE_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(StorageError, match="Set RLE_HOME to a folder"):
        make()
