"""The best destinations of every row of a split of a link task, and what they are worth.

LINK_PREDICTION ranks every destination that is there at a row's time: destinations are embedded as
of a few moments, and each row is compared with the vectors of the latest moment that is not after
it. A destination that came up after that moment is embedded as of its own first moment.
REPEATED_LINK_PREDICTION ranks the destinations in a row's own history, embedded as of its time.

Shapes: N rows of the split, n rows of a block, k ranks, T destinations, E channels.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from rle.errors import TrainingError
from rle.model.link_tensors import to_link_tensors
from rle.model.retrieval import PairTerms, top_k, top_k_of_pairs
from rle.model.tensors import to_tensors
from rle.sampling.features import gather_lists
from rle.sampling.link_loader import read_popularity
from rle.sampling.loader import BatchLoader
from rle.sampling.moments import moments
from rle.sampling.visible import count_visible
from rle.training.evaluate import autocast
from rle.training.link_metrics import LinkMeter
from rle.training.link_parts import make_link_loader, make_popularity
from rle.training.node_job import make_sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from rle.graph.link_task import LinkSplitRows
    from rle.graph.snapshot import Snapshot
    from rle.model.link import LinkModel
    from rle.model.link_tensors import LinkTensorBatch
    from rle.sampling.link_batch import LinkBatch
    from rle.sampling.popularity import PopularityReader
    from rle.spec.config import TrainerConfig
    from rle.spec.dataset import DatasetSpec
    from rle.training.ranks import Ranks

TREES_PER_ROW = 4
"""Trees of destinations that may be sampled for each row of the split, so that embedding them never
costs much more than embedding the rows; there is always one moment."""
SPARE_TREES = 20_000
"""And as many more, so that few destinations are embedded exactly even for few rows."""
NANOSECONDS_PER_DAY = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class RankBlock:
    """The best destinations of some rows."""

    positions: NDArray[np.int64]
    """int64 [n], rows of the split, ascending."""
    targets: NDArray[np.int32]
    """int32 [n, k], rows of the target table, best first; -1 where there are fewer."""
    scores: NDArray[np.float32]
    """float32 [n, k]; -inf where there are fewer."""
    embeddings: NDArray[np.float32] | None
    """float32 [n, E], the sources' vectors; None where they were not asked for."""


