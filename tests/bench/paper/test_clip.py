"""What a clip weighs."""

from bench.paper.clip import SCALE, clip_bytes, output_bytes
from vsr_model import basicvsr


def test_a_clip_is_rgb_in_float32_and_its_output_sixteen_times_that() -> None:
    assert clip_bytes(2, 3, 5, 7) == 2 * 3 * 5 * 7 * 3 * 4
    assert output_bytes(2, 3, 5, 7) == 16 * clip_bytes(2, 3, 5, 7)
    assert SCALE == basicvsr.SCALE
