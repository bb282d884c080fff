"""The machine of the course paper as the paper describes it, in the shape of an environment.json.

From its section 4.1 and its figures 7 (/proc/cpuinfo) and 8 (nvidia-smi). What it does not say is left out,
and not guessed.
"""

from typing import Any, Final

_GPUS: Final = 4
_GPU_BYTES: Final = 11441 * 2**20
"""As nvidia-smi shows it: one of the two halves of a Tesla K80 board."""

SOURCE: Final[dict[str, str]] = {
    "title": "基于 CUDA、cuDNN 加速的 BasicVSR 视频超分设计",
    "title_english": "BasicVSR design based on CUDA and cuDNN acceleration",
    "kind": "course paper: published measurements, entered here as they stand there",
    "course": "高性能地理计算 (High-Performance Geocomputation), Wuhan University",
    "year": "2022-2023, first semester",
    "repository": "https://github.com/gorgeousmwz/BasicVSR-based-on-CUDA-and-cuDNN",
    "gpu_used": "one of the four, in most cases the third, and a part of its memory",
    "notes": "CITATION.md beside this file",
}

ENVIRONMENT: Final[dict[str, Any]] = {
    "source": SOURCE,
    "python": "3.7.13",
    "os": "Linux",
    "cpu": "Intel(R) Xeon(R) CPU E5-2637 v4 @ 3.50GHz",
    # Figure 7 is of the last processor: number 15 on socket 1, of 8 siblings on 4 cores.
    "cpu_physical_cores": 8,
    "cpu_logical_cores": 16,
    "cpu_caches": {"L3": "15360K"},
    "cpu_microcode": "0xb000040",
    "cpu_smt": True,
    "packages": {"torch": "1.10.1", "torchvision": "0.11.2", "cudatoolkit": "11.3.1"},
    "torch": {
        "torch": "1.10.1",
        "torch_cuda": "11.3",
        "devices": [{"name": "Tesla K80"} for _ in range(_GPUS)],
    },
    "nvidia_driver": "470.141.03",
    "nvidia_driver_cuda_max": "11.4",
    "nvidia_gpus": [
        {
            "name": "Tesla K80",
            "memory_bytes": _GPU_BYTES,
            "power_limit_w": 149.0,
            "persistence_mode": False,
            "ecc": False,
        }
        for _ in range(_GPUS)
    ],
    "workers_environment": {},
}
