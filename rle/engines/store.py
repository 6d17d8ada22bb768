"""The engines that this home knows: one folder each, with its record and all that is its own."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from rle.engines.record import EngineRecord, check_engine_name
from rle.errors import StorageError, UnknownNameError, ValidationError
from rle.runs.folders import home

RECORD = "engine.json"
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


def engines_home() -> Path:
    """Return the folder of all engines of this home; not made by this call."""
    return home() / "engines"


class EngineStore:
    """Keeps the records of engines. Every change is one rename, so two at once never mix.

    Args:
        place: Folder of all engines; None: that of the home.
    """

    def __init__(self, place: Path | None = None) -> None:
        self.place = place or engines_home()

    def folder(self, name: str) -> Path:
        """Return the folder of the engine of this name, whether it is there or not.

        Raises:
            ValidationError: No engine may have this name.
        """
        return self.place / check_engine_name(name)

    def create(self, record: EngineRecord) -> None:
        """Keep a new engine, in a folder that only its user can look into.

        Raises:
            ValidationError: There is one of this name.
            StorageError: The folder cannot be made.
        """
        folder = self.folder(record.name)
        try:
            self.place.mkdir(parents=True, exist_ok=True, mode=0o700)
            made = Path(tempfile.mkdtemp(prefix=".new-", dir=self.place))  # mode 0700
        except OSError as error:
            raise StorageError.of(error, doing=f"Making {folder}") from error
        try:
            (made / RECORD).write_text(record.to_json(indent=2), encoding="utf-8")
            made.rename(folder)
        except OSError as error:
            shutil.rmtree(made, ignore_errors=True)
            if error.errno in _TAKEN:
                raise ValidationError(
                    f"Engine {record.name!r} already exists. Take another name, or delete it with "
                    f"`rle engine delete {record.name}`."
                ) from None
            raise StorageError.of(error, doing=f"Making {folder}") from error

    def get(self, name: str) -> EngineRecord | None:
        """Return the engine of this name; None where there is none.

        Raises:
            ValidationError: No engine may have this name, or its file is damaged.
        """
        return self._read(self.folder(name))

    def all(self) -> list[EngineRecord]:
        """Return all engines, oldest first."""
        if not self.place.is_dir():
            return []
        folders = [folder for folder in self.place.iterdir() if not folder.name.startswith(".")]
        found = [record for folder in folders if (record := self._read(folder))]
        return sorted(found, key=lambda record: (record.created_on, record.name))

    def update(self, record: EngineRecord) -> None:
        """Keep a changed record of an engine that is there.

        Raises:
            UnknownNameError: It is not there.
            StorageError: The file cannot be written.
        """
        folder = self.folder(record.name)
        if not (folder / RECORD).is_file():
            raise UnknownNameError("engine", record.name, (known.name for known in self.all()))
        new = folder / f".{RECORD}.{os.getpid()}"
        try:
            new.write_text(record.to_json(indent=2), encoding="utf-8")
            new.replace(folder / RECORD)
        except OSError as error:
            new.unlink(missing_ok=True)
            raise StorageError.of(error, doing=f"Writing {folder / RECORD}") from error

    def delete(self, name: str) -> None:
        """Remove an engine's folder with all that is in it; one that is not there is fine.

        Raises:
            StorageError: It cannot be removed.
        """
        folder = self.folder(name)
        gone = folder.with_name(f".gone-{name}-{os.urandom(4).hex()}")
        try:
            folder.rename(gone)  # at once, so that nobody finds half an engine
            shutil.rmtree(gone)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StorageError.of(error, doing=f"Removing {folder}") from error

    @staticmethod
    def _read(folder: Path) -> EngineRecord | None:
        try:
            text = (folder / RECORD).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return EngineRecord.from_json(text)
        except ValidationError as error:
            raise ValidationError(
                f"{folder / RECORD} is damaged: {error} Repair it, or remove its folder."
            ) from error
