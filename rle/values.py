"""The frozen value base and the small enums that every layer shares."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self

import pydantic

from rle.errors import UnknownNameError, ValidationError


class Value(pydantic.BaseModel):
    """A frozen pydantic model, equal to its JSON; what crosses a process or a file is one.

    Raises `rle.errors.ValidationError` (never pydantic's own) for bad or unknown fields.
    """

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True
    )

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except pydantic.ValidationError as error:
            raise explain(type(self), error) from None

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse JSON text into this value; raises ValidationError that names the field."""
        try:
            return cls.model_validate_json(text)
        except pydantic.ValidationError as error:
            raise explain(cls, error) from None

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the JSON this value equals."""
        return self.model_dump_json(indent=indent)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, validated again."""
        return type(self)(
            **{name: getattr(self, name) for name in type(self).model_fields} | changes
        )


def explain(cls: type[pydantic.BaseModel], error: pydantic.ValidationError) -> ValidationError:
    """Turn pydantic's report into one sentence per bad field, with the nearest known name.

    A single error of ours comes back as it is, so that its class still says what was wrong.
    """
    lines: list[str] = []
    items = error.errors(include_url=False)
    for item in items:
        where = ".".join(str(part) for part in item["loc"]) or cls.__name__
        if item["type"] == "extra_forbidden":
            lines.append(str(UnknownNameError(f"field of {cls.__name__}", where, cls.model_fields)))
            continue
        cause = item.get("ctx", {}).get("error")
        if isinstance(cause, ValidationError):
            if len(items) == 1:
                return cause
            lines.append(str(cause))
            continue
        message = item["msg"].removeprefix("Value error, ")
        got = "" if item["type"] == "missing" else f" (got {item['input']!r:.200})"
        lines.append(f"{cls.__name__}.{where}: {message}{got}.")
    return ValidationError("\n".join(lines))


class ColumnDType(StrEnum):
    """How a column is read and encoded. `ColumnDType("text")` equals `ColumnDType.text_t`."""

    text_t = "text"
    """Free-form text, encoded by the text embedder."""
    integer_t = "integer"
    """Whole numbers, encoded as numbers (not as ids)."""
    float_t = "float"
    """Numbers."""
    category_t = "category"
    """One discrete value, encoded by an embedding table."""
    multi_category_t = "multi_categorical"
    """A list of discrete values."""
    embedding_t = "embedding"
    """A vector; every row has the same length."""
    datetime_t = "datetime"
    """A date or a timestamp. Time columns must be of this dtype."""

    @classmethod
    def _missing_(cls, value: object) -> ColumnDType | None:
        aliases = {m.name: m for m in cls} | {"multi_category": cls.multi_category_t}
        return aliases.get(str(value).lower()) or cls._value2member_map_.get(str(value).lower())  # type: ignore[return-value]


class TaskType(StrEnum):
    """What is predicted."""

    REGRESSION = "regression"
    BINARY_CLASSIFICATION = "binary_classification"
    MULTICLASS_CLASSIFICATION = "multiclass_classification"
    MULTILABEL_CLASSIFICATION = "multilabel_classification"
    LINK_PREDICTION = "link_prediction"
    REPEATED_LINK_PREDICTION = "repeated_link_prediction"

    @property
    def is_link(self) -> bool:
        """Whether the target is a list of entities rather than a value."""
        return self in (TaskType.LINK_PREDICTION, TaskType.REPEATED_LINK_PREDICTION)

    @property
    def is_classification(self) -> bool:
        """Whether the target is one or several of a set of classes."""
        return not self.is_link and self is not TaskType.REGRESSION


class Split(StrEnum):
    """Which part of a task's rows."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
