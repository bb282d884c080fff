"""One track of sound on its way from one container to another: as it is, or encoded anew.

Times are in seconds on the output's clock, which is `zero` behind the source's.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import cast

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import ArgumentError, InvalidDataError
from av.format import Flags
from av.packet import Packet

# What decoders need of the past is not heard where a container has edit lists; in others it would be, apart
# from what the source says of it in the same way (Matroska's codec delay, before its clock's 0).
_WITH_EDIT_LISTS = ("mp4", "mov")
_PREROLL_S = Fraction(1, 10)
_PREROLL_TO_DECODE_S = Fraction(1)

# Containers with a clock of milliseconds (Matroska) round the times of packets that follow without a gap.
_SAME_MOMENT_S = Fraction(1, 100)

_REFUSED_PACKET = (InvalidDataError, ArgumentError)


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How sound is encoded: `rate` in samples per second, `bit_rate` in bits per second.

    A `bit_rate` of 0 is the encoder's own. `encoder` and `layout` (of channels) are FFmpeg's names.
    """

    encoder: str
    rate: int
    layout: str
    bit_rate: int

    @property
    def codec(self) -> str:
        return av.Codec(self.encoder, "w").canonical_name


def _kept_tags(tags: Mapping[str, str], container: str) -> dict[str, str]:
    """What `container` is told of a track. In mp4, "name" is what FFmpeg reads where it wrote a "title"."""
    kept = {"language": tags.get("language"), "title": tags.get("title", tags.get("name"))}
    if container in _WITH_EDIT_LISTS:  # where some players look for the title
        kept["handler_name"] = tags.get("handler_name", kept["title"])
    return {tag: text for tag, text in kept.items() if text}


class Track(ABC):
    """A track of `target`, which must be there before the header is written; `put` and `end` come after.

    What cannot be used is left out and counted in `lost_packets`: sound that is damaged is no reason to lose
    the frames of a long job. Raises av.FFmpegError where the container does not take the track or cannot be
    written.
    """

    def __init__(self, source: AudioStream, target: OutputContainer, stream: AudioStream) -> None:
        self.lost_packets = 0
        self._target, self._stream = target, stream
        # In Matroska two packets may have the same time, rounded.
        self._least_step = 0 if target.format.flags & cast(int, Flags.ts_nonstrict.value) else 1
        self._last_pts: int | None = None
        stream.metadata.update(_kept_tags(source.metadata, target.format.name))
        stream.disposition = source.disposition

    @abstractmethod
    def put(self, packet: "Packet[AudioStream]", start_s: Fraction) -> None:
        """Take the source's next packet, which starts at `start_s`, and write what is ready."""

    @abstractmethod
    def end(self) -> None:
        """Write what is left."""

    def _mux(self, packet: "Packet[AudioStream]", start_s: Fraction, duration_s: Fraction) -> None:
        time_base = cast(Fraction, self._stream.time_base)  # there since the header
        # Halves rounded up, all of them: packets that follow without a gap must go on doing so.
        pts = floor(start_s / time_base + Fraction(1, 2))
        if self._last_pts is not None and pts < self._last_pts + self._least_step:
            self.lost_packets += 1
            return
        packet.stream, packet.time_base = self._stream, time_base
        packet.pts = packet.dts = pts
        packet.duration = floor(duration_s / time_base + Fraction(1, 2))
        try:
            self._target.mux(packet)
        except _REFUSED_PACKET:
            self.lost_packets += 1
        else:
            self._last_pts = pts


