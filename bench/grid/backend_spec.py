"""A backend: a named, frozen set of device, library and precision settings. No torch.

bench.measure.backends applies one; here they are defined, derived from each other and checked.
"""

from dataclasses import dataclass, fields, replace
from typing import Final

from bench.grid.config_backend import BackendSpec
from bench.grid.config_memory import MemoryPlanSpec


@dataclass(frozen=True, kw_only=True)
class Backend:
    """Settings under which a cell runs; None leaves PyTorch's choice."""

    name: str
    device: str  # cpu, cuda or cuda:<index>
    cudnn_enabled: bool | None = None
    cudnn_benchmark: bool | None = None  # cuDNN times its algorithms at every new shape and keeps the best
    dtype: str = "float32"
    fp32_precision: str = "ieee"
    memory_format: str = "contiguous"
    compile: bool = False
    convolution: str = "library"
    schedule: str = "sequential"
    cuda_graph: bool = False
    transfer: str = "pageable"
    threads: int | None = None
    processes: int = 1  # that the clips of a call are divided over; with one, it is the worker
    memory_plan: MemoryPlanSpec | None = None  # None: the plain network, whole clips in one call
    min_psnr_db: float = 80.0

    @property
    def is_cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def locks_pages(self) -> bool:
        """True if clips and outputs lie in page-locked host memory."""
        return self.transfer != "pageable"

    @property
    def overlaps_transfers(self) -> bool:
        """True if clips and outputs are transferred while others are computed."""
        return self.transfer == "overlapped"

    @property
    def has_narrow_features(self) -> bool:
        """True if features are narrower than float32; the winograd kernel narrows only its factors."""
        return self.dtype != "float32" and self.convolution != "winograd"

    @property
    def features_format(self) -> str:
        """Memory format of features; the winograd kernel has only one, whichever is configured."""
        return "channels_last" if self.convolution == "winograd" else self.memory_format

    @property
    def stages_overlap(self) -> bool:
        """True if its stages run at the same time, so that no probe can time them separately."""
        return self.schedule == "pipelined"

    @property
    def no_stages(self) -> str | None:
        """Reason why its calls have no stage times, or None."""
        if self.is_divided:
            return "no stage times: each of the processes has its own, and they make no one figure"
        if self.cuda_graph:
            return "no stage times: one graph replays the whole call"
        if self.stages_overlap:
            return (
                "no stage times: by schedule: pipelined a frame is upsampled while the next one propagates. "
                "Stages overlap, and a probe that waits at their boundaries times another schedule"
            )
        return None

    @property
    def is_divided(self) -> bool:
        """True if its clips are divided over processes that run at the same time."""
        return self.processes > 1

    @property
    def is_reference(self) -> bool:
        """True if its output is the CPU float32 result that the others are checked against."""
        plain = replace(CPU, name=self.name, min_psnr_db=self.min_psnr_db)
        return self == plain


CPU: Final = Backend(name="cpu", device="cpu")

BUILT_IN: Final = {
    backend.name: backend
    for backend in (
        CPU,
        Backend(name="cuda", device="cuda", cudnn_enabled=False, cudnn_benchmark=False),
        Backend(name="cudnn", device="cuda", cudnn_enabled=True, cudnn_benchmark=False),
        Backend(name="cudnn_autotune", device="cuda", cudnn_enabled=True, cudnn_benchmark=True),
    )
}

DEFAULT_MIN_PSNR_DB: Final = {"ieee": 80.0, "tf32": 60.0, "bfloat16": 45.0, "float16": 60.0}
"""With a peak of 1.0. Full float32 on another device differs from the CPU by rounding alone (above 100 dB);
tf32 and float16 keep 10 mantissa bits and give 70 to 76 dB at 48x64 to 64x64, bfloat16 7 bits and 50 to 54.
Warp coordinates that drop to bfloat16, a common fault, give 39 dB, and are to be found out."""


def resolve(spec: BackendSpec) -> Backend:
    """Return the backend of a YAML entry; bench.grid.config has checked that its fields agree."""
    backend = BUILT_IN[spec.from_ or spec.name]
    given = {
        field.name: value
        for field in fields(Backend)
        if (value := getattr(spec, field.name, None)) is not None
    }
    backend = replace(backend, **given)
    kind = backend.fp32_precision if backend.dtype == "float32" else backend.dtype
    return replace(backend, min_psnr_db=spec.min_psnr_db or DEFAULT_MIN_PSNR_DB[kind])
