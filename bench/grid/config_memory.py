"""YAML settings for where a backend keeps waiting data during a call. Pure."""

from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from bench.grid.config_base import MAX_AXIS_VALUE, AxisValue, MediaPath, Strict
from bench.grid.config_errors import field_error
from vsr_model.errors import nearest

if TYPE_CHECKING:
    from vsr_model.memory_plan import MemoryPlan

Place = Literal["device", "host", "disk"]
ROOT: Final = "root"
Name = Literal["device", "host", "disk", "recompute"]
NAMES: Final[tuple[str, ...]] = get_args(Name)


def _whole_or_root(value: Any) -> Any:
    if value == ROOT:
        return value
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_AXIS_VALUE:
        raise ValueError(f"should be a whole number from 1 to {MAX_AXIS_VALUE:,}, or {ROOT}, not {value!r}")
    return value


class MemoryPlanSpec(Strict):
    """How a call's memory is bounded (docs/upscale.md). Given by its name alone: `device`, `host`, `disk`, or
    `recompute`, which is {place: device, interval: root}."""

    place: Place = "device"
    """Where backward features wait: on the device, in host memory, or in a file."""
    interval: Annotated[
        int | Literal["root"],
        BeforeValidator(
            _whole_or_root,
            json_schema_input_type=Annotated[int, Field(ge=1, le=MAX_AXIS_VALUE)] | Literal["root"],
        ),
    ] = 1
    """Of one frame in so many they are kept, and computed a second time between; `root`: about the root of
    the cell's frames, with which the fewest are held."""
    chunk: AxisValue = 8
    """For how many pairs of neighbouring frames flow is estimated at once, at most."""
    folder: MediaPath | None = None
    """For the file of `disk`, relative to this YAML's folder; the run's own folder where it is not given."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.folder is not None and self.place != "disk":
            raise field_error("folder", f"is for place: disk alone, and place is {self.place}; leave it out")
        return self

    def of_clip(self, frames: int, folder: Path = Path()) -> "MemoryPlan":
        """Return the plan of a clip with so many frames; `folder` is for the disk if none is given here."""
        # A revision of the network that is measured by this program may have no plans yet.
        from vsr_model.memory_plan import MemoryPlan  # noqa: PLC0415

        return MemoryPlan(
            place=self.place,
            interval=isqrt(max(frames - 1, 0)) + 1 if isinstance(self.interval, str) else self.interval,
            chunk=self.chunk,
            folder=Path(self.folder or folder) if self.place == "disk" else None,
        )


def written_out(value: Any) -> Any:
    """Return a plan that is only named as the mapping that it stands for."""
    if value is None or isinstance(value, dict | MemoryPlanSpec):
        return value
    if value == "recompute":
        return {"place": "device", "interval": ROOT}
    if value in get_args(Place):
        return {"place": value}
    hint = nearest(value, NAMES) if isinstance(value, str) else ""
    raise ValueError(
        f"should be {', '.join(NAMES[:-1])} or {NAMES[-1]}, or a mapping such as "
        f"{{place: disk, interval: 4}}, not {value!r}{hint}"
    )
