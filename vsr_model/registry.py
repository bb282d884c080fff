"""The models there are, each with its parameters, its costs and how to build it. Free of torch until then."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final, Protocol

from vsr_model import cost, traffic
from vsr_model.errors import BadInput
from vsr_model.stages import Stage
from vsr_model.traffic import Traffic

if TYPE_CHECKING:
    from torch import nn

ParameterValue = int | str


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A constructor parameter of a model: a whole number from `minimum` on, or one of `choices`."""

    name: str
    description: str
    default: ParameterValue
    minimum: int | None = None
    choices: tuple[str, ...] = ()

    @property
    def type(self) -> type[int] | type[str]:
        """What its values are."""
        return str if self.choices else int

    @property
    def allowed(self) -> str:
        """The allowed values in words, as error messages and help show them."""
        if self.choices:
            return " or ".join(self.choices)
        return f"a whole number of at least {self.minimum}"

    def check(self, value: object) -> ParameterValue:
        """The value itself; raises BadInput if it is not allowed."""
        if isinstance(value, str) and value in self.choices:
            return value
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and self.minimum is not None
            and value >= self.minimum
        ):
            return value
        raise BadInput(f"{self.name} must be {self.allowed}, not {value!r}.")


class StageFlops(Protocol):
    """FLOPs of each stage of one forward pass, 1 MAC = 2 FLOPs; `params` are resolved ones."""

    def __call__(
        self, params: Mapping[str, Any], /, *, batch: int, frames: int, height: int, width: int
    ) -> dict[Stage, int]: ...


class StageTraffic(Protocol):
    """Bytes that each stage of one forward has to move (vsr_model.traffic); `params` are resolved ones."""

    def __call__(
        self,
        params: Mapping[str, Any],
        /,
        *,
        batch: int,
        frames: int,
        height: int,
        width: int,
        bytes_per_element: int = 4,
    ) -> dict[Stage, Traffic]: ...


class PeakBytes(Protocol):
    """Bytes alive at the worst moment of one forward pass; `params` are resolved ones."""

    def __call__(
        self,
        params: Mapping[str, Any],
        /,
        *,
        batch: int,
        frames: int,
        height: int,
        width: int,
        bytes_per_element: int = 4,
    ) -> int: ...


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model: (n, t, 3, h, w) in [0, 1] to (n, t, 3, scale * h, scale * w)."""

    name: str
    description: str
    scale: int
    min_height: int
    min_width: int
    parameters: tuple[Parameter, ...]
    parameter_count: Callable[[Mapping[str, Any]], int]
    stage_flops: StageFlops
    stage_traffic: StageTraffic
    estimate_peak_bytes: PeakBytes
    constructor: Callable[..., "nn.Module"]  # takes the parameters and `seed` by keyword

    def resolve(self, params: Mapping[str, object]) -> dict[str, ParameterValue]:
        """All parameters, defaults filled in; raises BadInput for unknown names and values not allowed."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in params:
            if name not in known:
                raise BadInput(f"{self.name} has no parameter {name!r}; {_instead(name, known)}")
        return {name: known[name].check(params.get(name, known[name].default)) for name in known}

    def build(self, params: Mapping[str, object], seed: int) -> "nn.Module":
        """The model on the CPU in eval mode, float32, weights drawn from `seed`. Imports torch."""
        return self.constructor(**self.resolve(params), seed=seed)


def find_model(name: str) -> ModelEntry:
    """The model of that name; raises BadInput with the nearest right one if there is none."""
    if name not in MODELS:
        raise BadInput(f"There is no model {name!r}; {_instead(name, MODELS)}")
    return MODELS[name]


def _instead(name: str, known: Mapping[str, object]) -> str:
    match get_close_matches(name.lower(), known, n=1):
        case [nearest]:
            return f"did you mean {nearest!r}?"
    return f"there {'is' if len(known) == 1 else 'are'} {', '.join(map(repr, known))}."


def _build_basicvsr(**params: Any) -> "nn.Module":
    from vsr_model.initialise import build_basicvsr  # noqa: PLC0415 - the benchmark's parent must not import torch

    return build_basicvsr(**params)


def _size(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that BasicVSR's cost depends on: either way of resizing convolves as much."""
    return {"mid_channels": params["mid_channels"], "num_blocks": params["num_blocks"]}


MODELS: Final[dict[str, ModelEntry]] = {
    "basicvsr": ModelEntry(
        name="basicvsr",
        description="BasicVSR (Chan et al., CVPR 2021): bidirectional propagation with flow alignment.",
        scale=4,
        min_height=16,
        min_width=16,
        parameters=(
            Parameter(
                name="mid_channels", description="Channels of the propagated features.", default=64, minimum=1
            ),
            Parameter(
                name="num_blocks", description="Residual blocks in each direction.", default=30, minimum=1
            ),
            Parameter(
                name="base_upsample",
                description="How a frame is enlarged before the residual is added.",
                default="bilinear",
                choices=("bilinear", "nearest"),
            ),
            Parameter(
                name="flow_resize",
                description="How frames are brought to the multiples of 32 that flow estimation needs.",
                default="bilinear",
                choices=("bilinear", "nearest"),
            ),
        ),
        parameter_count=lambda params: cost.parameter_count(**_size(params)),
        stage_flops=lambda params, **axes: cost.stage_flops(**_size(params), **axes),
        stage_traffic=lambda params, **axes: traffic.stage_traffic(**_size(params), **axes),
        estimate_peak_bytes=lambda params, **axes: cost.estimate_peak_bytes(**_size(params), **axes),
        constructor=_build_basicvsr,
    ),
}
