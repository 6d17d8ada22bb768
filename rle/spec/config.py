"""How a model is trained: every knob, its unit, its default and what it changes."""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, FiniteFloat, model_validator

from rle.connectors.registry import AnyConnector
from rle.errors import UnknownNameError, ValidationError
from rle.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rle.spec.dataset import DatasetSpec

NANOSECONDS_PER_HOUR = 3600 * 10**9


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _window(value: Any) -> Any:
    if isinstance(value, int | float):
        raise ValidationError(
            f"TrainerConfig.time_window is {value}, of which the unit is not known; give a "
            'datetime.timedelta, or text such as "P30D", "PT6H" or "30 days".'
        )
    return value


def _weights(value: Any) -> Any:
    if isinstance(value, str) and value != "balanced":
        raise UnknownNameError("TrainerConfig.class_weights", value, ["balanced"])
    if not isinstance(value, dict):
        return value
    for name, weight in value.items():
        if not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise ValidationError(
                f"TrainerConfig.class_weights gives class {str(name)!r} the weight {weight!r}; a "
                "weight is a number above 0."
            )
    # The class 1 is written "1" in JSON; in Python both are welcome.
    return {str(name): weight for name, weight in value.items()}


Aggregation = Literal["mean", "max", "sum"]
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Hours = Annotated[FiniteFloat, Field(gt=0.0, le=1e6)]
Window = Annotated[
    timedelta, Field(gt=timedelta(0), le=timedelta(days=106_751)), BeforeValidator(_window)
]
ClassWeights = Annotated[Literal["balanced"] | dict[str, float], BeforeValidator(_weights)]
Device = Annotated[Literal["cuda", "cpu"], BeforeValidator(_lower)]


def nanoseconds(hours: Iterable[float]) -> tuple[int, ...]:
    """Return hours as the whole nanoseconds that row times are in; never 0."""
    return tuple(max(1, round(h * NANOSECONDS_PER_HOUR)) for h in hours)


