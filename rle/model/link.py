"""The model of link prediction: a vector per source, a vector per target, and a term for pairs.

The score of target d for source s at time t is <u_s, v_d> plus, where s has met d before t, a term
of what is known of their meetings. The first part is a matrix product over all targets, the
second is sparse.

Shapes: S sources, D targets, C candidates, P pairs, n pairs looked at, E = channels + 1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rle.errors import InternalError
from rle.model.dropout import mix
from rle.model.encoder import TreeEncoder
from rle.model.pairs import PairTerm, pair_features

if TYPE_CHECKING:
    from rle.graph.snapshot import Snapshot
    from rle.model.link_spec import LinkModelSpec
    from rle.model.link_tensors import HistoryTensors, LinkLabels, LinkTensorBatch
    from rle.model.tensors import TensorBatch


class LinkModel(nn.Module):
    """Two towers and a pair term, built from a spec alone; `bind` it before the first batch.

    Weights depend on `spec.seed` only. Its `state_dict` holds all that prediction needs except
    what `bind` derives.
    """

    def __init__(self, spec: LinkModelSpec) -> None:
        super().__init__()
        self.spec = spec
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(spec.seed)
            self.source_tower = TreeEncoder(spec, num_outputs=spec.channels)
            self.target_tower = TreeEncoder(spec.target_tower, num_outputs=spec.width)
            # What all targets have in common changes no ranking: its gradient would be rounding
            # errors alone, which Adam blows up to whole steps.
            self.target_tower.head.drop_last_bias()
            # Training begins with the ranking that all sources share: by mean log-share.
            num = spec.num_popularity
            self.popularity_weight = nn.Parameter(torch.full((num,), 1 / num)) if num else None
            self.pairs = PairTerm(spec) if spec.paths else None

    def name_rows(self, snapshot: Snapshot) -> None:
        """Say whose the learnt vectors of rows are; once, before training."""
        self.source_tower.name_rows(snapshot)
        self.target_tower.name_rows(snapshot)

    def bind(self, snapshot: Snapshot) -> None:
        """Learn which code of `snapshot` is which value, and whose vectors are whose.

        Raises:
            ValidationError: The snapshot has other columns or relations than the model was made
                for.
        """
        self.source_tower.bind(snapshot)
        self.target_tower.bind(snapshot)

    def sources(self, batch: TensorBatch) -> Tensor:
        """Vectors of sources, float32 [S, E]; the last channel is 1."""
        vectors = self.source_tower(batch).float() * self._scale
        return torch.cat([vectors, vectors.new_ones(vectors.shape[0], 1)], dim=1)

    def targets(
        self, batch: TensorBatch, popularity: Tensor, multiplicity: Tensor | None = None
    ) -> Tensor:
        """Vectors of targets, float32 [D, E]; the last channel is a target's worth to everyone.

        Args:
            batch: Trees of targets.
            popularity: float32 [D, F], how sought after each is.
            multiplicity: float32 [D], how often each counts in the statistics of norms while
                training; None: as `batch.weights` says.
        """
        if multiplicity is not None:
            batch = replace(batch, weights=multiplicity)
        vectors: Tensor = self.target_tower(batch).float()
        if self.popularity_weight is None:
            return vectors
        worth = vectors[:, -1:] + (popularity @ self.popularity_weight).unsqueeze(1)
        return torch.cat([vectors[:, :-1], worth], dim=1)

    def pair_terms(
        self, history: HistoryTensors, sources: Tensor, targets_of_pairs: Tensor
    ) -> Tensor:
        """What their history adds to the scores of pairs, float32 [P].

        Args:
            history: Of S sources.
            sources: [S, E], from `sources`.
            targets_of_pairs: [P, E], from `targets`, one per pair.
        """
        if self.pairs is None:
            return sources.new_zeros(history.source.shape[0])
        features = pair_features(history)
        numbers = torch.zeros_like(history.source)
        sources = sources.index_select(0, history.source)
        return self._term(self.pairs, features, sources, targets_of_pairs, numbers)

    def forward(self, batch: LinkTensorBatch) -> Tensor:
        """Scores of the candidates, float32 [C]."""
        if batch.target is None:
            raise InternalError("A batch without candidates has no scores.")
        sources = self.sources(batch.source).index_select(0, batch.labels.source)
        targets = self.targets(batch.target, batch.popularity).index_select(0, batch.candidate)
        scores = (sources * targets).sum(dim=1)
        if self.pairs is None:
            return scores
        features = pair_features(batch.history).index_select(0, batch.pair)
        owner = batch.labels.source.index_select(0, batch.met)
        numbers = mix(batch.positions.index_select(0, owner))
        numbers = numbers ^ batch.history.targets.index_select(0, batch.pair)
        terms = self._term(
            self.pairs,
            features,
            sources.index_select(0, batch.met),
            targets.index_select(0, batch.met),
            numbers,
        )
        return scores.index_add(0, batch.met, terms)

    def _term(
        self, pairs: PairTerm, features: Tensor, sources: Tensor, targets: Tensor, numbers: Tensor
    ) -> Tensor:
        """The pair term of n pairs, each with its vectors [n, E]."""
        vectors = sources[:, :-1] / self._scale
        terms: Tensor = pairs(features, vectors, targets[:, :-1], numbers)
        return terms.float()

    @property
    def _scale(self) -> float:
        """Keeps the product of two vectors at the size of one channel's."""
        return float(self.spec.channels**-0.5)


class LinkObjective:
    """A softmax over each source's candidates, each standing for as many targets as it weighs."""

    def row_losses(self, outputs: Tensor, labels: LinkLabels) -> Tensor:
        """The loss of each source, float32 [S]: minus the mean log-probability of its positives.

        0 for a source that nothing can be learnt from: one without positives, or with nothing else.

        Args:
            outputs: float32 [C], scores of the candidates.
            labels: Whose they are, and which are right.
        """
        source, num_sources = labels.source, labels.num_sources
        weighted = outputs.float() + labels.log_weight
        empty = weighted.new_zeros(num_sources)
        peak = torch.full_like(empty, -torch.inf).scatter_reduce(
            0, source, weighted.detach(), "amax"
        )
        share = (weighted - peak.index_select(0, source)).exp()
        total = empty.index_add(0, source, share)
        positive = labels.positive.float()
        num_positive = empty.index_add(0, source, positive)
        num_all = empty.index_add(0, source, torch.ones_like(positive))
        scores = outputs.float() * positive
        mean = empty.index_add(0, source, scores) / num_positive.clamp(min=1)
        is_learnable = (num_positive > 0) & (num_positive < num_all)
        # A total of 0 belongs to a source without candidates; its logarithm must not be looked at.
        log_total = torch.where(is_learnable, total, 1.0).log()
        peak = torch.where(is_learnable, peak, 0.0)
        return torch.where(is_learnable, log_total + peak - mean, 0.0)