class LinkRanker:
    """Ranks the rows of one split for one model.

    Args:
        model: Bound to `snapshot` and on the device of `ranks`; put into evaluation mode by use.
        snapshot: The graph.
        dataset: With a link task.
        config: How neighbours are sampled.
        split: The rows; those of unknown sources are left out.
        k: Length of the lists.
        popularity: Tells the model how sought after destinations are; made here where it is None
            and the model asks.
        batch_size: Trees per step, over all ranks; changes speed and memory only.
        ranks: Who shares the work.
        on_step: Called with the steps that are done and their number.
    """

    def __init__(
        self,
        model: LinkModel,
        snapshot: Snapshot,
        dataset: DatasetSpec,
        config: TrainerConfig,
        split: LinkSplitRows,
        *,
        k: int,
        popularity: PopularityReader | None = None,
        batch_size: int,
        ranks: Ranks,
        on_step: Callable[[int, int], None] | None = None,
    ) -> None:
        self._model, self._snapshot, self._dataset = model, snapshot, dataset
        self._config, self._split, self._k = config, split, k
        self._popularity = popularity or make_popularity(snapshot, dataset, config, model.spec)
        self._batch_size, self._ranks = max(batch_size, ranks.num_ranks), ranks
        self._store = snapshot.tables[dataset.entities[1][0]]
        self._inclusive = dataset.task.current_time
        self._on_step, self._done, self._total = on_step, 0, 0
        known = np.flatnonzero(split.rows >= 0)
        self._moments, moment = moments(
            split.times[known], limit=moment_limit(known.size, self._store.num_rows)
        )
        self._moment_of = np.full(split.rows.size, -1, np.int32)
        self._moment_of[known] = moment
        self._num_visible = count_visible(self._store, split.times, inclusive=self._inclusive)

    @property
    def is_repeated(self) -> bool:
        """Whether only the destinations that a source has met are ranked."""
        return self._model.spec.is_repeated

    def remark(self) -> str | None:
        """What to tell the user about destinations that are embedded as of an earlier moment."""
        known = self._moment_of >= 0
        age = self._split.times[known] - self._moments[self._moment_of[known]]
        if self._model.spec.is_repeated or not age.any():
            return None
        return (
            f"Destinations are embedded as of {self._moments.size} moments, up to "
            f"{age.max() / NANOSECONDS_PER_DAY:.3g} days before a row's time: there are "
            f"{self._store.num_rows} of them, and rows have "
            f"{np.unique(self._split.times[known]).size} different times."
        )

    @torch.inference_mode()
    def rank(self, *, with_embeddings: bool = False) -> Iterator[RankBlock]:
        """Yield this rank's share of the known rows; every one once, over all ranks.

        Rows come in order where there is one moment, or where only the met are ranked.

        Raises:
            TrainingError: A score is not a number: the model has diverged.
        """
        self._model.eval()
        self._done = 0
        if self._model.spec.is_repeated:
            yield from self._blocks(self._split, None, with_embeddings)
            return
        for moment, time in enumerate(self._moments.tolist()):
            own = self._moment_of == moment
            # The others' sources count as unknown, so that rows keep their position.
            rows = replace(self._split, rows=np.where(own, self._split.rows, np.int32(-1)))
            vectors = self._embed(time, int(self._num_visible[own].max()), self._tell)
            yield from self._blocks(rows, vectors, with_embeddings)

    @torch.inference_mode()
    def latest_destinations(self) -> tuple[int, Tensor]:
        """The time of the latest row, nanoseconds, and the vectors [T', E] of the destinations that
        are there then, in row order; the same on every rank.
        """
        self._model.eval()
        time = int(self._split.times.max())
        return time, self._embed(time, int(self._num_visible.max()), lambda: None)

    def _embed(self, time: int, num_rows: int, tell: Callable[[], None]) -> Tensor:
        """Vectors of the first destinations as of a moment, or of their own time where later."""
        rows = np.arange(num_rows, dtype=np.int32)
        times = np.full(num_rows, time, np.int64)
        if self._store.times is not None:
            times = np.maximum(times, self._store.times[:num_rows])
        loader = BatchLoader(
            self._snapshot,
            _Destinations(rows, times),
            make_sampler(
                self._snapshot,
                self._dataset,
                self._config,
                lags=self._model.spec.lags,
                entity=1,
            ),
            batch_size=self._batch_size,
            num_workers=self._ranks.num_ranks,
            rank=self._ranks.rank,
            shuffle=False,
            threads=self._config.sampler_workers,
        )
        device = self._ranks.device
        vectors = torch.zeros(num_rows, self._model.spec.width, device=device)
        with contextlib.closing(loader):
            for batch in loader:
                moved = to_tensors(batch, device, pin=device.type == "cuda")
                told = read_popularity(self._popularity, batch.trees.rows, batch.trees.times)
                with autocast(device):
                    found = self._model.targets(moved, torch.from_numpy(told).to(device))
                real = moved.weights > 0  # padding rows are another rank's
                vectors[moved.positions[real]] = found[real].float()
                tell()
        return self._ranks.sum_(vectors)

    def _blocks(
        self, rows: LinkSplitRows, vectors: Tensor | None, with_embeddings: bool
    ) -> Iterator[RankBlock]:
        """Rank rows, among all destinations by their `vectors`, or where None among the met."""
        device = self._ranks.device
        loader = make_link_loader(
            self._snapshot,
            self._dataset,
            self._config,
            rows,
            paths=self._model.spec.paths,
            lags=self._model.spec.lags,
            candidates="history" if vectors is None else "none",
            batch_size=self._batch_size,
            ranks=self._ranks,
        )
        with contextlib.closing(loader):
            for batch in loader:
                moved = to_link_tensors(batch, device, pin=device.type == "cuda")
                with autocast(device):
                    sources = self._model.sources(moved.source).float()
                    found = (
                        self._rank_met(batch, moved)
                        if vectors is None
                        else self._rank_all(moved, sources, vectors)
                    )
                yield _block(batch, *found, sources if with_embeddings else None)
                self._tell()

    def _rank_met(self, batch: LinkBatch, moved: LinkTensorBatch) -> tuple[Tensor, Tensor]:
        pairs = PairTerms(
            offset=torch.from_numpy(batch.offset.astype(np.int64)).to(self._ranks.device),
            target=moved.history.targets.index_select(0, moved.pair),
            value=self._model(moved),
        )
        return top_k_of_pairs(pairs, k=self._k)

    def _rank_all(
        self, moved: LinkTensorBatch, sources: Tensor, vectors: Tensor
    ) -> tuple[Tensor, Tensor]:
        history = moved.history
        met = vectors.index_select(0, history.targets)
        terms = self._model.pair_terms(history, sources, met)
        visible = torch.from_numpy(self._num_visible).to(self._ranks.device)
        return top_k(
            sources,
            vectors,
            k=self._k,
            num_visible=visible.index_select(0, moved.positions).long(),
            extra=PairTerms(history.offset, history.targets, terms),
        )

    def _num_steps(self) -> int:
        if self._model.spec.is_repeated:
            return _steps(int((self._moment_of >= 0).sum()), self._batch_size)
        total = 0
        for moment in range(self._moments.size):
            own = self._moment_of == moment
            total += _steps(int(own.sum()), self._batch_size)
            total += _steps(int(self._num_visible[own].max()), self._batch_size)
        return total

    def _tell(self) -> None:
        if self._on_step is not None:
            self._total = self._total or self._num_steps()
            self._done += 1
            self._on_step(self._done, self._total)


