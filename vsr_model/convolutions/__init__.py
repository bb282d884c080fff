"""Replacements for `nn.Conv2d` that compute in another way than the library.

`im2col` multiplies matrices, `fft` multiplies spectra, and `winograd` is a compiled kernel for CPUs. A
replacement has the parameters of the module whose place it takes, under the same names.
"""

from typing import Literal, TypeAlias

from torch import nn

from vsr_model.convolutions.fft import FftConv2d
from vsr_model.convolutions.im2col import Im2colConv2d
from vsr_model.convolutions.same_size import CPU_BAND_BYTES, DEVICE_BAND_BYTES, SameSizeConv2d, keeps_size
from vsr_model.network import title_of

Method: TypeAlias = Literal["im2col", "fft"]


def replace_convolutions(network: nn.Module, method: Method, *, on_cpu: bool) -> None:
    """Compute every convolution that `keeps_size` by `method`, in place.

    Those of 1x1 are matrix products already, and stay. Call it after the network is on its device and in its
    types, and again after its weights have changed. `on_cpu` tells whether the device is a CPU, or stands for
    one: it decides how much is computed at once. Raises ValueError for a network without such a convolution.
    """
    kinds: dict[Method, type[SameSizeConv2d]] = {"im2col": Im2colConv2d, "fft": FftConv2d}
    limit_bytes = CPU_BAND_BYTES if on_cpu else DEVICE_BAND_BYTES
    replaced = False
    for module in list(network.modules()):
        for name, child in module.named_children():
            if not isinstance(child, nn.Conv2d) or type(child) not in (nn.Conv2d, *kinds.values()):
                continue
            if keeps_size(child):
                setattr(module, name, kinds[method].of(child, limit_bytes))
                replaced = True
    if not replaced:
        raise ValueError(
            f"{title_of(network)} has no convolution that {method} can compute: square, odd and larger "
            "than 1x1, of stride 1, padded to its input's size, with a bias, and not grouped."
        )
