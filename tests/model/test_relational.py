from __future__ import annotations

import numpy as np
import pytest
import torch

from rle.errors import InternalError
from rle.model import inputs
from rle.model.heads import Objective
from rle.model.relational import ModelSpec, RelationalModel
from rle.model.tensors import to_tensors
from rle.spec.config import TrainerConfig
from rle.values import TaskType
from tests.model.graphs import (
    DICTIONARIES,
    WINDOWS_H,
    make_batch,
    make_codec,
    make_model,
    make_snapshot,
    make_spec,
    make_stats,
    make_tensors,
)
from tests.model.reference import reference_outputs

KNOBS = [
    {},
    {"conv_aggregation": "sum"},
    {"conv_aggregation": "max"},
    {"conv_aggregation": "max", "sum_beside_mean": False, "newest_children": 0},
    {"hetero_conv_aggregation": "mean"},
    {"hetero_conv_aggregation": "max"},
    {"gnn_norm": "batch_norm"},
    {"gnn_norm": "instance_norm"},
    {"head_layers": 3},
    {"head_layers": 2, "head_norm": "layer_norm"},
    {"use_temporal_encoder": False},
    {"age_features": False},
    {"count_features": False},
    {"count_windows_h": ()},
    {"count_windows_h": (1.5, 100, 1000, 1001)},
    {"newest_children": 1},
    {"newest_children": 0},
    {"sum_beside_mean": False},
    {"num_layers": 1},
    {"num_layers": 3, "conv_aggregation": "max"},
    {"num_layers": 3},
    {"min_category_count": 1},
    {"calendar_features": True},
    {"drop_clocks": False, "head_shortcut": False},
    {"max_categories": 1},
]


@pytest.mark.parametrize("knobs", KNOBS, ids=lambda k: "-".join(f"{a}={b}" for a, b in k.items()))
def test_outputs_and_gradients_equal_those_of_torch_geometric(knobs):
    snapshot = make_snapshot()
    model = make_model(snapshot, **knobs)
    batch = make_batch(
        snapshot,
        fanouts=(3, 2, 2) if knobs.get("num_layers") == 3 else (3, 2),
        windows_h=knobs.get("count_windows_h", WINDOWS_H),
    )
    fast = model(to_tensors(batch, "cpu"))
    slow = reference_outputs(model, snapshot, batch)
    torch.testing.assert_close(fast, slow, atol=1e-5, rtol=1e-5)
    towards = torch.randn(fast.shape, generator=torch.Generator().manual_seed(0))
    names, weights = zip(*model.named_parameters(), strict=True)
    ours = torch.autograd.grad((fast * towards).sum(), weights)
    theirs = torch.autograd.grad((slow * towards).sum(), weights, allow_unused=True)
    # Dividing by the deviation of two or three nodes magnifies what float32 rounds away: in
    # float64 both sides agree to 1e-11.
    tolerance = 1e-5 if knobs.get("gnn_norm", "layer_norm") == "layer_norm" else 3e-4
    scale = max(g.abs().max() for g in ours)
    for name, a, b in zip(names, ours, theirs, strict=True):
        b = torch.zeros_like(a) if b is None else b
        assert (a - b).abs().max() <= tolerance * scale, name


@pytest.mark.parametrize("reuse", [0.0, 1e9], ids=["row-per-distinct-row", "row-per-node"])
def test_how_often_rows_are_encoded_changes_no_output(monkeypatch, reuse):
    monkeypatch.setattr(inputs, "_MIN_REUSE", reuse)
    snapshot = make_snapshot()
    model = make_model(snapshot)
    batch = make_batch(snapshot)
    torch.testing.assert_close(
        model(to_tensors(batch, "cpu")),
        reference_outputs(model, snapshot, batch),
        atol=1e-5,
        rtol=1e-5,
    )


