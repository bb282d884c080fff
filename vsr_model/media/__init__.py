"""Pictures and videos to frames and clips, and frames to pictures and videos.

Everything is float32 RGB in [0, 1], upright. `reading` says how a file becomes frames (by `pictures` and
`videos`), `colour` what their values mean, `writing` how frames become a file (with the `sound` of another;
`whole_output` has it appear once it is whole), `clips` how a file becomes a network's input. What is wrong
with a file or a request is one `BadInput` sentence.
"""

from vsr_model.media.clips import read_clip
from vsr_model.media.info import MediaInfo
from vsr_model.media.reading import VideoFrame, count_packets, inspect, iterate_frames
from vsr_model.media.writing import VideoWriter, image_folder, write_image

__all__ = [
    "MediaInfo",
    "VideoFrame",
    "VideoWriter",
    "count_packets",
    "image_folder",
    "inspect",
    "iterate_frames",
    "read_clip",
    "write_image",
]
