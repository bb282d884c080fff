"""Build of `winograd.cpp` for this machine, done once.

The library is kept in the user's cache folder under a name that holds what it was made from. If it was built
against the OpenMP runtime that torch has loaded (GCC's is), the two share their threads.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

import torch  # noqa: F401 - has to load its OpenMP runtime before the library looks for one

from vsr_model.one_line import one_line

SOURCE: Final = Path(__file__).with_name("winograd.cpp")
FLAGS: Final = (
    "-std=c++17", "-O3", "-march=native", "-ffp-contract=fast", "-fno-math-errno", "-fopenmp", "-shared",
    "-fPIC",
)  # fmt: skip
COMPILERS: Final = ("c++", "g++", "clang++")
TIMEOUT_S: Final = 300.0


class Unavailable(Exception):  # noqa: N818 - no error: there is another way to compute
    """The library cannot be had here; the message gives the reason."""


@cache
def library() -> ctypes.CDLL:
    """Return the library, compiled if need be, from the first folder that it can be kept in and loaded from.

    Raises Unavailable where it cannot be had.
    """
    reasons = []
    try:
        name = f"winograd-{_fingerprint()}.so"
        for path in (folder / name for folder in _folders()):
            try:
                if not path.is_file():
                    compile_kernel(find_compiler(), path)
                return declared(ctypes.CDLL(str(path)))
            except OSError as error:  # on some homes nothing may be run
                reasons.append(f"{path} cannot be made or loaded ({one_line(str(error))})")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        raise Unavailable(f"the kernel cannot be made here ({one_line(str(error))})") from None
    raise Unavailable("; ".join(reasons) or "there is no folder to keep the compiled kernel in")


@cache
def unavailable() -> str | None:
    """Return why the library cannot be had, or None. The first call may compile it, which takes seconds."""
    try:
        library()
    except Unavailable as reason:
        return str(reason)
    return None


def bfloat16_unavailable() -> str | None:
    """Return why the kernel cannot multiply in bfloat16 here, or None."""
    if (reason := unavailable()) is not None:
        return reason
    return None if library().vsr_has_bfloat16() else "no AVX512_BF16: this processor has no bfloat16 products"


def find_compiler() -> list[str]:
    """Return the C++ compiler with its own arguments: CXX, or the first of `COMPILERS` that is there.

    Raises Unavailable where there is none.
    """
    wanted = os.environ.get("CXX")
    try:
        candidates = [shlex.split(wanted)] if wanted else [[name] for name in COMPILERS]
    except ValueError as error:
        raise Unavailable(f"no C++ compiler (CXX is {one_line(wanted or '')}: {error})") from None
    for name, *arguments in filter(None, candidates):
        if found := shutil.which(name):
            return [found, *arguments]
    what = (
        f"CXX is {one_line(wanted)}, which is no program here"
        if wanted
        else f"none of {', '.join(COMPILERS)}"
    )
    raise Unavailable(f"no C++ compiler ({what}); `apt install g++` brings one")


def _folders() -> list[Path]:
    """Return folders for compiled libraries, best first. Nobody else may write there, since they are run."""
    wanted = [Path(tempfile.gettempdir()) / f"vsr-bench-{os.getuid()}"]
    with suppress(RuntimeError):  # a user without a home
        cache_home = os.environ.get("XDG_CACHE_HOME")
        wanted.insert(0, (Path(cache_home) if cache_home else Path.home() / ".cache") / "vsr-bench")
    return [folder for folder in wanted if _is_ours(folder)]


def _is_ours(folder: Path) -> bool:
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = folder.lstat()  # a link may lead elsewhere by the time that the library is loaded
        kept_to_us = about.st_uid == os.getuid() and not about.st_mode & 0o022
        return stat.S_ISDIR(about.st_mode) and kept_to_us and os.access(folder, os.W_OK | os.X_OK)
    return False


def _fingerprint() -> str:
    """Return a hash of what the compiled code depends on.

    `-march=native` differs by processor, and a home may be shared by machines. The compiler does not matter.
    """
    about = hashlib.sha256(SOURCE.read_bytes())
    for part in (" ".join(FLAGS), os.environ.get("CXX", ""), _processor()):
        about.update(part.encode() + b"\0")
    return about.hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    kinds = ("flags", "Features", "model name", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(kinds)}))


def compile_kernel(compiler: Sequence[str], path: Path, flags: Sequence[str] = FLAGS) -> None:
    """Compile the library to `path`, whole or not at all.

    Raises Unavailable for a compiler that cannot make it, OSError where it cannot be kept.
    """
    with tempfile.TemporaryDirectory(prefix="vsr-bench-", dir=path.parent) as folder:
        built = Path(folder) / path.name
        try:
            done = subprocess.run(
                [*compiler, *flags, str(SOURCE), "-o", str(built)],
                capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_S,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{compiler[0]} cannot be run ({one_line(str(error))})") from None
        if done.returncode != 0:
            message = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
            raise Unavailable(f"{compiler[0]} cannot compile the kernel ({one_line(message.strip())[:200]})")
        built.replace(path)  # whole, also if another process compiles it at the same time


def declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """Declare the types of the library's functions, and return it."""
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    library.vsr_transform_weights.argtypes = [
        pointer, integer, integer, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32, pointer, ctypes.c_int32,
    ]  # fmt: skip
    library.vsr_transform_weights.restype = ctypes.c_int
    library.vsr_has_bfloat16.restype = ctypes.c_int
    library.vsr_convolve.argtypes = [pointer, integer, ctypes.c_int32]
    library.vsr_convolve.restype = ctypes.c_int
    return library
