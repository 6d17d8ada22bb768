"""Promises of the tree: sizes, names, the public face, imports, and that the README is true."""

from __future__ import annotations

import ast
import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import rle

ROOT = Path(__file__).parents[1]
FOLDERS = ("rle", "tests", "benchmarks", "examples")
HEAVY = ("ray", "torch", "numba", "mlflow", "snowflake")
# Written so that this line does not match itself.
FORBIDDEN = re.compile(
    r"TO[D]O|FIX[M]E|XX[X]|\bNotImplemented[E]rror|/w[o]rk/|/tmp/w[/]|lorem i[p]sum"
)
VAGUE = {"utils.py", "common.py", "helpers.py", "core.py", "misc.py"}
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 60


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def text_files() -> list[Path]:
    found = [*python_files(*FOLDERS), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return [*found, ROOT / "Makefile", ROOT / "pyproject.toml", *(ROOT / "cluster").rglob("*.md")]


def run_python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def readme_blocks() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def test_no_file_is_too_long():
    sizes = {path: len(path.read_text().splitlines()) for path in python_files(*FOLDERS)}
    assert not {str(path): size for path, size in sizes.items() if size > MAX_FILE_LINES}


def test_no_function_is_too_long():
    long = []
    for path in python_files("rle"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            body = node.body[1:] if ast.get_docstring(node) else node.body
            if body and node.end_lineno - body[0].lineno + 1 > MAX_FUNCTION_LINES:
                long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not long


def test_modules_have_telling_names_and_inner_init_files_are_empty():
    for path in python_files("rle"):
        assert path.name not in VAGUE, path
        if path.name == "__init__.py" and path.parent != ROOT / "rle":
            assert not path.read_text(), path


def test_public_things_are_documented():
    missing = []
    for path in python_files("rle"):
        tree = ast.parse(path.read_text())
        if tree.body and not ast.get_docstring(tree):
            missing.append(f"{path.relative_to(ROOT)}")
        for node in tree.body:
            public = isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_"
            if public and not ast.get_docstring(node):
                missing.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not missing


def test_nothing_unfinished_is_left_in_the_text():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if FORBIDDEN.search(line)
    ]
    assert not found


def test_public_face_is_sorted_complete_and_importable():
    assert rle.__all__ == sorted(rle.__all__)
    assert len(set(rle.__all__)) == len(rle.__all__)
    for name in rle.__all__:
        assert getattr(rle, name) is not None
    assert set(rle.__all__) <= set(dir(rle))


def test_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="GNNTabel"):
        _ = rle.GNNTabel


@pytest.mark.parametrize("statement", ["import rle", "from rle import *"])
def test_import_loads_nothing_heavy(statement):
    code = f"{statement}\nimport sys\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    assert not set(HEAVY) & set(run_python(code).split())


def test_imports_point_down():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout


def test_every_direct_dependency_is_pinned_within_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line[:1] not in ("", "#"))
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    extras = project["optional-dependencies"]
    groups = [project["dependencies"], extras["demo"], extras["quality"], extras["dev"]]
    for wanted in map(Requirement, itertools.chain.from_iterable(groups)):
        if wanted.name != project["name"]:
            assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), wanted


def test_make_alone_lists_the_targets():
    done = subprocess.run(["make"], capture_output=True, text=True, check=True, cwd=ROOT)
    for target in ("demo", "test", "check", "bench", "fmt", "test-cluster", "quality", "clean"):
        assert f"make {target} " in done.stdout


def test_readme_has_code_and_it_parses():
    assert readme_blocks()
    for block in readme_blocks():
        compile(block, "README.md", "exec")


def test_readme_links_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.slow
@pytest.mark.usefixtures("mlflow_there")
def test_readme_code_runs(tmp_path):
    code = "\n".join(readme_blocks())
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
