"""Whether reading the machine between two calls changes the time of the call that follows.

One process, one small BasicVSR on the CPU (on a GPU with `--backend cudnn`). Calls come in pairs, one right
after a reading and one without, the order swapped every time so that drift hits both alike. The median of the
paired ratios is the disturbance: 1.001 means that a reading costs the next sample 0.1 %. The machine should
do nothing else meanwhile.
"""

import argparse
import gc
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from bench.grid import config
from bench.grid.backend_spec import resolve
from bench.machine.telemetry import Telemetry
from bench.measure import backends, workload
from bench.measure.timing import timed
from bench.statistics.stats import Summary, paired_ratio
from vsr_model.stages import no_probe


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What a reading costs, and what it does to the call after it."""

    reading_s: float  # median of one reading
    plain_s: float  # median of a call without one
    ratio: Summary  # after a reading over without


def measure(call: Callable[[], float], read: Callable[[], object], pairs: int) -> Disturbance:
    """Alternate; `call` gives its own seconds, `read` is what may disturb it."""
    after: list[float] = []
    plain: list[float] = []
    readings: list[float] = []

    def disturbed() -> None:
        begin = perf_counter()
        read()
        readings.append(perf_counter() - begin)
        after.append(call())

    def undisturbed() -> None:
        plain.append(call())

    for pair in range(pairs):
        order = (disturbed, undisturbed) if pair % 2 == 0 else (undisturbed, disturbed)
        for one in order:
            one()
    return Disturbance(
        reading_s=median(readings), plain_s=median(plain), ratio=paired_ratio([after], [plain])
    )


def in_words(found: Disturbance) -> str:
    """The result in one line."""
    ratio = found.ratio
    interval = "" if ratio.low is None or ratio.high is None else f" ({ratio.low:.5f} to {ratio.high:.5f})"
    return (
        f"a call takes {1e3 * found.plain_s:.3f} ms, a reading {1e6 * found.reading_s:.0f} µs; "
        f"after a reading over without, {ratio.n} pairs: {ratio.median:.5f}{interval}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="cpu", help="as in a grid: cpu, cudnn, ...")
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--frames", type=int, default=2)
    parser.add_argument("--size", type=int, default=32, help="height and width in pixels")
    options = parser.parse_args()
    import torch  # noqa: PLC0415 - after the options, so that --help is quick

    backend = resolve(config.backend_of(options.backend))
    device = backends.device_of(backend)
    model = config.model_of(checkpoint=None, mid_channels=16, num_blocks=2)
    with backends.applied(backend), Telemetry(origin=perf_counter(), gpu=device.gpu) as telemetry:
        network = workload.prepare(workload.build_model(model), backend, device.torch_device)
        forward = workload.forward_of(network)
        lrs = torch.rand(1, options.frames, 3, options.size, options.size).to(device.torch_device)

        def call() -> float:
            return timed(lambda: forward(lrs, no_probe), device=device)[1].wall_s

        for _ in range(options.warmup):
            call()
        gc.collect()
        gc.disable()
        found = measure(call, telemetry.read, options.pairs)
    print(in_words(found))  # noqa: T201 - a script


if __name__ == "__main__":
    main()