def test_outputs_are_right_where_rows_lead_not_back():
    snapshot = make_snapshot()
    model = make_model(snapshot, num_layers=3)
    batch, whole = (
        make_batch(snapshot, fanouts=(3, 2, 2), backtrack=backtrack) for backtrack in (False, True)
    )
    assert batch.trees.frontiers[2, "users"].rows.size < whole.trees.frontiers[2, "users"].rows.size
    torch.testing.assert_close(
        model(to_tensors(batch, "cpu")),
        reference_outputs(model, snapshot, batch),
        atol=1e-5,
        rtol=1e-5,
    )


def test_a_batch_counted_in_other_windows_is_refused():
    snapshot = make_snapshot()
    with pytest.raises(InternalError, match="windows"):
        make_model(snapshot)(make_tensors(snapshot, windows_h=()))


CHANGES = [
    {"conv_aggregation": "sum"},
    {"conv_aggregation": "max"},
    {"hetero_conv_aggregation": "mean"},
    {"hetero_conv_aggregation": "max"},
    {"gnn_norm": "batch_norm"},
    {"gnn_norm": "instance_norm"},
    {"head_norm": "layer_norm"},
    {"head_layers": 2},
    {"num_layers": 1},
    {"channels": 24},
    {"use_temporal_encoder": False},
    {"age_features": False},
    {"count_features": False},
    {"newest_children": 0},
    {"newest_children": 1},
    {"sum_beside_mean": False},
    {"min_category_count": 20},
    {"calendar_features": True},
    {"max_categories": 1},
    {"dropout": 0.5},
    {"node_dropout": 0.5},
    {"category_dropout": 0.5},
    {"head_shortcut": False},
    {"drop_clocks": False},
    {"seed": 7},
]


@pytest.mark.parametrize(
    "knobs", CHANGES, ids=lambda k: next(iter(k)) + f"={next(iter(k.values()))}"
)
def test_every_knob_changes_the_outputs(knobs):
    snapshot = make_snapshot()
    batch = make_tensors(snapshot)
    plain, changed = make_model(snapshot)(batch), make_model(snapshot, **knobs)(batch)
    assert not torch.allclose(plain, changed, atol=1e-4)


def test_the_same_seed_gives_the_same_weights_whatever_was_drawn_before():
    snapshot = make_snapshot()
    first = make_model(snapshot).state_dict()
    torch.rand(3)
    second = make_model(snapshot).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_building_a_model_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    make_model(make_snapshot())
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("gnn_norm", ["layer_norm", "batch_norm", "instance_norm"])
def test_a_prediction_does_not_depend_on_the_rest_of_the_batch(gnn_norm):
    snapshot = make_snapshot()
    model = make_model(snapshot, gnn_norm=gnn_norm).train()
    model(make_tensors(snapshot))
    model.eval()
    rows, days = [0, 3, 5, 9], [50, 20, 60, 2]
    together = model(make_tensors(snapshot, rows=rows, days=days))
    seeds = zip(rows, days, strict=True)
    alone = [model(make_tensors(snapshot, rows=[r], days=[d])) for r, d in seeds]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("gnn_norm", ["layer_norm", "batch_norm", "instance_norm"])
def test_seeds_without_any_history_have_gradients_for_every_weight(gnn_norm):
    snapshot = make_snapshot()
    model = make_model(snapshot, gnn_norm=gnn_norm)
    batch = make_batch(snapshot, rows=[0, 1], days=[-5, -5])
    assert sum(f.rows.size for key, f in batch.trees.frontiers.items() if key[1] == "orders") == 0
    outputs = model(to_tensors(batch, "cpu"))
    outputs.square().sum().backward()
    assert outputs.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_embeddings_are_the_roots_and_have_one_row_per_seed():
    snapshot = make_snapshot()
    model = make_model(snapshot).eval()
    batch = make_tensors(snapshot)
    embedded = model.embed(batch)
    assert embedded.shape == (6, 16)
    assert not torch.allclose(embedded[2], embedded[3])  # the same user at two times


