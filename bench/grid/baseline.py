"""The baseline that speedups compare with. Pure."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A backend that each network is compared with on itself, or one network's backend for all networks."""

    model: str | None = None
    backend: str

    @classmethod
    def of(cls, text: str) -> Self:
        """Read `backend` or `model/backend`; the name of neither can hold a slash."""
        model, _, backend = text.rpartition("/")
        return cls(model=model or None, backend=backend)

    def __str__(self) -> str:
        return self.backend if self.model is None else f"{self.model}/{self.backend}"

    def matches(self, model: str, backend: str) -> bool:
        """Return whether speedups are over this backend of this network."""
        return backend == self.backend and model == self.model_for(model)

    def model_for(self, model: str) -> str:
        """Return the network that a network is compared with."""
        return model if self.model is None else self.model
