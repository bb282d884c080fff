"""Pictures and videos to clips (n, t, c, h, w) and back: the room to look in.

Everything is float32 RGB in [0, 1], upright. `media_read` says how a file becomes frames (through
`picture_decoder` and `video_decoder`), `media_write` how frames become a file (with the `sound` of another;
`whole_output` has it appear once it is whole), `clips` how either becomes the network's input. What is wrong
with a file or a request is one `BadInput` sentence.
"""

from vsr_model.clips import Fit, moving_texture, random_clip, read_clip
from vsr_model.media_info import MediaInfo
from vsr_model.media_read import VideoFrame, count_packets, inspect, iterate_frames
from vsr_model.media_write import VideoWriter, write_image

__all__ = [
    "Fit",
    "MediaInfo",
    "VideoFrame",
    "VideoWriter",
    "count_packets",
    "inspect",
    "iterate_frames",
    "moving_texture",
    "random_clip",
    "read_clip",
    "write_image",
]
