"""The sound of a video file, carried over to another file beside frames that were made anew.

The time of the source's first frame becomes 0, where the new frames start; sound that begins before it or
after it stays where it was. A track's packets are copied where the new container has them played by common
players, else they are decoded and encoded anew. What works is tried beforehand, in memory, with the first
packets of each track: a long job must not fail at its end.
"""

import io
from collections.abc import Collection, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Discard, Stream

from vsr_model.errors import BadInput
from vsr_model.media_info import existing_file, refusing
from vsr_model.sound_track import CopiedTrack, EncodedTrack, Encoding, Track
from vsr_model.video_decoder import decoded, open_video

_PCM_OF_QUICKTIME = ("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be")
_MPEG_FAMILY = ("aac", "mp3", "ac3", "eac3", "alac")
COPIED: dict[str, frozenset[str] | None] = {
    "mp4": frozenset({*_MPEG_FAMILY, "opus", "flac"}),
    "mov": frozenset({*_MPEG_FAMILY, *_PCM_OF_QUICKTIME}),
    "matroska": None,
    "webm": frozenset({"opus", "vorbis"}),
}
"""Codecs whose packets go into a container as they are, None for all that it has a name for.

FFmpeg writes more into mp4 than players know (Vorbis, PCM).
"""

_BITS_PER_CHANNEL = 96_000  # per second: hard to tell from the source with AAC and Opus
ENCODERS: dict[str, tuple[tuple[str, int], ...]] = {
    "mp4": (("aac", _BITS_PER_CHANNEL),),
    "mov": (("aac", _BITS_PER_CHANNEL),),
    "matroska": (("aac", _BITS_PER_CHANNEL), ("libopus", _BITS_PER_CHANNEL)),
    "webm": (("libopus", _BITS_PER_CHANNEL), ("libvorbis", 0)),
}
"""Encoders for everything else, best first, with bits per second and channel (0: the encoder's own)."""

_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_COMMON_RATE = 48_000  # samples per second, which every encoder here takes
_PACKETS_TRIED = 8


@dataclass(frozen=True, kw_only=True)
class TrackPlan:
    """A track of the source, by the index of its stream; it is copied where there is no `encoding`."""

    index: int
    codec: str
    encoding: Encoding | None