def measure_ranking(
    blocks: Iterable[RankBlock], split: LinkSplitRows, *, k: int, ranks: Ranks
) -> dict[str, float]:
    """Every link metric over the rows of all ranks, which call this together.

    Args:
        blocks: This rank's share of the rows.
        split: Whose rows they are; it has targets.
        k: Length of the lists that are looked at.
        ranks: Who else takes part.

    Raises:
        DataError: No row that was ranked has a target.
    """
    meter = LinkMeter(k, ranks)
    for block in blocks:
        meter.add(block.targets, *targets_of(split, block.positions))
    return meter.compute()


def targets_of(
    split: LinkSplitRows, positions: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """int64 [n + 1] offsets and the targets of some rows of a split that has targets."""
    assert split.offsets is not None
    assert split.targets is not None
    return gather_lists(split.offsets, split.targets, positions)


def moment_limit(num_rows: int, num_destinations: int) -> int:
    """As of how many moments destinations may be embedded; see `TREES_PER_ROW`."""
    return max(1, (TREES_PER_ROW * num_rows + SPARE_TREES) // max(1, num_destinations))


@dataclass(frozen=True, slots=True)
class _Destinations:
    """Rows of the target table as a loader wants them."""

    rows: NDArray[np.int32]
    times: NDArray[np.int64]
    labels: None = None


def _block(batch: LinkBatch, rows: Tensor, scores: Tensor, sources: Tensor | None) -> RankBlock:
    if bool(scores.isnan().any()):
        raise TrainingError(
            "Scores of links are NaN: the model has diverged. Lower TrainerConfig.lr."
        )
    real = batch.weights > 0
    return RankBlock(
        positions=batch.positions[real],
        targets=rows.cpu().numpy()[real].astype(np.int32),
        scores=scores.float().cpu().numpy()[real],
        embeddings=None if sources is None else sources.cpu().numpy()[real],
    )


def _steps(num_rows: int, batch_size: int) -> int:
    return -(-num_rows // batch_size)
