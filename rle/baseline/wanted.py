"""Whether the baseline that is asked for can be had at all; loads no torch, so laptops check it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rle.errors import ValidationError
from rle.spec.task import LinkTaskSpec

if TYPE_CHECKING:
    from rle.spec.dataset import DatasetSpec


def check_wanted(spec: DatasetSpec, *, baseline: bool, stack: bool) -> None:
    """Raise ValidationError where an option is no bool, or a link task is to be stacked."""
    for name, value in (("baseline", baseline), ("stack", stack)):
        if not isinstance(value, bool):
            raise ValidationError(f"{name} must be True or False, not {value!r}.")
    if stack and isinstance(spec.task, LinkTaskSpec):
        raise ValidationError(
            f"stack=True is for node tasks; {spec.task.name!r} is a "
            f"{spec.task.task_type.value} task. baseline=True ranks by past visits and "
            "popularity beside it."
        )
