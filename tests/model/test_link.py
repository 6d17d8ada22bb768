"""The link model: its scores are two vectors' product and a term for pairs that have met."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rle.errors import ValidationError
from rle.model.link import LinkModel, LinkObjective
from rle.model.link_spec import LinkModelSpec
from rle.model.link_tensors import LinkLabels, to_link_tensors
from rle.model.pairs import num_pair_features, pair_features
from rle.model.time import age_features
from rle.values import TaskType
from tests.model.graphs import WINDOWS_H, make_snapshot
from tests.model.link_graphs import (
    PATHS,
    make_link_batch,
    make_link_model,
    make_link_spec,
    make_link_tensors,
    without_history,
)


@pytest.fixture(scope="module")
def snapshot():
    return make_snapshot()


def slow_ranks(values):
    """1 / place among the distinct values, smallest first; 0 for NaN."""
    known = sorted({v for v in values if not math.isnan(v)})
    return [0.0 if math.isnan(v) else 1 / (known.index(v) + 1) for v in values]


def test_pair_features_are_what_a_loop_over_pairs_says(snapshot):
    history = make_link_tensors(snapshot).history
    found = pair_features(history)
    assert found.shape == (history.source.shape[0], num_pair_features(len(PATHS), len(WINDOWS_H)))
    assert PATHS
    assert history.source.shape[0] > 5
    path = 0
    for s in range(4):
        mine = torch.nonzero(history.source == s).flatten().tolist()
        count = history.count[mine, path].tolist()
        newest = history.ages[mine, path, 0].tolist()
        recency = slow_ranks(newest)
        frequency = slow_ranks([-c if c else math.nan for c in count])
        for i, p in enumerate(mine):
            expected = [
                math.log1p(len(mine)) / 3,
                math.log1p(count[i]) / 3,
                float(count[i] > 0),
                count[i] / max(sum(count), 1),
                recency[i],
                frequency[i],
                float(recency[i] == 1),
            ]
            assert found[p, :7].tolist() == pytest.approx(expected)
            windows = history.recent[p, path].log1p() / 3
            ages = age_features(history.ages[p, path]).flatten()
            assert torch.allclose(found[p, 7 : 7 + 2 + 30], torch.cat([windows, ages]))


def test_scores_of_candidates_are_those_of_retrieval(snapshot):
    model = make_link_model(snapshot).eval()
    batch = make_link_tensors(snapshot)
    sources, targets = model.sources(batch.source), model.targets(batch.target, batch.popularity)
    assert sources.shape == (4, 17)
    assert targets.shape == (batch.target.weights.shape[0], 17)
    dense = sources @ targets.T
    expected = dense[batch.labels.source, batch.candidate]
    of_pairs = torch.zeros(batch.history.source.shape[0], 17)
    of_pairs[batch.pair] = targets[batch.candidate[batch.met]]
    terms = model.pair_terms(batch.history, sources, of_pairs)
    expected[batch.met] += terms[batch.pair]
    assert batch.met.numel() > 2
    assert terms[batch.pair].abs().min() > 0
    assert torch.allclose(model(batch), expected, atol=1e-5)


def test_a_score_does_not_hang_on_the_rest_of_the_batch(snapshot):
    model = make_link_model(snapshot).eval()
    together = model(make_link_tensors(snapshot))
    alone = make_link_tensors(
        snapshot, rows=(5,), days=(60,), candidates=((5, 0, 1),), positives=((5,),)
    )
    assert torch.allclose(model(alone), together[6:9], atol=1e-5)


def test_the_history_of_a_pair_moves_its_score_only(snapshot):
    model = make_link_model(snapshot).eval()
    batch = make_link_batch(snapshot)
    moved = model(to_link_tensors(batch, "cpu")) != model(
        to_link_tensors(without_history(batch), "cpu")
    )
    assert moved.tolist() == (batch.pair >= 0).tolist()


def test_a_new_pair_term_says_nothing(snapshot):
    model = LinkModel(make_link_spec(snapshot))
    model.bind(snapshot)
    batch = make_link_batch(snapshot)
    model.eval()
    met, strange = (to_link_tensors(b, "cpu") for b in (batch, without_history(batch)))
    assert torch.equal(model(met), model(strange))


@pytest.mark.parametrize("gnn_norm", ["layer_norm", "batch_norm"])
def test_statistics_count_a_target_as_often_as_it_is_a_candidate(snapshot, gnn_norm):
    """So that they do not hang on which candidates share a tree, or a worker."""
    days, candidates = (50, 50, 50, 2), ((0, 1, 2, 6), (2, 4), (5, 0, 1), (2,))
    models = [make_link_model(snapshot, gnn_norm=gnn_norm) for _ in range(2)]
    batches = [
        make_link_tensors(snapshot, days=days, candidates=candidates, is_merged=is_merged)
        for is_merged in (True, False)
    ]
    assert batches[0].target.weights.shape[0] < batches[1].target.weights.shape[0] == 10
    merged, apart = (model(batch) for model, batch in zip(models, batches, strict=True))
    assert torch.allclose(merged, apart, atol=1e-4)
    buffers = [dict(model.named_buffers()) for model in models]
    for name, tensor in buffers[0].items():
        assert torch.allclose(tensor.float(), buffers[1][name].float(), atol=1e-4), name


def test_the_towers_have_weights_of_their_own_and_a_seed_gives_them_all(snapshot):
    model, again = (LinkModel(make_link_spec(snapshot)) for _ in range(2))
    other = LinkModel(make_link_spec(snapshot, seed=7))
    state = model.state_dict()
    assert all(torch.equal(t, again.state_dict()[name]) for name, t in state.items())
    name = "layers.0.relation_weight.3"
    assert not torch.equal(state[f"source_tower.{name}"], state[f"target_tower.{name}"])
    assert not torch.equal(
        state[f"source_tower.{name}"], other.state_dict()[f"source_tower.{name}"]
    )


def test_both_towers_and_the_pair_term_learn(snapshot):
    model = make_link_model(snapshot)
    batch = make_link_tensors(snapshot)
    losses = LinkObjective().row_losses(model(batch), batch.labels)
    losses.sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # Some tables and relations have no row in such a small batch.
    assert not [name for name in idle if ".inputs." not in name and ".layers." not in name]


def test_a_spec_is_its_json_and_names_the_task(snapshot):
    spec = make_link_spec(snapshot, TaskType.REPEATED_LINK_PREDICTION)
    assert LinkModelSpec.from_json(spec.to_json()) == spec
    assert spec.is_repeated
    assert spec.target_tower.entity_table == "items"
    with pytest.raises(ValidationError, match="No links lead from 'users' to 'items'"):
        make_link_spec(snapshot, TaskType.REPEATED_LINK_PREDICTION, paths=())


def test_without_paths_the_score_is_the_product_alone(snapshot):
    model = make_link_model(snapshot, paths=()).eval()
    assert model.pairs is None
    batch = make_link_tensors(snapshot)
    sources, targets = model.sources(batch.source), model.targets(batch.target, batch.popularity)
    expected = (sources @ targets.T)[batch.labels.source, batch.candidate]
    assert torch.allclose(model(batch), expected, atol=1e-5)
    assert not model.pair_terms(batch.history, sources, targets).any()


def test_the_loss_of_a_source_is_a_softmax_over_its_candidates(snapshot):
    labels = make_link_tensors(snapshot).labels
    scores = torch.linspace(-2, 3, 10, requires_grad=True)
    losses = LinkObjective().row_losses(scores, labels)
    s, w, positive = scores.detach().numpy(), labels.log_weight.numpy(), labels.positive.numpy()
    expected = []
    for first, last in [(0, 4), (4, 6)]:
        total = np.log(np.exp(s[first:last] + w[first:last]).sum())
        right = positive[first:last]
        expected.append(float(np.mean(total - s[first:last][right])))
    # Of the third all candidates are right, of the fourth none.
    assert losses.tolist() == pytest.approx([*expected, 0.0, 0.0])
    losses.sum().backward()
    assert torch.isfinite(scores.grad).all()
    assert not scores.grad[6:].any()


def test_a_source_without_candidates_or_with_huge_scores_has_a_finite_loss():
    labels = LinkLabels(
        source=torch.tensor([0, 0, 2, 2]),
        num_sources=4,
        positive=torch.tensor([True, False, False, True]),
        log_weight=torch.zeros(4),
    )
    scores = torch.tensor([1e4, -1e4, 2e4, 0.0], requires_grad=True)
    losses = LinkObjective().row_losses(scores, labels)
    assert losses.tolist() == [0.0, 0.0, 2e4, 0.0]
    losses.sum().backward()
    assert torch.isfinite(scores.grad).all()


def test_sources_that_nothing_can_be_learnt_from_do_not_count(snapshot):
    assert make_link_tensors(snapshot).weights.tolist() == [1, 1, 0, 0]


def test_id_awareness_marks_the_source_where_its_tree_meets_it_again(snapshot):
    model = make_link_model(snapshot, id_awareness=True).eval()
    batch = make_link_tensors(snapshot).source
    users = model.source_tower.inputs[0]
    assert users.table == "users"
    own = batch.index[0, "users"][batch.seed[2, "users"]]
    again = batch.index[2, "users"] == own
    assert 0 < int(again.sum()) < again.numel()
    assert torch.equal(users.extra_features(batch, (2, "users"))[:, 0], again.float())
    before = model.sources(batch)
    with torch.no_grad():
        users.extra_weight[0] += 1
    assert not torch.allclose(model.sources(batch), before)
    assert not any(module.marks_seeds for module in model.target_tower.inputs)


def test_a_model_begins_with_what_is_sought_after(snapshot):
    plain = make_link_model(snapshot)
    told = make_link_model(snapshot, num_popularity=2)
    trees = make_link_tensors(snapshot).target
    shares = torch.tensor([[-1.0, -3.0], *[[-4.0, -4.0]] * (trees.weights.shape[0] - 1)])
    assert torch.equal(LinkModel(told.spec).popularity_weight, torch.full((2,), 0.5))
    with torch.no_grad():
        told.load_state_dict(plain.state_dict() | {"popularity_weight": torch.full((2,), 0.5)})
        added = told.targets(trees, shares) - plain.targets(trees, shares)
    assert torch.equal(added[:, :-1], torch.zeros_like(added[:, :-1]))
    assert added[:, -1].tolist() == pytest.approx(shares.mean(1).tolist(), abs=1e-5)