def test_a_model_comes_back_from_its_spec_and_its_weights():
    snapshot = make_snapshot()
    model = make_model(snapshot, gnn_norm="batch_norm")
    model(make_tensors(snapshot))
    spec = ModelSpec.from_json(model.spec.to_json())
    assert spec == model.spec
    again = RelationalModel(spec)
    again.load_state_dict(model.state_dict())
    again.bind(snapshot)
    batch = make_tensors(snapshot)
    assert torch.equal(model.eval()(batch), again.eval()(batch))


def test_codes_of_another_snapshot_mean_the_same_values():
    shifted = {"region": ["a new one", *DICTIONARIES["region"]]}
    old, new = make_snapshot(), make_snapshot(dictionaries=shifted)
    codes = old.tables["users"].codes
    # The same people, coded by a dictionary with one more value in front.
    moved = np.where(codes[:, 0] >= 0, codes[:, 0] + 1, -1)
    new.tables["users"].codes[:] = np.stack([moved, codes[:, 1]], axis=1)
    for name in ("numbers", "stamps"):
        for table in ("users", "orders"):
            getattr(new.tables[table], name)[:] = getattr(old.tables[table], name)
    model = make_model(old).eval()
    expected = model.inputs[0].encoder(make_tensors(old).tables["users"])
    model.bind(new)
    rows = make_tensors(old).tables["users"]
    index = make_batch(old).tables["users"].rows
    rows.codes[:] = torch.from_numpy(new.tables["users"].codes[index].astype(np.int64))
    torch.testing.assert_close(model.inputs[0].encoder(rows), expected)


@pytest.mark.parametrize(
    ("task_type", "num_outputs"),
    [
        (TaskType.BINARY_CLASSIFICATION, 1),
        (TaskType.REGRESSION, 1),
        (TaskType.MULTICLASS_CLASSIFICATION, 3),
        (TaskType.MULTILABEL_CLASSIFICATION, 3),
    ],
)
def test_outputs_fit_the_task(task_type, num_outputs):
    snapshot = make_snapshot()
    model = make_model(snapshot, task_type)
    outputs = model(make_tensors(snapshot))
    assert outputs.shape == (6, num_outputs)
    assert Objective(model.spec).scores(outputs).shape == (6, num_outputs)


def test_bfloat16_autocast_gives_nearly_the_same_and_has_gradients():
    snapshot = make_snapshot()
    batch = make_tensors(snapshot)
    model = make_model(snapshot, head_norm="layer_norm", hetero_conv_aggregation="max")
    exact = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(batch)
        rough.sum().backward()
    torch.testing.assert_close(rough.float(), exact, atol=0.1, rtol=0.1)
    assert all(p.grad is not None for p in model.parameters())


def test_from_config_takes_every_knob_that_shapes_a_model(tmp_path):
    connector = {"kind": "duckdb", "database": str(tmp_path / "a.duckdb")}
    config = TrainerConfig(
        connector=connector,
        device="cpu",
        n_epochs=1,
        channels=32,
        fanouts=(4, 3, 2),
        gnn_layers=2,
        clamp_max=None,
        count_windows_h=(0.5, 48),
    )
    snapshot = make_snapshot()
    parts = {
        "graph": snapshot.schema,
        "stats": make_stats(snapshot),
        "entity_table": "users",
        "labels": make_codec(TaskType.REGRESSION),
        "metric": "mae",
    }
    spec = ModelSpec.from_config(config, **parts)
    assert (spec.channels, spec.num_layers, spec.clamp_max) == (32, 2, None)
    assert spec.windows == config.windows == (1_800 * 10**9, 172_800 * 10**9)
    assert ModelSpec.from_json(spec.to_json()) == spec
    shallow = config.replace(shallow_embeddings_list=("items",))
    assert ModelSpec.from_config(shallow, **parts, shallow_rows=(("items", 7),)).shallow_rows
    with pytest.raises(InternalError, match="items"):
        ModelSpec.from_config(shallow, **parts)


def test_no_statistics_of_unreachable_tables_are_kept_as_weights():
    spec = make_spec(make_snapshot(), num_layers=1)
    assert RelationalModel(spec).tables == ("users", "orders", "views")
