"""Where this program lies."""

from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).resolve().parent
"""The folder of this package."""

ROOT: Final = PACKAGE.parent
"""What `bench` and `vsr_model` are imported from: a clone, or a folder of installed packages."""
