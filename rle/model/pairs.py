"""What is known of a source and a target that it has met, and what that adds to their score.

Shapes: S sources, P pairs, n of them, K history paths, W windows of time, F features, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from rle.model.dropout import MaskDropout
from rle.model.fused import norm_relu
from rle.model.time import AGE_DIMS, age_features
from rle.model.weights import uniform

if TYPE_CHECKING:
    from rle.model.link_spec import LinkModelSpec
    from rle.model.link_tensors import HistoryTensors

PAIR_DIMS = 6 + 3 * AGE_DIMS
"""Numbers per path that describe a pair, windows apart."""
_LOG_SCALE = 3.0


def num_pair_features(num_paths: int, num_windows: int) -> int:
    """F."""
    return 1 + num_paths * (PAIR_DIMS + num_windows)


def pair_features(history: HistoryTensors) -> Tensor:
    """Describe every pair of `history`, float32 [P, F].

    How many targets the source has met; then per path: how often it has met this one, in all and
    within each window, whether ever, how long ago for the newest, previous and oldest time, its
    share of all events of the source, its place among the source's targets by recency and by
    count as 1 / rank, where equals share a rank, and whether it is among the newest.
    """
    num_met = history.offset.diff().index_select(0, history.source)
    parts = [num_met.float().log1p().unsqueeze(1) / _LOG_SCALE]
    for path in range(history.count.shape[1]):
        count, ages = history.count[:, path], history.ages[:, path]
        totals = count.new_zeros(history.offset.shape[0] - 1).index_add(0, history.source, count)
        share = count / totals.index_select(0, history.source).clamp(min=1)
        recency = _reciprocal_rank(ages[:, 0], history)
        frequency = _reciprocal_rank(torch.where(count > 0, -count, torch.nan), history)
        plain = [count.log1p() / _LOG_SCALE, (count > 0).float(), share, recency, frequency]
        parts.append(torch.stack([*plain, (recency == 1).float()], dim=1))
        parts.append(history.recent[:, path].log1p() / _LOG_SCALE)
        parts += [age_features(age) for age in ages.unbind(1)]
    return torch.cat(parts, dim=1)


def _reciprocal_rank(values: Tensor, history: HistoryTensors) -> Tensor:
    """1 / (how many smaller distinct values the source has, and one), [P]; 0 for NaN."""
    if values.numel() == 0:
        return values
    absent = torch.isnan(values)
    order = torch.argsort(torch.where(absent, torch.inf, values), stable=True)
    order = order[torch.argsort(history.source[order], stable=True)]
    ordered = values[order]
    # NaN differs from itself, but it comes last and gets no rank.
    changes = torch.cat([ordered.new_zeros(1), (ordered[1:] != ordered[:-1]).float()]).cumsum(0)
    first = history.offset[:-1].clamp(max=values.shape[0] - 1)
    ranks = changes - changes[first][history.source] + 1
    result = torch.empty_like(values)
    result[order] = 1 / ranks
    return torch.where(absent, 0.0, result)


class PairTerm(nn.Module):
    """A small network over a pair's features and vectors, beside a linear model of the features.

    It begins as nothing, so that training starts with the two towers.
    """

    def __init__(self, spec: LinkModelSpec) -> None:
        super().__init__()
        channels = spec.channels
        num_features = num_pair_features(len(spec.paths), len(spec.windows))
        self.weight = uniform(num_features, channels)
        self.vector_weight = uniform(3 * channels, channels)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.norms = nn.ModuleList([nn.LayerNorm(channels), nn.LayerNorm(channels)])
        self.dropout = MaskDropout(spec.dropout, channels, seed=spec.seed + 103)
        self.hidden_weight = uniform(channels, channels)
        self.hidden_bias = nn.Parameter(torch.zeros(channels))
        self.out_weight = nn.Parameter(torch.zeros(channels))
        self.linear_weight = nn.Parameter(torch.zeros(num_features))

    def forward(
        self, features: Tensor, sources: Tensor, targets: Tensor, numbers: Tensor
    ) -> Tensor:
        """What the history of pairs adds to their scores, float32 [n].

        Args:
            features: float32 [n, F].
            sources: [n, C], vector of each pair's source.
            targets: [n, C].
            numbers: int64 [n], names the pairs in dropout.
        """
        vectors = torch.cat([sources, targets, sources * targets], dim=1)
        rows = torch.addmm(self.bias, features, self.weight) + vectors @ self.vector_weight
        rows = self.dropout(self._norm_relu(0, rows), numbers)
        rows = self._norm_relu(1, torch.addmm(self.hidden_bias, rows, self.hidden_weight))
        return rows @ self.out_weight + features @ self.linear_weight

    def _norm_relu(self, layer: int, rows: Tensor) -> Tensor:
        norm = self.norms[layer]
        assert isinstance(norm, nn.LayerNorm)
        return norm_relu(rows.float(), norm.weight, norm.bias)
