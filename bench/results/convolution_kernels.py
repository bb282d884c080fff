"""The algorithm of a convolution on an NVIDIA GPU, from the name of its kernel. Pure.

Names are not documented. These rules are of those that cuDNN 7 to 9, CUTLASS, cuFFT, cuBLAS, torch's own CUDA
kernels and torch.compile's give theirs; what they do not know is `other`.
"""

import re
from enum import StrEnum
from typing import Final


class Algorithm(StrEnum):
    """The convolution algorithm that a kernel's name indicates."""

    IMPLICIT_GEMM = "implicit_gemm"  # a matrix product whose one factor is gathered while it is multiplied
    EXPLICIT_GEMM = "explicit_gemm"  # neighbourhoods written out as a matrix, and any plain matrix product
    WINOGRAD = "winograd"
    FFT = "fft"
    DIRECT = "direct"
    OTHER = "other"  # no convolution, or one whose algorithm the name does not tell


_RULES: Final = tuple(
    (algorithm, re.compile(pattern, re.IGNORECASE))
    for algorithm, pattern in (
        # Fused by torch.compile: called after the operators whose results they go on with.
        (Algorithm.OTHER, r"^triton_(poi|red|per|for)_"),
        (Algorithm.IMPLICIT_GEMM, r"^triton_tem_\w*conv"),
        (Algorithm.WINOGRAD, r"winograd"),
        # Spectra are multiplied by complex matrix products.
        (Algorithm.FFT, r"fft|flip_filter|cgemm"),
        # Forward convolutions are called fprop; those before them scudnn, h884cudnn, s1688cudnn and so on.
        (Algorithm.IMPLICIT_GEMM, r"implicit|precomputed|fprop|[shi]\d*cudnn_"),
        (Algorithm.EXPLICIT_GEMM, r"im2col|vol2col|explicit_convolve|gemm|nvjet|splitKreduce"),
        (Algorithm.DIRECT, r"convolve|convolution|conv_?2d|depthwise"),
    )
)


def algorithm_of(kernel: str) -> Algorithm:
    """Return the algorithm that a kernel's name indicates."""
    return next((algorithm for algorithm, rule in _RULES if rule.search(kernel)), Algorithm.OTHER)
