"""Clips of any length through BasicVSR in bounded memory.

`frames` runs the network frame by frame. `vsr_model.memory_plan` (free of torch) decides where features wait
meanwhile, `stores` keeps them there, and `spool` keeps decoded frames in a `scratch_file`.
"""

from vsr_model.streaming.frames import FrameSource, upscale_frames
from vsr_model.streaming.spool import FrameSpool

__all__ = ["FrameSource", "FrameSpool", "upscale_frames"]