class TrainerConfig(Value):
    """All settings of a training run. Validated when built; equal to its JSON.

    The first group are the documented settings with their documented defaults. The second group
    raises quality; each is a switch of its own with its own weights. The third says where the run
    happens and never changes its result.
    """

    connector: AnyConnector
    """Where tables are read from and predictions are written to."""
    device: Device
    """Where the model trains and predicts. "cuda" needs a GPU and says so at once without one."""
    n_epochs: Positive
    """Passes over the training rows."""
    seed: int = 42
    """Same seed, same data, same result, on any number of workers."""
    max_iters: Positive | None = None
    """Batches per epoch. None: all of them."""
    train_batch_size: Positive = 128
    """Seed rows per optimiser step, over all workers together."""
    val_batch_size: Positive = 128
    """Seed rows per validation batch, over all workers together."""
    eval_every: Positive = 1
    """Epochs between validations."""
    patience: Positive = 5
    """Validations without improvement after which training stops."""
    lr: Annotated[FiniteFloat, Field(gt=0.0)] = 0.001
    """Learning rate at the start of the cosine."""
    T_max: Positive | None = None
    """Epochs the cosine takes to reach `eta_min`. None: `n_epochs`."""
    eta_min: Annotated[FiniteFloat, Field(ge=0.0)] = 1e-8
    """Learning rate at the end of the cosine."""
    label_smoothing: bool = False
    """Whether classification targets are softened by `label_smoothing_alpha`."""
    label_smoothing_alpha: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Share of the target spread evenly over the classes."""
    clamp_min: FiniteFloat | None = 0.0
    """Regression predictions below this are raised to it. None: no lower bound."""
    clamp_max: FiniteFloat | None = 100.0
    """Regression predictions above this are lowered to it. None: no upper bound."""
    clamp: Literal["auto"] | None = None
    """"auto" clamps regression predictions to the 2nd and 98th percentile of the training labels,
    in place of `clamp_min` and `clamp_max`. None: those two."""
    class_weights: ClassWeights | None = None
    """How much the rows of each class count in the training loss; metrics and the validation loss
    never know. "balanced": the rarer the more, 1 on average. A dict: class, as text, to weight; 1
    for those it does not name. For multilabel tasks the weight is that of a label that is there."""
    channels: Positive = 128
    """Width of encoders, layers and head."""
    strict_receptive_field: bool = True
    """Whether a repeated link task whose layers do not span the schema is refused. What a source
    has met is read exactly at any depth, so False, a warning, costs little."""
    gnn_layers: Positive | None = None
    """Message-passing layers. None: one per fanout. At most one per fanout."""
    fanouts: tuple[Positive, ...] = (128, 64)
    """Neighbours kept per relation, nearest hop first. Its length is the depth of the trees."""
    conv_aggregation: Aggregation = "mean"
    """How the neighbours of one relation are pooled."""
    hetero_conv_aggregation: Aggregation = "sum"
    """How the pooled messages of several relations are pooled."""
    gnn_norm: Literal["batch_norm", "layer_norm", "instance_norm"] = "layer_norm"
    """Normalisation after each layer. instance_norm is over the nodes of one tree at one depth, so
    what all of them share is lost."""
    head_layers: Positive = 1
    """Linear layers of the prediction head."""
    head_norm: Literal["batch_norm", "layer_norm"] = "batch_norm"
    """Normalisation in the prediction head."""
    use_temporal_encoder: bool = True
    """Whether a node knows how long before its seed's time its row happened."""
    temporal_strategy: Literal["uniform", "last"] = "uniform"
    """Which visible neighbours are kept when there are more than the fanout: a uniform draw
    without replacement, or the most recent."""
    time_window: Window | None = None
    """How long before a prediction's time rows are visible, at any hop: a timedelta, or text such
    as "P365D". Older rows are as if they were not there, but for the entity's own. None: no
    limit."""
    num_negative: Positive = 10
    """Negatives per source, link prediction only."""
    negative_sampling_strategy: Literal["random", "degree_based"] = "random"
    """How negatives are drawn, link prediction only."""
    popularity_prior: bool = True
    """Whether destinations are told their shares of all events and of all first meetings up to the
    moment, which a model begins to rank by; link prediction only."""
    text_embedder: str = "model2vec-potion-base-4M"
    """A known embedder's name, or a path to a local model2vec or transformers folder."""
    id_awareness: bool = False
    """Whether the nodes of a tree that are its own seed row are marked by a learnt vector; in a
    link task those of the source's tree."""
    shallow_embeddings_list: tuple[str, ...] = ()
    """Tables whose rows get a learnt vector each, kept by key; rows that training did not see have
    none."""

    weight_decay: Annotated[FiniteFloat, Field(ge=0.0)] = 0.5
    """Decay of the weights per step, times the learning rate, apart from the gradient (AdamW)."""
    warmup: Share = 0.05
    """Share of the cosine over which the learning rate rises from 0."""
    newest_children: Annotated[int, Field(ge=0, le=8)] = 2
    """How many of the newest moments of each relation get weights of their own: the sum over the
    visible neighbours of the newest moment, of the one before it, and so on. 0: off."""
    sum_beside_mean: bool = True
    """Whether the sum of a relation's messages is given beside `conv_aggregation`."""
    count_features: bool = True
    """Whether a node knows how many rows of each relation are visible and how old the newest is."""
    count_windows_h: tuple[Hours, ...] = (1.0, 3.0, 6.0, 24.0, 168.0, 720.0, 8760.0)
    """Hours before the seed's time within which `count_features` counts too, ascending. Empty: only
    all that is visible is counted."""
    due_features: bool = True
    """Whether the counts within `count_windows_h` of an inherited link are compared with how many
    rows there should be by now, given how long they usually take: flights due against flights
    departed."""
    backtrack: bool = False
    """Whether a row reached through a foreign key follows that key back to where it came from."""
    age_features: bool = True
    """Whether datetime columns enter as seed time minus value."""
    calendar_features: bool = False
    """Whether datetime columns also enter as month, weekday, day and hour. Worth trying where these
    mean something; a birthday mostly tells rows apart. Always on where nothing has a time."""
    drop_clocks: bool = True
    """Whether number columns that only follow the row's time, such as a year, and the year of
    dates are left out. Their future values are all new; ages say the same and are known."""
    inherit_links: bool = True
    """Whether tables that extend another, row for row, get its links too, in their own time order:
    departures extend flights, so an airport's newest departures are known."""
    dropout: Share = 0.2
    """Dropout in the head, the same on any number of workers."""
    node_dropout: Share = 0.1
    """Dropout on every encoded row, the same on any number of workers."""
    category_dropout: Share = 0.2
    """Share of category values that a training step takes for unknown, so that the vector of
    unknown values is trained too."""
    head_shortcut: bool = True
    """Whether a linear model of the root's states, zero at first, is added to the head."""
    min_category_count: Positive = 10
    """Categories seen less often in training-visible rows share one vector."""
    max_categories: Positive = 2000
    """Largest vocabulary of a category column; rarer values share one vector."""
    ema_decay: Share | None = 0.99
    """Decay per step of the averaged weights that are validated and kept. None: off."""
    evals_per_epoch: Positive = 1
    """Validations within an epoch, evenly spaced, when `eval_every` is 1."""

    num_workers: Annotated[int, Field(ge=0)] = 1
    """Training processes. 0: in this process, without Ray Train."""
    cpus_per_worker: Annotated[FiniteFloat, Field(gt=0.0)] = 1.0
    """CPU cores reserved per worker."""
    gpus_per_worker: Annotated[FiniteFloat, Field(ge=0.0)] | None = None
    """GPUs reserved per worker. None: one with device="cuda", none with "cpu"."""
    sampler_workers: Annotated[int, Field(ge=0)] = 1
    """Threads per training process that sample ahead. 0: sample in the training thread."""
    checkpoint_every: Positive = 1
    """Epochs between checkpoints that a restart continues from."""
    max_failures: Annotated[int, Field(ge=-1)] = 0
    """Lost workers or nodes a run survives. -1: any number."""

    @model_validator(mode="after")
    def _check_windows(self) -> Self:
        if any(a >= b for a, b in pairwise(self.count_windows_h)):
            raise ValidationError(
                f"TrainerConfig.count_windows_h is {list(self.count_windows_h)}; give hours in "
                "ascending order, each once, such as [24, 168], or [] for none."
            )
        return self

    @model_validator(mode="after")
    def _check_fields_together(self) -> Self:
        if not self.fanouts:
            raise ValidationError(
                "TrainerConfig.fanouts is empty; give one number per hop, such as [32, 8]."
            )
        if self.gnn_layers is not None and self.gnn_layers > len(self.fanouts):
            raise ValidationError(
                f"TrainerConfig.gnn_layers is {self.gnn_layers} but fanouts has "
                f"{len(self.fanouts)} hops; lower gnn_layers or give {self.gnn_layers} fanouts."
            )
        if (
            self.clamp_min is not None
            and self.clamp_max is not None
            and self.clamp_min >= self.clamp_max
        ):
            raise ValidationError(
                f"TrainerConfig.clamp_min ({self.clamp_min}) must be below clamp_max "
                f"({self.clamp_max}); None switches a bound off."
            )
        self._check_clamp()
        if self.num_workers > self.train_batch_size:
            raise ValidationError(
                f"TrainerConfig.num_workers ({self.num_workers}) exceeds train_batch_size "
                f"({self.train_batch_size}); every worker needs a row per step."
            )
        return self

    def _check_clamp(self) -> None:
        for name in ("clamp_min", "clamp_max") if self.clamp is not None else ():
            given = getattr(self, name)
            if given is not None and given != type(self).model_fields[name].default:
                raise ValidationError(
                    f"TrainerConfig.clamp is {self.clamp!r}, which takes the bounds from the "
                    f"training labels, but {name} is {given}; give one or the other."
                )

    @property
    def num_layers(self) -> int:
        """Message-passing layers: `gnn_layers`, or one per fanout."""
        return self.gnn_layers or len(self.fanouts)

    def check_against(self, dataset: DatasetSpec) -> None:
        """Check the settings that name parts of a dataset.

        Raises:
            UnknownNameError: `shallow_embeddings_list` names a table that is not there.
            ValidationError: It names an edge table, whose rows are no nodes, or a table without
                a key, whose rows could not be found again at prediction; there are class
                weights but no classes, or a time window but no times.
        """
        if self.class_weights is not None and not dataset.task.task_type.is_classification:
            raise ValidationError(
                f"TrainerConfig.class_weights is {self.class_weights!r}, but a "
                f"{dataset.task.task_type.value} task has no classes. Leave it None."
            )
        if self.time_window is not None and dataset.task.time_column is None:
            raise ValidationError(
                f"TrainerConfig.time_window is {self.time_window}, but no table of dataset "
                f"{dataset.name!r} has a time column, so that it would have no effect."
            )
        for name in self.shallow_embeddings_list:
            nodes = [table.name for table in dataset.node_tables]
            if dataset.table(name).type == "edge":
                raise ValidationError(
                    f"TrainerConfig.shallow_embeddings_list names edge table {name!r}; its rows "
                    f"are edges, not nodes. Node tables: {nodes}."
                )
            if not dataset.table(name).key_columns:
                raise ValidationError(
                    f"TrainerConfig.shallow_embeddings_list names table {name!r}, which has no "
                    "key, so its rows could not be found again at prediction. Give it a primary "
                    "key, or leave it out."
                )

    @property
    def time_window_ns(self) -> int | None:
        """`time_window` in nanoseconds; None for no limit."""
        if self.time_window is None:
            return None
        return self.time_window // timedelta(microseconds=1) * 1000

    @property
    def windows(self) -> tuple[int, ...]:
        """`count_windows_h` in nanoseconds; empty where counts are off."""
        if not self.count_features:
            return ()
        return nanoseconds(self.count_windows_h)
