"""What travels to the engine: one zip with the request and, where asked for, the user's code.

Code alone: hidden files, virtual environments, caches, data and keys stay where they are, and
nothing outside the folder is taken because a link leads there.
"""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rle.errors import PermissionError, ValidationError
from rle.jobs.layout import REQUEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rle.jobs.request import JobRequest

LIMIT_BYTES = 50 * 2**20
"""Of all code together, before it is packed."""
REQUEST_LIMIT_BYTES = 64 * 2**20
MAX_FILES = 20_000
_TABLE_BYTES = 2**20
_NAMED = 5
_NOT_CODE = frozenset({"__pycache__", "node_modules", "mlruns", "mlartifacts", "site-packages"})
_DATA_FOLDERS = frozenset({"data", "dataset", "datasets"})
_DATA = frozenset({".parquet", ".duckdb", ".arrow", ".feather", ".sqlite", ".pyc", ".pyo"})
_KEYS = frozenset({".pem", ".key", ".p8", ".p12", ".pfx"})
_TABLES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".gz", ".zst", ".bz2", ".log"})
# The zip is the same, bit by bit, whenever and wherever it is made of the same files.
_MOMENT = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16


@dataclass(frozen=True, slots=True)
class _File:
    name: PurePosixPath
    """In the zip."""
    path: Path
    num_bytes: int


def build_package(
    request: JobRequest, *, code: Path | None = None, limit_bytes: int = LIMIT_BYTES
) -> bytes:
    """Return the zip that becomes the driver's working directory. The same input, the same bytes.

    Args:
        request: It becomes request.json.
        code: Folder of a project that holds packages, or the folder of one package.
        limit_bytes: Largest size of all code together, before it is packed.

    Raises:
        ValidationError: The request or the code is too large, or `code` is no folder of Python
            code. Said before anything is read.
        PermissionError: A file is closed to this user.
    """
    text = request.to_json().encode()
    if len(text) > REQUEST_LIMIT_BYTES:
        raise ValidationError(
            f"The job's request has {_size(len(text))}, and {_size(REQUEST_LIMIT_BYTES)} are "
            "taken. Rows belong into tables, not into a request."
        )
    files = [] if code is None else code_files(code, limit_bytes=limit_bytes)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        _write(target, REQUEST, text)
        for file in files:
            _write(target, str(file.name), _content(file.path))
    return packed.getvalue()


def own_code() -> Path:
    """Return the folder of the package that runs in this process."""
    return Path(__file__).resolve().parents[1]


def code_files(code: Path, *, limit_bytes: int = LIMIT_BYTES) -> list[_File]:
    """Return the files of `code` that travel, by name; see `build_package`."""
    folder = code.expanduser().resolve()
    if not folder.is_dir():
        raise ValidationError(f"upload_code names {str(code)!r}, which is no folder.")
    is_package = (folder / "__init__.py").is_file()
    top = PurePosixPath(folder.name if is_package else "")
    found = []
    for file in _walk(folder, folder, top, (folder,)):
        if file.name == PurePosixPath(REQUEST):
            raise ValidationError(f"{file.path} is named as the job's request. Rename it.")
        found.append(file)
        if len(found) > MAX_FILES:
            raise ValidationError(f"{folder} has more than {MAX_FILES} files. {_WAY_OUT}")
    if not any(file.name.suffix in (".py", ".so") for file in found):
        raise ValidationError(f"{folder} has no Python code to upload.")
    total = sum(file.num_bytes for file in found)
    if total > limit_bytes:
        raise ValidationError(
            f"The code in {folder} has {_size(total)}, and at most {_size(limit_bytes)} are "
            f"uploaded. The biggest: {_biggest(found)}. {_WAY_OUT}"
        )
    return sorted(found, key=lambda file: str(file.name))


_WAY_OUT = (
    "Give upload_code a folder that holds only the code, move the rest elsewhere, or let the names "
    "of folders that shall stay here begin with a dot."
)


def _walk(
    folder: Path, root: Path, name: PurePosixPath, above: tuple[Path, ...]
) -> Iterator[_File]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise PermissionError(f"{folder} cannot be read: {error.strerror}.") from error
    for entry in entries:
        real = entry.resolve()
        if not real.is_relative_to(root) or _stays(entry) or _stays(real):
            continue
        if real.is_dir():
            if real not in above:  # a link to a folder above has no end
                yield from _walk(real, root, name / entry.name, (*above, real))
        elif real.is_file():
            num_bytes = real.stat().st_size
            if entry.suffix.lower() not in _TABLES or num_bytes <= _TABLE_BYTES:
                yield _File(name / entry.name, real, num_bytes)


def _stays(path: Path) -> bool:
    """Whether a file or a folder of this name is no code."""
    name = path.name
    if name.startswith(".") or name in _NOT_CODE or path.suffix.lower() in _DATA | _KEYS:
        return True
    if not path.is_dir():
        return False
    is_data = name in _DATA_FOLDERS and not (path / "__init__.py").is_file()
    return is_data or (path / "pyvenv.cfg").is_file()


def _biggest(files: list[_File]) -> str:
    sizes: Counter[str] = Counter()
    for file in files:
        parts = file.name.parts
        # Two levels deep: deep enough to recognise it, and not a list of everything.
        sizes["/".join(parts[: min(2, len(parts) - 1)]) + "/" if parts[1:] else parts[0]] += (
            file.num_bytes
        )
    return ", ".join(f"{name} {_size(num_bytes)}" for name, num_bytes in sizes.most_common(_NAMED))


def _size(num_bytes: int) -> str:
    if num_bytes < 2**20:
        return f"{num_bytes / 2**10:.1f} KiB"
    return f"{num_bytes / 2**20:.1f} MiB"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PermissionError(f"{path} cannot be read: {error.strerror}.") from error


def _write(target: zipfile.ZipFile, name: str, content: bytes) -> None:
    about = zipfile.ZipInfo(name, _MOMENT)
    about.external_attr = _MODE
    about.create_system = 3  # as on Unix, wherever it is made
    about.compress_type = zipfile.ZIP_DEFLATED
    target.writestr(about, content)
