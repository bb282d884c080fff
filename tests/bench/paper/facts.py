"""The paper's published figures, copied here so that what is said of them is tested without its run folder.

Rounded to four decimals, which no verdict turns on, but for the headline's, which are as printed.
"""

from typing import Final

from bench.paper.editions import PAPER, Edition, Role
from bench.paper.method import PAPER as PAPER_METHOD
from tests.bench.paper.made import memory, stages, timing, with_speedups

ROLES: Final = (Role.CPU, Role.CUDNN, Role.CUDNN_AUTOTUNE)

HEADLINE: Final = (14.414279699325562, 6.09595251083374, 7.335965394973755)

REPEATED_CPU: Final = (
    6.6370, 8.9140, 7.6540, 7.9034, 7.6257, 6.4241, 5.7549, 6.6849, 7.6652, 6.0635,
)  # fmt: skip
REPEATED_CUDA: Final = (
    3.5337, 1.8646, 1.8778, 1.8776, 1.9157, 1.8759, 1.8882, 1.8702, 1.8825, 1.8800,
)  # fmt: skip
REPEATED_CUDNN: Final = (
    4.5732, 1.8016, 1.8105, 1.8240, 1.8246, 1.8262, 1.8193, 1.8275, 1.8239, 1.8211,
)  # fmt: skip

FRAMES: Final = range(1, 62, 3)
BY_FRAMES_CPU: Final = (
    0.2411, 1.0069, 1.7019, 2.6130, 3.3023, 4.1467, 4.6236, 5.5691, 6.4376, 7.3375, 8.1953, 8.0307,
    9.2001, 8.8231, 9.1670, 10.3782, 10.4103, 12.0445, 11.7817, 13.0459, 12.7168,
)  # fmt: skip
BY_FRAMES_CUDA: Final = (
    1.7536, 0.3986, 0.5100, 0.7387, 0.8948, 1.1362, 1.3203, 1.5324, 1.6751, 1.9068, 2.1004, 2.3110,
    2.5022, 2.6922, 3.2393, 3.0776, 3.2673, 3.5109, 4.8337, 3.8820, 5.1956,
)  # fmt: skip
BY_FRAMES_CUDNN: Final = (
    0.0235, 0.3139, 0.5024, 0.7490, 0.8974, 1.1377, 1.3322, 1.5310, 1.7104, 1.9266, 2.1145, 2.3140,
    2.5163, 2.7037, 2.9014, 3.1324, 3.2892, 3.4923, 3.7143, 3.9299, 4.1054,
)  # fmt: skip

STAGES: Final = {
    Role.CPU: {
        "alignment": (3.012, 3.161, 2.998),
        "propagation": (7.469, 7.231, 7.615),
        "aggregation": (0.661, 0.716, 0.659),
        "upsampling": (3.309, 3.299, 3.413),
    },
    Role.CUDNN: {
        "alignment": (1.032, 1.106, 0.973),
        "propagation": (3.244, 3.236, 3.369),
        "aggregation": (0.492, 0.491, 0.517),
        "upsampling": (1.398, 1.301, 1.299),
    },
    Role.CUDNN_AUTOTUNE: {
        "alignment": (1.001, 1.097, 1.121),
        "propagation": (2.167, 2.291, 2.089),
        "aggregation": (0.423, 0.399, 0.441),
        "upsampling": (1.297, 1.266, 1.296),
    },
}

MEMORY_STEP_S: Final = 0.1004
"""Between the points of figure 17."""

MEMORY_MIB: Final = (
    1, 22, 68, 123, 230, 253, 267, 290, 304, 347, 370, 381, 426, 493, 558, 584, 609, 717, 775, 842,
    1019, 1144, 1309, 1471, 1645, 1817, 1944, 2072, 2203, 2326, 2448, 2562, 2680, 2813, 2939, 3065,
    3193, 3308, 3446, 3579, 3706, 3823, 3935, 4053, 4183, 4320, 4446, 4575, 4709, 4839, 4974, 5096,
    5222, 5355, 5521, 5579, 5677, 5833, 5915, 5988, 6143, 6233, 6303, 6431, 6620, 6756, 6818, 6939,
    7121, 7163, 7276, 7402, 7582, 7692, 7795, 7924, 8065, 8216, 8370, 8524, 8601, 8715, 8831, 8950,
    9066, 9171, 9243, 9339, 9443, 9532, 9638, 9752, 9864, 9943, 10018, 10115, 10223, 10334, 10443,
    10551, 10661, 10787, 10695, 10715,
)  # fmt: skip


def edition() -> Edition:
    """The paper as its published figures have it."""
    sweep = zip((BY_FRAMES_CPU, BY_FRAMES_CUDA, BY_FRAMES_CUDNN), ROLES, strict=True)
    return with_speedups(
        Edition(
            name=PAPER,
            machine="one half of a Tesla K80",
            headline=tuple(
                timing(role, 60, [value], synchronised=False)
                for role, value in zip(ROLES, HEADLINE, strict=True)
            ),
            repetitions=tuple(
                timing(role, 30, calls, synchronised=False)
                for role, calls in zip(ROLES, (REPEATED_CPU, REPEATED_CUDA, REPEATED_CUDNN), strict=True)
            ),
            frames=tuple(
                timing(role, t, [value], synchronised=False)
                for values, role in sweep
                for t, value in zip(FRAMES, values, strict=True)
            ),
            stages=tuple(
                stages(role, seconds, frames=60, method=PAPER_METHOD) for role, seconds in STAGES.items()
            ),
            memory=(
                memory(
                    Role.CPU,
                    [mib * 2**20 for mib in MEMORY_MIB],
                    frames=40,
                    step_s=MEMORY_STEP_S,
                    before=381 * 2**20,
                    peak=10805 * 2**20,
                ),
            ),
        )
    )
