"""The configurations that come with the program: beside the package in a clone, inside it in a wheel."""

from pathlib import Path
from typing import Final

from bench.places import PACKAGE, ROOT
from vsr_model.errors import BadInput, nearest

_FOLDERS: Final = (PACKAGE / "configs", ROOT / "configs")


def folder() -> Path:
    """Return the folder of the presets. Raises FileNotFoundError for a broken installation."""
    for candidate in _FOLDERS:
        if (candidate / "quickstart.yaml").is_file():
            return candidate
    raise FileNotFoundError(f"no presets at {' or '.join(map(str, _FOLDERS))}")


def names() -> list[str]:
    """Return the names of the presets, such as quickstart and paper/frames."""
    root = folder()
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def find(config: str) -> Path:
    """Return the file of a command's CONFIG: a path, or the name of a preset. Raises BadInput for neither."""
    path = Path(config)
    if path.suffix or path.is_file():
        return path
    if config in names():
        return folder() / f"{config}.yaml"
    raise BadInput(
        f"{config}: neither a file nor a preset{nearest(config, names())}; presets are {', '.join(names())}"
    )