class CopiedTrack(Track):
    """The source's packets, bit for bit. Raises ValueError for a codec that the container has no name for."""

    def __init__(self, source: AudioStream, target: OutputContainer) -> None:
        super().__init__(source, target, target.add_stream_from_template(source))
        self._tick_s = cast(Fraction, source.time_base)
        if target.format.name in _WITH_EDIT_LISTS:
            self._preroll_s = _PREROLL_S
        elif "matroska" in source.container.format.name:
            self._preroll_s = max(-(source.start_time or 0) * self._tick_s, Fraction(0))
        else:
            self._preroll_s = Fraction(0)
        context = source.codec_context
        self._frame_s = (
            Fraction(context.frame_size, context.sample_rate) if context.sample_rate else Fraction(0)
        )
        self._next_s: Fraction | None = None

    def put(self, packet: "Packet[AudioStream]", start_s: Fraction) -> None:
        # A source with a coarse clock states times that jitter, which a finer one must not repeat: packets
        # follow each other by their samples where that is what the source says, rounded.
        duration_s = (packet.duration or 0) * packet.time_base
        if abs(duration_s - self._frame_s) < self._tick_s:
            duration_s = self._frame_s
        if self._next_s is not None and abs(start_s - self._next_s) <= self._tick_s:
            start_s = self._next_s
        self._next_s = start_s + duration_s
        if start_s < 0 and self._next_s <= -self._preroll_s:
            return
        self._mux(packet, start_s, duration_s)

    def end(self) -> None:
        """There is nothing: a packet is written as it comes."""


class EncodedTrack(Track):
    """The source's sound, decoded and encoded."""

    def __init__(
        self, source: AudioStream, target: OutputContainer, *, zero_s: Fraction, encoding: Encoding
    ) -> None:
        stream = target.add_stream(encoding.encoder, rate=encoding.rate)
        assert isinstance(stream, AudioStream)
        stream.codec_context.layout = encoding.layout
        stream.codec_context.bit_rate = encoding.bit_rate
        super().__init__(source, target, stream)
        self._source, self._zero_s = source, zero_s
        self._next_s: Fraction | None = None
        self._resampler: AudioResampler | None = None
        self._resampled_from: tuple[str, str, int] | None = None

    def put(self, packet: "Packet[AudioStream]", start_s: Fraction) -> None:
        if start_s < -_PREROLL_TO_DECODE_S:
            return
        self._decode(packet)

    def end(self) -> None:
        self._decode(None)
        self._flush_resampler()
        self._encode(None)

    def _decode(self, packet: "Packet[AudioStream] | None") -> None:
        try:
            frames = self._source.decode(packet)
        except av.FFmpegError:
            self.lost_packets += 1
            return
        for frame in frames:
            self._take(frame)

    def _take(self, frame: AudioFrame) -> None:
        rate = frame.sample_rate
        start_s = self._next_s
        if frame.pts is not None and frame.time_base is not None:
            stated_s = frame.pts * frame.time_base - self._zero_s
            if start_s is None or stated_s > start_s + _SAME_MOMENT_S:  # the first, or after a gap
                start_s = stated_s
            elif stated_s < start_s - _SAME_MOMENT_S:
                self.lost_packets += 1
                return
        start_s = start_s or Fraction(0)
        self._next_s = start_s + Fraction(frame.samples, rate)
        if self._next_s <= 0:
            return
        frame.pts, frame.time_base = floor(start_s * rate + Fraction(1, 2)), Fraction(1, rate)
        kind = frame.format.name, frame.layout.name, rate
        if kind != self._resampled_from:  # broadcasts change it on the way
            self._flush_resampler()
            context = self._stream.codec_context
            self._resampler = AudioResampler(context.format, context.layout, context.sample_rate)
            self._resampled_from = kind
        assert self._resampler is not None
        for resampled in self._resampler.resample(frame):
            self._encode(resampled)

    def _flush_resampler(self) -> None:
        if self._resampler is not None:
            for frame in cast(list[AudioFrame | None], self._resampler.resample(None)):
                if frame is not None:  # as one with nothing to do returns
                    self._encode(frame)
        self._resampler = self._resampled_from = None

    def _encode(self, frame: AudioFrame | None) -> None:
        try:
            packets = self._stream.encode(frame)
        except av.FFmpegError:  # of samples that are no numbers, say
            self.lost_packets += 1
            return
        for packet in packets:
            start = packet.pts if packet.pts is not None else packet.dts
            assert start is not None, "encoders know when their sound is heard"
            duration_s = (packet.duration or 0) * packet.time_base
            self._mux(cast("Packet[AudioStream]", packet), start * packet.time_base, duration_s)
