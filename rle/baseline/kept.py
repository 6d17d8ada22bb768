"""Trees that a saved model predicts with: kept in its folder, read again where it predicts.

    <model folder>/stack/stack.json        what they are, and the plan of their features
    <model folder>/stack/trees_0.txt ...   LightGBM's own text; no pickle
    <model folder>/stack/baseline/...      the baseline's trees

Shapes: n rows of a block, C scores of a row.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rle.baseline.boost import Boosted
from rle.baseline.features import Features
from rle.baseline.plan import FeaturePlan
from rle.baseline.stack import Evidence, predict
from rle.errors import DataError, ValidationError
from rle.values import TaskType, Value

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from rle.graph.snapshot import Snapshot

    Float32Array = NDArray[np.float32]

FORMAT = 1
FOLDER = "stack"
BASELINE = "baseline"
MANIFEST = "stack.json"


class KeptTrees(Value):
    """What stack.json holds."""

    format: int = FORMAT
    """Version of this layout."""
    weight: float
    """The model's part in the blend with the baseline, 0 to 1."""
    task_type: TaskType
    plan: FeaturePlan
    """The features of the baseline."""
    num_baseline: int
    """Models of the baseline: one, or one per label."""
    num_stack: int = 0
    """Models of the trees on top of the blend; 0 where there are none."""
    clamp_min: float | None = None
    """Lowest value of a regression, as of the model."""
    clamp_max: float | None = None
    """Highest value likewise."""


def save_trees(folder: Path, kept: KeptTrees, baseline: Boosted, stacked: Boosted | None) -> None:
    """Write the trees into a model folder; the manifest last."""
    place = folder / FOLDER
    shutil.rmtree(place, ignore_errors=True)
    baseline.save(place / BASELINE)
    if stacked is not None:
        stacked.save(place)
    (place / MANIFEST).write_text(kept.to_json(indent=1), encoding="utf-8")


def load_trees(folder: Path) -> SavedTrees | None:
    """Return the trees that a model folder predicts with; None where the model itself does.

    Raises:
        MissingModelError: LightGBM is not installed.
        ValidationError: The trees were written by another version.
        DataError: A file is missing or damaged.
    """
    place = folder / FOLDER
    if not place.is_dir():
        return None
    try:
        kept = KeptTrees.from_json((place / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise DataError(f"{place} holds trees but no {MANIFEST}; train the model again.") from None
    if kept.format != FORMAT:
        raise ValidationError(
            f"The trees in {place} have format {kept.format}; this version reads {FORMAT}. Train "
            "the model again, or use the version that trained it."
        )
    stacked = None
    if kept.num_stack:
        stacked = Boosted.load(place, task_type=kept.task_type, num_models=kept.num_stack)
    baseline = Boosted.load(
        place / BASELINE, task_type=kept.task_type, num_models=kept.num_baseline
    )
    return SavedTrees(kept, baseline, stacked)


@dataclass(frozen=True, slots=True)
class SavedTrees:
    """What was read from a model folder."""

    kept: KeptTrees
    baseline: Boosted
    stacked: Boosted | None

    def bind(self, snapshot: Snapshot) -> Rescorer:
        """Read features from this graph; DataError where it lacks a relation of the plan."""
        return Rescorer(self, Features(snapshot, self.kept.plan))


@dataclass(frozen=True, slots=True)
class Rescorer:
    """Says of rows what the trees say, from what the model says."""

    trees: SavedTrees
    features: Features

    @property
    def needs_embeddings(self) -> bool:
        """Whether the model's vectors are read too."""
        return self.trees.stacked is not None

    def rescore(
        self,
        rows: NDArray[np.int32],
        times: NDArray[np.int64],
        scores: Float32Array,
        embeddings: Float32Array | None,
    ) -> Float32Array:
        """Return the scores that count, float32 [n, C].

        Args:
            rows: int32 [n], rows of the entity table, none of them -1.
            times: int64 [n], nanoseconds.
            scores: float32 [n, C], of the model.
            embeddings: float32 [n, D], of the model; None where they are not needed.
        """
        if not rows.size:
            return scores
        kept, stacked = self.trees.kept, self.trees.stacked
        features = self.features.compute(rows, times)
        if embeddings is None:  # then nothing reads them
            embeddings = np.zeros((rows.size, 0), np.float32)
        baseline = self.trees.baseline.predict(features)
        evidence = Evidence(features, baseline, scores, embeddings)
        found = predict(evidence, kept.task_type, weight=kept.weight, trees=stacked)
        if kept.task_type is TaskType.REGRESSION:
            found = np.clip(found, kept.clamp_min, kept.clamp_max)
        return found
