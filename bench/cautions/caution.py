"""The closed set of what can make a figure doubtful, each with its remedy; docs/warnings.md explains them."""

from dataclasses import dataclass
from enum import StrEnum


class Caution(StrEnum):
    """What was seen; a test holds docs/warnings.md against these."""

    CLOCKS_SAGGED = "clocks_sagged"
    CLOCKS_THROTTLED = "clocks_throttled"
    DEVICE_SHARED = "device_shared"
    CORES_BUSY = "cores_busy"
    STEAL = "steal"
    CPU_QUOTA = "cpu_quota"
    PREEMPTED = "preempted"
    AFFINITY_NARROW = "affinity_narrow"
    SPREAD_WIDE = "spread_wide"
    FIRST_OUTLIER = "first_outlier"
    DRIFT = "drift"
    BIMODAL = "bimodal"
    FEW_SAMPLES = "few_samples"
    POWER_SAVING = "power_saving"
    SWAPPED = "swapped"
    PAGE_FAULTS = "page_faults"
    TIMER_COARSE = "timer_coarse"


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One caution about one cell, or about the whole run where `cell` is empty."""

    code: Caution
    cell: str = ""
    round: int | None = None  # the one that shows it most, where it is a round's
    seen: str  # with its figures
    remedy: str  # what to do about it

    @property
    def sentence(self) -> str:
        """What was seen and what to do, without a full stop."""
        return f"{self.seen}: {self.remedy}"

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence}"
