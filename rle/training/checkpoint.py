"""Checkpoints on disk: safetensors for tensors, JSON for the rest, whole or not there at all.

Nothing here can run code when it is read. A checkpoint is written into a temporary folder and
renamed, so a folder with a checkpoint's name is complete; a checksum tells later damage.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pydantic
import safetensors
import safetensors.torch

from rle.errors import TrainingError, ValidationError
from rle.training.state import Measured, Position, TrainState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

FORMAT = 1
STATE_FILE = "state.json"
TENSOR_FILE = "tensors.safetensors"
_NAME = re.compile(r"step-(\d{9})")


class _Manifest(Measured):
    """What `state.json` holds."""

    format: int
    sha256: str
    position: Position


class CheckpointStore:
    """The checkpoints of one run: the newest, which carries the best weights with it.

    Args:
        folder: Where they lie; on storage that every worker sees. Made when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """Total steps of the complete checkpoints, ascending."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(entry.name) for entry in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def save(self, state: TrainState) -> Path:
        """Write `state`, then remove older checkpoints and what an interrupted write left."""
        step = state.position.total_steps
        final = self._path(step)
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / f".{final.name}.{os.getpid()}"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            _write_state(temporary, state)
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
            _sync_folder(self.folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        self._keep_only(final)
        return final

    def load(self, step: int | None = None) -> TrainState | None:
        """Read the checkpoint at `step` total steps (None: the newest). None: there is none.

        Raises:
            TrainingError: It is incomplete, damaged or of another version.
        """
        steps = self.steps()
        if not steps and step is None:
            return None
        return _read_state(self._path(steps[-1] if step is None else step))

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:09d}"

    def _keep_only(self, final: Path) -> None:
        for entry in self.folder.iterdir():
            if entry != final and _NAME.fullmatch(entry.name.lstrip(".").split(".")[0]):
                shutil.rmtree(entry, ignore_errors=True)


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Write a state dict as one safetensors file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _write_tensors(temporary, weights)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file; executes nothing.

    Raises:
        TrainingError: The file is missing or damaged.
    """
    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise TrainingError(f"The weights at {path} cannot be read: {error}.") from error


def _write_state(folder: Path, state: TrainState) -> None:
    _write_tensors(folder / TENSOR_FILE, state.tensors)
    manifest = _Manifest(
        format=FORMAT, sha256=_sha256(folder / TENSOR_FILE), position=state.position
    )
    with (folder / STATE_FILE).open("w", encoding="utf-8") as file:
        file.write(manifest.to_json())
        file.flush()
        os.fsync(file.fileno())


def _read_state(folder: Path) -> TrainState:
    problem: str
    try:
        manifest = _Manifest.from_json((folder / STATE_FILE).read_bytes())
        if manifest.format != FORMAT:
            problem = f"it has format {manifest.format}, and this version reads {FORMAT}"
        elif _sha256(folder / TENSOR_FILE) != manifest.sha256:
            problem = f"{TENSOR_FILE} does not match its checksum"
        else:
            tensors = safetensors.torch.load_file(folder / TENSOR_FILE)
            return TrainState(position=manifest.position, tensors=tensors)
    except FileNotFoundError as error:
        problem = f"{Path(str(error.filename)).name} is missing"
    except (ValidationError, pydantic.ValidationError, safetensors.SafetensorError) as error:
        problem = f"it cannot be parsed ({error!s:.200})"
    raise TrainingError(
        f"The checkpoint {folder} is damaged: {problem}. "
        f"Delete that folder to train again from the start."
    )


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    # Views of one vector share memory, which safetensors refuses; a copy on the CPU shares none.
    copies = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    safetensors.torch.save_file(copies, path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power cut, where the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
