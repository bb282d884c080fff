"""Compiles `winograd.cpp` for this machine, once, and loads it.

The library is kept in the user's cache folder under a name that holds what it was made from. If it was built
against the OpenMP runtime that torch has loaded (GCC's is), the two share their threads.
"""

import ctypes
import hashlib
import os
import platform
import shutil
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
    """There is no such library here; the message says why, in a sentence."""


@cache
def library() -> ctypes.CDLL:
    """The compiled library. Raises Unavailable where it cannot be had."""
    compiler = find_compiler()
    path = _folder() / f"winograd-{_fingerprint(compiler)}.so"
    if not path.is_file():
        compile_kernel(compiler, path)
    try:
        return declared(ctypes.CDLL(str(path)))
    except OSError as error:
        raise Unavailable(f"the compiled kernel {path} cannot be loaded ({one_line(str(error))})") from None


@cache
def unavailable() -> str | None:
    """Why the library cannot be had, or None. Compiles it if that has not been done, which takes seconds."""
    try:
        library()
    except Unavailable as reason:
        return str(reason)
    return None


def bfloat16_unavailable() -> str | None:
    """Why the kernel cannot multiply in bfloat16 here, or None."""
    if (reason := unavailable()) is not None:
        return reason
    return None if library().vsr_has_bfloat16() else "no AVX512_BF16: this processor has no bfloat16 products"


def find_compiler() -> str:
    """The C++ compiler that is used: CXX, or the first that is there. Raises Unavailable."""
    wanted = os.environ.get("CXX")
    for name in (wanted,) if wanted else COMPILERS:
        if found := shutil.which(name):
            return found
    what = (
        f"CXX is {one_line(wanted)}, which is no program here"
        if wanted
        else f"none of {', '.join(COMPILERS)}"
    )
    raise Unavailable(f"no C++ compiler ({what})")


def _folder() -> Path:
    """Where compiled libraries are kept: a folder that no one else can write to: what is there is run."""
    cache_home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    tried = cache_home / "vsr-bench", Path(tempfile.gettempdir()) / f"vsr-bench-{os.getuid()}"
    for folder in tried:
        with suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            about = folder.stat()
            is_ours = about.st_uid == os.getuid() and not about.st_mode & 0o022
            if is_ours and os.access(folder, os.W_OK | os.X_OK):
                return folder
    raise Unavailable(
        f"no folder for the compiled kernel: neither {tried[0]} nor {tried[1]} can be written to"
    )


def _fingerprint(compiler: str) -> str:
    """Of all that the compiled code depends on. `-march=native` means others on another processor,
    and a home may be shared by several machines."""
    about = hashlib.sha256(SOURCE.read_bytes())
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False, timeout=TIMEOUT_S)
    for part in (compiler.encode(), version.stdout, " ".join(FLAGS).encode(), _processor().encode()):
        about.update(part + b"\0")
    return about.hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = [line for line in lines if line.startswith(("flags", "Features", "model name", "CPU part"))]
    return "\n".join(sorted(set(told)))


def compile_kernel(compiler: str, path: Path, flags: Sequence[str] = FLAGS) -> None:
    """The library, at `path` whole or not at all. Raises Unavailable for a compiler that cannot make it."""
    with tempfile.TemporaryDirectory(prefix="vsr-bench-", dir=path.parent) as folder:
        built = Path(folder) / path.name
        try:
            done = subprocess.run(
                [compiler, *flags, str(SOURCE), "-o", str(built)],
                capture_output=True, text=True, errors="replace", check=False, timeout=TIMEOUT_S,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable(f"{compiler} cannot be run ({one_line(str(error))})") from None
        if done.returncode != 0:
            said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
            raise Unavailable(f"{compiler} cannot compile the kernel ({one_line(said.strip())[:200]})")
        built.replace(path)  # whole, whoever else compiles it at the same time


def declared(library: ctypes.CDLL) -> ctypes.CDLL:
    """The library with the types of its functions."""
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    library.vsr_transform_weights.argtypes = [
        pointer, integer, integer, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32, pointer, ctypes.c_int32,
    ]  # fmt: skip
    library.vsr_transform_weights.restype = ctypes.c_int
    library.vsr_has_bfloat16.restype = ctypes.c_int
    library.vsr_convolve.argtypes = [pointer, integer, ctypes.c_int32]
    library.vsr_convolve.restype = None
    return library
