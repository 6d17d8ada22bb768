"""Checkpoints: what is written is read back exactly, and half of one is never taken for one."""

from __future__ import annotations

import json
import pickle

import pytest
import safetensors.torch
import torch

from rle.errors import TrainingError
from rle.training import checkpoint
from rle.training.checkpoint import CheckpointStore, read_weights, write_weights
from rle.training.state import Position, TrainState, Validation


def some_state(step: int = 7) -> TrainState:
    flat = torch.arange(12, dtype=torch.float32)
    best = Validation(epoch=1, step=3, total_steps=3, value=float("nan"), loss=0.25)
    position = Position(
        epoch=2, step=1, num_steps=3, total_steps=step, best=best, layout=(("a.weight", (3, 4)),)
    )
    tensors = {
        "weights": flat,
        "average": flat[2:5],  # a view: shares memory with another tensor
        "buffer.norm.num_batches_tracked": torch.tensor(9),
        "adam.step": torch.tensor(7.0),
    }
    return TrainState(position=position, tensors=tensors)


def test_a_state_comes_back_exactly(tmp_path):
    store, state = CheckpointStore(tmp_path / "c"), some_state()
    store.save(state)
    found = store.load()
    assert found is not None
    assert found.position.to_json() == state.position.to_json()
    assert found.tensors.keys() == state.tensors.keys()
    assert all(torch.equal(found.tensors[k], state.tensors[k]) for k in state.tensors)


def test_there_is_nothing_to_load_at_first(tmp_path):
    store = CheckpointStore(tmp_path / "c")
    assert store.load() is None
    assert store.steps() == []


def test_only_the_newest_is_kept_and_leftovers_of_a_killed_writer_go(tmp_path):
    store = CheckpointStore(tmp_path)
    leftover = tmp_path / ".step-000000003.4711"
    leftover.mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    store.save(some_state(7))
    store.save(some_state(14))
    assert store.steps() == [14]
    assert {p.name for p in tmp_path.iterdir()} == {"step-000000014", "notes.txt"}


def test_saving_the_same_step_again_replaces_it(tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(some_state(7))
    store.save(some_state(7))
    assert store.steps() == [7]
    assert store.load() is not None


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_save_leaves_the_checkpoint_before(tmp_path, monkeypatch, error):
    store = CheckpointStore(tmp_path)
    store.save(some_state(7))

    def fail(path, tensors):
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(checkpoint, "_write_tensors", fail)
    with pytest.raises(type(error)):
        store.save(some_state(14))
    assert [p.name for p in tmp_path.iterdir()] == ["step-000000007"]
    assert store.load() is not None


def truncate(folder):
    file = folder / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-5])


def flip(folder):
    file = folder / "tensors.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def other_format(folder):
    file = folder / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "does not match its checksum"),
        (flip, "does not match its checksum"),
        (other_format, "has format 99"),
        (lambda folder: (folder / "state.json").write_text("{"), "cannot be parsed"),
        (lambda folder: (folder / "state.json").write_text('{"format": 1}'), "cannot be parsed"),
        (lambda folder: (folder / "state.json").unlink(), "state.json is missing"),
        (
            lambda folder: (folder / "tensors.safetensors").unlink(),
            "tensors.safetensors is missing",
        ),
    ],
)
def test_a_damaged_checkpoint_is_an_error_that_names_the_folder_and_the_way_out(
    tmp_path, damage, message
):
    store = CheckpointStore(tmp_path)
    damage(store.save(some_state()))
    with pytest.raises(TrainingError, match=message) as caught:
        store.load()
    assert "step-000000007" in str(caught.value)
    assert "Delete that folder" in str(caught.value)


def test_a_pickle_in_place_of_tensors_is_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").touch, ())

    path = tmp_path / "model.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(TrainingError, match="cannot be read"):
        read_weights(path)
    assert not (tmp_path / "exploded").exists()


def test_weights_are_written_whole_and_read_back(tmp_path):
    weights = {"a": torch.randn(3, 4), "b.c": torch.tensor(5)}
    path = tmp_path / "deep" / "model.safetensors"
    write_weights(path, weights)
    found = read_weights(path)
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]
    assert safetensors.torch.load_file(path).keys() == weights.keys()


def test_weights_that_are_not_there_are_a_clear_error(tmp_path):
    with pytest.raises(TrainingError, match="cannot be read"):
        read_weights(tmp_path / "model.safetensors")
