"""Environment variables that change what is computed or how fast, and which of them workers get. Pure.

A variable that a shell profile, a job script or a container image sets can overrule what a backend claims:
the precision of oneDNN, whether torch.compile compiles, the number of threads, the allocator. Of the families
below workers get only what chooses devices, libraries and folders; the rest is dropped, and recorded.
"""

import re
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, Final

FAMILIES: Final[Mapping[str, tuple[str, ...]]] = {
    "torch": (
        "TORCH", "PYTORCH_", "ATEN_", "C10_", "CAFFE2_", "LRU_CACHE_CAPACITY", "KINETO_", "FR_TRACE_",
        "ENABLE_PYTORCH_", "DISABLE_CUPTI_LAZY_REINIT", "TEARDOWN_CUPTI",
    ),
    "torch's compiler": (
        "AOT_", "AOTI_", "AOTINDUCTOR_", "INDUCTOR_", "FUNCTORCH_", "TRITON_", "PARTITIONER_", "FX_GRAPH_",
        "TENSORIFY_", "CUTLASS_", "CUTEDSL_", "ENABLE_TMA_", "ENABLE_TEMPLATE_", "ENABLE_PERSISTENT_",
        "COMPILE_STROBELIGHT_", "QUACK_", "PT2_",
    ),
    "OpenMP": ("OMP_", "GOMP_", "KMP_", "LIBOMP"),
    "oneDNN": ("DNNL_", "ONEDNN_", "MKLDNN_"),
    "MKL and other BLAS": ("MKL_", "OPENBLAS_", "GOTO_NUM_THREADS", "BLIS_", "VECLIB_",
                          "NUMEXPR_", "XNNPACK_"),
    "CUDA": ("CUDA_", "NVIDIA_", "CUBLAS", "CUSPARSE", "CUFFT", "CUSOLVER", "NVRTC_", "NVJITLINK_"),
    "cuDNN": ("CUDNN_",),
    "groups of processes": ("NCCL_", "GLOO_"),
    "the allocator and the loader": (
        "MALLOC_", "GLIBC_TUNABLES", "TCMALLOC_", "MIMALLOC_", "LD_", "PYTHONMALLOC", "PYTHONDEVMODE",
        "PYTHONTRACEMALLOC",
    ),
}  # fmt: skip
"""Families of variables, by what their names begin with."""

_ALL: Final = tuple(prefix for prefixes in FAMILIES.values() for prefix in prefixes)

CHOOSES: Final = re.compile(
    r"""
    CUDA_VISIBLE_DEVICES | CUDA_DEVICE_ORDER | NVIDIA_VISIBLE_DEVICES | NVIDIA_DRIVER_CAPABILITIES
    | CUDA_MPS_(PIPE|LOG)_DIRECTORY
    | NVIDIA_REQUIRE_\w+ | \w+_VERSION      # marks of images: nothing reads them once they run
    | (CUDA|CUDNN|MKL|NCCL|CUBLAS|TORCH|OPENBLAS|NVIDIA)_(HOME|ROOT|PATH|BIN_PATH|LIBRARY|LIB_DIR|INCLUDE_DIR)
    | TORCH_EXTENSIONS_DIR | TORCH_CUDA_ARCH_LIST
    | LD_LIBRARY_PATH | OPENBLAS_(CORETYPE|L2_SIZE)  # where it cannot find them out, it does not load
    | TRITON_(PTXAS|CUOBJDUMP|NVDISASM|LIBCUDA|LIBDEVICE)\w*_PATH
    """,
    re.VERBOSE,
)
"""Variables of these families that workers get: they choose devices, libraries, compilers and folders."""

SPOILING: Final[Mapping[str, str]] = {
    "LD_PRELOAD": "another library answers in place of the system's, such as its allocator",
    "LD_AUDIT": "another library watches the system's",
    "CUDA_INJECTION64_PATH": "a profiler watches every call of CUDA",
}
"""Variables that workers get although they can change a figure, since some machines cannot do without."""

_SECRET: Final = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")
"""Parts of the names of variables that are not recorded all the same, NVIDIA_API_KEY for one."""


def for_workers(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that workers get of a process's own."""
    return {name: value for name, value in inherited.items() if not is_dropped(name)}


def is_dropped(name: str) -> bool:
    """Return whether workers do not get a variable."""
    return name.startswith(_ALL) and name not in SPOILING and not CHOOSES.fullmatch(name)


def of_families(inherited: Mapping[str, str], *, dropped: bool) -> Iterator[tuple[str, str]]:
    """Yield the variables of the families that workers do not get, or those that they get, by name."""
    for name, value in sorted(inherited.items()):
        if (
            name.startswith(_ALL)
            and is_dropped(name) == dropped
            and not any(word in name for word in _SECRET)
        ):
            yield name, value


def dropped_note(environment: Mapping[str, Any]) -> str | None:
    """Return which variables workers did not get, from an environment.json; None where there were none."""
    if not (names := environment.get("dropped_environment")):
        return None
    return (
        f"set, and not passed on to what is measured: {', '.join(names)} (`vsr-bench env --check` says more)"
    )


def leave_out(own: MutableMapping[str, str]) -> None:
    """Remove from a process's own variables what workers do not get.

    Call it before torch is imported: its libraries read them while they are loaded.
    """
    for name in filter(is_dropped, tuple(own)):
        del own[name]


def for_git(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for git where a folder says which repository is meant.

    A git hook has variables that name another one. Git takes no lock, and asks nobody for a password.
    """
    kept = {name: value for name, value in inherited.items() if name not in _OF_A_REPOSITORY}
    return {**kept, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}


_OF_A_REPOSITORY: Final = frozenset({
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_DIR", "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE",
    "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_QUARANTINE_PATH",
    "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
})  # fmt: skip
"""Those of `git rev-parse --local-env-vars` without settings, and what a push's hook has besides."""
