from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from rle.errors import ValidationError
from rle.jobs.no_secrets import check_no_secrets
from rle.jobs.package import build_package, own_code
from rle.jobs.request import JobRequest, MaterializeWork, Versions, new_job_id

if TYPE_CHECKING:
    from pathlib import Path


def request(experiment: str = "shop/regression/spend") -> JobRequest:
    work = MaterializeWork(source_job_id=new_job_id(), experiment_name=experiment)
    return JobRequest(job_id=new_job_id(), work=work, versions=Versions.here())


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    write(folder / "plug_in" / "__init__.py", "x = 1\n")
    write(folder / "plug_in" / "words.txt", "a b")
    return folder


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def unpacked(package: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(package)) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def names(code: Path) -> set[str]:
    return set(unpacked(build_package(request(), code=code))) - {"request.json"}


def test_the_request_travels_alone_where_no_code_is_given():
    asked = request("größe/регрессия/支出")
    files = unpacked(build_package(asked))
    assert list(files) == ["request.json"]
    assert JobRequest.from_json(files["request.json"]) == asked


def test_the_same_files_make_the_same_bytes(project):
    asked = request()
    first = build_package(asked, code=project)
    for path in project.rglob("*"):
        os.utime(path, (1, 1))
    assert build_package(asked, code=project) == first


def test_code_travels_with_its_folders(project):
    assert names(project) == {"plug_in/__init__.py", "plug_in/words.txt"}
    assert names(project / "plug_in") == {"plug_in/__init__.py", "plug_in/words.txt"}


@pytest.mark.parametrize(
    "name",
    [
        ".git/config",
        ".venv/lib/x.py",
        ".env",
        "plug_in/.rle/runs/x",
        "plug_in/__pycache__/x.cpython-311.pyc",
        "node_modules/x/index.js",
        "data/rows.txt",
        "plug_in/shop.duckdb",
        "plug_in/rows.PARQUET",
        "key.pem",
        "rsa_key.p8",
        "mlruns/0/meta.yaml",
    ],
)
def test_what_is_no_code_stays_where_it_is(project, name):
    write(project / name)
    assert names(project) == {"plug_in/__init__.py", "plug_in/words.txt"}


def test_a_virtual_environment_stays_whatever_its_name(project):
    write(project / "env311" / "pyvenv.cfg")
    write(project / "env311" / "lib" / "x.py")
    assert not any(name.startswith("env311") for name in names(project))


def test_a_package_may_be_called_data(project):
    write(project / "data" / "__init__.py")
    assert "data/__init__.py" in names(project)


def test_small_tables_travel_and_large_ones_stay(project):
    write(project / "plug_in" / "small.csv", "a,b\n")
    write(project / "plug_in" / "large.csv", "x" * 2**20 + "x")
    found = names(project)
    assert "plug_in/small.csv" in found
    assert "plug_in/large.csv" not in found


def test_links_are_followed_within_the_folder_only(project, tmp_path):
    write(tmp_path / "outside" / "secret.py")
    (project / "out").symlink_to(tmp_path / "outside")
    (project / "secret.py").symlink_to(tmp_path / "outside" / "secret.py")
    (project / "again").symlink_to(project / "plug_in")
    (project / "plug_in" / "loop").symlink_to(project)
    (project / "hidden.py").symlink_to(project / ".env")
    write(project / ".env")
    found = names(project)
    assert "again/__init__.py" in found
    assert not any("secret" in name or "hidden" in name or "loop" in name for name in found)


def test_pipes_are_left_out(project):
    os.mkfifo(project / "pipe")
    assert "pipe" not in names(project)


def test_too_much_code_is_refused_and_the_biggest_folders_are_named(project):
    write(project / "plug_in" / "weights" / "a.bin", "x" * 3_000_000)
    write(project / "plug_in" / "pictures" / "deep" / "b.bin", "x" * 1_500_000)
    with pytest.raises(ValidationError) as caught:
        build_package(request(), code=project, limit_bytes=2**20)
    text = str(caught.value)
    assert "4.3 MiB" in text
    assert "1.0 MiB" in text
    assert text.index("plug_in/weights/ 2.9 MiB") < text.index("plug_in/pictures/ 1.4 MiB")
    assert "begin with a dot" in text


def test_too_much_is_told_before_anything_is_read(project):
    # A sparse file of 1 TiB would take an hour to read.
    with (project / "plug_in" / "huge.bin").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValidationError, match=r"plug_in/ 1048576\.0 MiB"):
        build_package(request(), code=project)


@pytest.mark.parametrize("name", ["missing", "plug_in/words.txt", "empty"])
def test_a_folder_without_code_is_refused(project, name):
    (project / "empty").mkdir()
    with pytest.raises(ValidationError):
        build_package(request(), code=project / name)


def test_code_cannot_take_the_requests_place(project):
    write(project / "request.json", "{}")
    with pytest.raises(ValidationError, match=r"request\.json"):
        build_package(request(), code=project)


def test_a_request_of_5_mb_is_packed_and_one_of_65_is_refused():
    large = request("x" * 5_000_000)
    assert JobRequest.from_json(unpacked(build_package(large))["request.json"]) == large
    with pytest.raises(ValidationError, match=r"65\.0 MiB"):
        build_package(request("x" * 65 * 2**20))


def test_the_package_that_runs_here_runs_from_the_zip(tmp_path):
    with zipfile.ZipFile(io.BytesIO(build_package(request(), code=own_code()))) as packed:
        packed.extractall(tmp_path)
    script = "import rle, rle.jobs.request; print(rle.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(tmp_path / "rle" / "__init__.py")


def test_a_password_in_a_url_is_refused_by_the_name_of_its_field():
    with pytest.raises(ValidationError, match=r"work\.experiment_name") as caught:
        check_no_secrets(request("postgres://me:canary99@db/x"))
    assert "canary99" not in str(caught.value)


def test_the_value_of_a_secret_variable_is_refused_by_the_name_of_its_field(monkeypatch):
    monkeypatch.setenv("SHOP_API_TOKEN", "canary-1234")
    with pytest.raises(ValidationError, match=r"work\.experiment_name") as caught:
        check_no_secrets(request("a/b/canary-1234"))
    assert "canary-1234" not in str(caught.value)


def test_a_request_of_one_long_word_takes_no_minutes():
    word = "x" * 5 * 2**20
    check_no_secrets(request(word))
    with pytest.raises(ValidationError, match="password in a URL"):
        check_no_secrets(request(word + "://me:canary99@db/x"))


@pytest.mark.parametrize("text", ["a/b/c", "http://host:80/path", "mail me@host: x", "x://y@z"])
def test_what_is_no_secret_passes(text, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "abc")
    check_no_secrets(request(text))