@dataclass(frozen=True, kw_only=True)
class SoundPlan:
    """How the sound of `source`, whose first frame is shown at `zero_s`, goes into another container."""

    source: Path
    zero_s: Fraction
    tracks: tuple[TrackPlan, ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user."""
        return tuple(
            f"{_called(number, len(self.tracks))} ({track.codec}) was encoded anew as {track.encoding.codec}."
            for number, track in enumerate(self.tracks, start=1)
            if track.encoding is not None
        )


def _called(number: int, count: int) -> str:
    return "The sound" if count == 1 else f"Sound track {number}"


def plan_sound(source: Path, container: str) -> SoundPlan:
    """What to do with every track of sound in `source`, for a container by FFmpeg's name of it.

    Raises BadInput for a source that is no video, and for sound that goes in neither way.
    """
    source = existing_file(source)
    with open_video(source) as (opened, stream):
        frame = next(decoded(source, opened, stream))
        zero_s = Fraction(0)
        if frame.pts is not None and frame.time_base is not None:
            zero_s = frame.pts * frame.time_base
        indices = [stream.index for stream in opened.streams.audio]
    tracks = tuple(_plan_track(source, index, container) for index in indices)
    return SoundPlan(source=source, zero_s=zero_s, tracks=tracks)


def _plan_track(source: Path, index: int, container: str) -> TrackPlan:
    codec = "of a kind that nothing here decodes"
    with refusing(source), _opened(source, {index}) as opened:
        stream = _audio(opened, index)
        ways: list[Encoding | None] = []
        if stream.codec_context is not None:
            codec = stream.codec_context.codec.canonical_name
            copied = COPIED[container]
            ways = [None] if copied is None or codec in copied else []
            ways += _encodings(stream, container)
    for encoding in ways:
        if _works(source, index, container, encoding):
            return TrackPlan(index=index, codec=codec, encoding=encoding)
    raise BadInput(
        f"{source} has sound ({codec}) that goes into {container} neither as it is nor encoded anew;"
        " --no-sound leaves it out."
    )


def _encodings(stream: AudioStream, container: str) -> Iterator[Encoding]:
    channels = stream.codec_context.layout.nb_channels
    for encoder, bits_per_channel in ENCODERS[container]:
        try:
            rates = av.Codec(encoder, "w").audio_rates
        except (av.FFmpegError, ValueError):  # PyAV was built without it
            continue
        rate = stream.codec_context.sample_rate
        for layout in (stream.codec_context.layout.name, _LAYOUTS.get(channels, "stereo"), "stereo"):
            yield Encoding(
                encoder=encoder,
                rate=rate if rate > 0 and (rates is None or rate in rates) else _COMMON_RATE,
                layout=layout,
                bit_rate=bits_per_channel * av.AudioLayout(layout).nb_channels,
            )


def _works(source: Path, index: int, container: str, encoding: Encoding | None) -> bool:
    """Whether the first packets of a track can be written, in memory, up to the container's trailer."""
    with _opened(source, {index}) as opened:
        stream = _audio(opened, index)
        try:
            packets = [packet for packet in islice(opened.demux(stream), _PACKETS_TRIED) if packet.size > 0]
            starts_s = [_stated_start_s(packet) or Fraction(0) for packet in packets]
            zero_s = min(starts_s, default=Fraction(0))
            with av.open(io.BytesIO(), "w", format=container) as target:
                track = _track(stream, target, zero_s, encoding)
                target.start_encoding()
                for packet, start_s in zip(packets, starts_s, strict=True):
                    track.put(packet, start_s - zero_s)
                track.end()
        except (av.FFmpegError, OSError, ValueError):
            return False
    return not packets or track.lost_packets < len(packets)


def _track(
    stream: AudioStream, target: OutputContainer, zero_s: Fraction, encoding: Encoding | None
) -> Track:
    if encoding is None:
        return CopiedTrack(stream, target)
    return EncodedTrack(stream, target, zero_s=zero_s, encoding=encoding)


@contextmanager
def _opened(source: Path, indices: Collection[int]) -> Iterator[InputContainer]:
    """`source`, of which only the streams `indices` are read."""
    with av.open(f"file:{source}", metadata_errors="replace") as opened:
        for stream in opened.streams:
            if stream.index not in indices:
                stream.discard = Discard.all
        yield opened


def _audio(opened: InputContainer, index: int) -> AudioStream:
    stream = opened.streams[index]
    assert isinstance(stream, AudioStream)
    return stream


def _stated_start_s(packet: "Packet[Stream] | Packet[AudioStream]") -> Fraction | None:
    ticks = packet.pts if packet.pts is not None else packet.dts
    return None if ticks is None else ticks * packet.time_base


class Sound:
    """The tracks of a plan, one or more, in `target`, an open container whose header is not yet written.

    Sound goes in up to the time that it is asked for, so that nothing piles up in memory. What is damaged is
    left out, and told in `notes`. Raises av.FFmpegError and OSError where `target` cannot be written or the
    source cannot be opened; to be closed.
    """

    def __init__(self, plan: SoundPlan, target: OutputContainer) -> None:
        self._plan = plan
        self._stack = ExitStack()
        self._broken_off = False
        with ExitStack() as stack:
            source = stack.enter_context(_opened(plan.source, {track.index for track in plan.tracks}))
            self._tracks = {
                track.index: _track(_audio(source, track.index), target, plan.zero_s, track.encoding)
                for track in plan.tracks
            }
            packets = self._packets(source)
            stack.callback(packets.close)  # it reads from the container until it is
            self._packets_left = packets
            self._next = next(packets, None)
            self._stack = stack.pop_all()

    def _packets(self, source: InputContainer) -> "Generator[tuple[Fraction, int, Packet[AudioStream]]]":
        """Packets in the order stored, each with its start on the target's clock and its stream's index."""
        ends_s: dict[int, Fraction] = {}
        try:
            for packet in source.demux(*(_audio(source, index) for index in self._tracks)):
                if packet.size == 0:  # the last of a stream
                    continue
                index, stated_s = packet.stream_index, _stated_start_s(packet)
                start_s = ends_s.get(index, Fraction(0)) if stated_s is None else stated_s - self._plan.zero_s
                ends_s[index] = start_s + (packet.duration or 0) * packet.time_base
                yield start_s, index, cast("Packet[AudioStream]", packet)
        except av.FFmpegError:
            self._broken_off = True

    def write_until(self, time_s: Fraction) -> None:
        """Write what starts up to `time_s` after the first frame, as far as it is stored in that order."""
        while self._next is not None and self._next[0] <= time_s:
            start_s, index, packet = self._next
            self._tracks[index].put(packet, start_s)
            self._next = next(self._packets_left, None)

    def finish(self, end_s: Fraction | None) -> None:
        """Write the rest, or what of it starts before `end_s`."""
        ended: set[int] = set()
        while self._next is not None and ended != self._tracks.keys():
            start_s, index, packet = self._next
            if end_s is None or start_s < end_s:
                self._tracks[index].put(packet, start_s)
            else:
                ended.add(index)
            self._next = next(self._packets_left, None)
        for track in self._tracks.values():
            track.end()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user, of what was so far."""
        lost = sum(track.lost_packets for track in self._tracks.values())
        notes = list(self._plan.notes)
        if lost:
            notes.append(f"Damaged sound was left out: {lost} of its packets.")
        if self._broken_off:
            notes.append("The sound breaks off where the input is damaged.")
        return tuple(notes)

    def close(self) -> None:
        """Let go of the source; a second time does nothing."""
        self._stack.close()
