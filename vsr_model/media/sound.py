"""Sound of a video file, copied to another file beside new frames.

The time of the source's first frame becomes 0, where the new frames start; sound keeps its distance to it.
"""

from collections.abc import Generator, Mapping
from contextlib import ExitStack
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Final, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.error import ArgumentError, InvalidDataError
from av.format import Flags
from av.packet import Packet
from av.stream import Discard

from vsr_model.errors import BadInput
from vsr_model.media.info import existing_file, refusing
from vsr_model.media.videos import decoded, open_video

_PCM_OF_QUICKTIME = {"pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"}
_MPEG_FAMILY = {"aac", "mp3", "ac3", "eac3", "alac"}
COPIED: Final[dict[str, frozenset[str] | None]] = {
    "mp4": frozenset({*_MPEG_FAMILY, "opus", "flac"}),
    "mov": frozenset({*_MPEG_FAMILY, *_PCM_OF_QUICKTIME}),
    "matroska": None,
    "webm": frozenset({"opus", "vorbis"}),
}
"""Codecs that common players play in a container, None for all that it has a name for.

FFmpeg writes more into mp4 than players know (Vorbis, PCM).
"""

# Decoders need packets before the first audible one. An edit list hides these. Other containers play them,
# apart from those that the source hides in the same way (Matroska's codec delay, before its clock's 0).
_WITH_EDIT_LISTS = ("mp4", "mov")
_PREROLL_S = Fraction(1, 10)

_REFUSED_PACKET = (InvalidDataError, ArgumentError)


class Sound:
    """Copies all sound tracks of `source` to `target`, an open container whose header is not written yet.

    Sound is written up to the time that is asked for, so that nothing piles up in memory. Tracks and packets
    that the target does not take are left out, with a sentence in `notes`. Raises BadInput for a source that
    cannot be read and where the target takes none of the tracks, av.FFmpegError and OSError where the target
    cannot be written. Call `close` at the end.
    """

    def __init__(self, source: Path, target: OutputContainer) -> None:
        source = existing_file(source)
        zero_s = _first_shown_s(source)
        with refusing(source), ExitStack() as stack:
            opened = stack.enter_context(av.open(f"file:{source}", metadata_errors="replace"))
            self._tracks: dict[int, _Track] = {}
            self._left_out: list[str] = []
            for stream in opened.streams.audio:
                try:
                    self._tracks[stream.index] = _Track(stream, target)
                except ValueError:
                    self._left_out.append(f"stream {stream.index} ({_codec(stream)})")
            if self._left_out and not self._tracks:
                raise BadInput(
                    f"{source} has sound that {target.format.name} does not take,"
                    f" {', '.join(self._left_out)}; an output that ends in .mkv takes most kinds,"
                    " and --no-sound leaves it out."
                )
            for other in opened.streams:
                if other.index not in self._tracks:
                    other.discard = Discard.all
            self._packets = self._timed_packets(opened, zero_s)
            stack.callback(self._packets.close)  # it reads from the container until it is
            self._next = next(self._packets, None)
            self._stack = stack.pop_all()

    def _timed_packets(
        self, source: InputContainer, zero_s: Fraction
    ) -> "Generator[tuple[Fraction, _Track, Packet[AudioStream]]]":
        """Yield packets in the order stored, each with its start on the target's clock and its track."""
        ends_s: dict[int, Fraction] = {}
        for packet in source.demux(*source.streams.audio) if self._tracks else ():
            if packet.size == 0 or packet.stream_index not in self._tracks:  # the last of a stream
                continue
            index = packet.stream_index
            ticks = packet.pts if packet.pts is not None else packet.dts
            start_s = ends_s.get(index, Fraction(0)) if ticks is None else ticks * packet.time_base - zero_s
            ends_s[index] = start_s + (packet.duration or 0) * packet.time_base
            yield start_s, self._tracks[index], cast("Packet[AudioStream]", packet)

    def write_until(self, time_s: Fraction) -> None:
        """Write packets that start up to `time_s`, as far as they are stored in that order."""
        while self._next is not None and self._next[0] <= time_s:
            start_s, track, packet = self._next
            track.put(packet, start_s)
            self._next = next(self._packets, None)

    def write_rest(self, end_s: Fraction | None) -> None:
        """Write all packets that are left, or those of them that start before `end_s`."""
        ended: set[_Track] = set()
        while self._next is not None and len(ended) < len(self._tracks):
            start_s, track, packet = self._next
            if end_s is None or start_s < end_s:
                track.put(packet, start_s)
            else:
                ended.add(track)
            self._next = next(self._packets, None)

    @property
    def is_refused(self) -> bool:
        """Tell whether the target has refused all packets of all tracks so far."""
        tracks = self._tracks.values()
        lost = [track for track in tracks if track.lost_packets and not track.written_packets]
        return bool(lost) and not any(track.written_packets for track in tracks)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences for the user on sound that is missing so far."""
        lost = sum(track.lost_packets for track in self._tracks.values())
        left_out = ", ".join(self._left_out)
        return (
            *([f"Sound that the output does not take was left out: {left_out}."] if left_out else []),
            *([f"Damaged sound was left out: {lost} of its packets."] if lost else []),
        )

    def close(self) -> None:
        """Close the source. Can be called twice."""
        self._stack.close()


def _first_shown_s(source: Path) -> Fraction:
    with open_video(source) as (opened, stream):
        _, shown_s = next(decoded(source, opened, stream))
        return shown_s


def _codec(stream: AudioStream) -> str:
    return stream.codec_context.codec.canonical_name if stream.codec_context else "of a kind unknown here"


class _Track:
    """The packets of one track, copied bit for bit; those that cannot be used are counted."""

    def __init__(self, source: AudioStream, target: OutputContainer) -> None:
        """Add a track to `target`. Raises ValueError for a codec that players do not know there."""
        allowed = COPIED[target.format.name]
        if source.codec_context is None or (allowed is not None and _codec(source) not in allowed):
            raise ValueError(_codec(source))
        self.lost_packets = self.written_packets = 0
        self._target, self._stream = target, target.add_stream_from_template(source)
        self._stream.metadata.update(_kept_tags(source.metadata, target.format.name))
        self._stream.disposition = source.disposition
        # In Matroska two packets may have the same time, rounded.
        self._least_step = 0 if target.format.flags & cast(int, Flags.ts_nonstrict.value) else 1
        self._last_pts: int | None = None
        self._tick_s = cast(Fraction, source.time_base)
        self._preroll_s = Fraction(0)
        if target.format.name in _WITH_EDIT_LISTS:
            self._preroll_s = _PREROLL_S
        elif "matroska" in source.container.format.name:
            self._preroll_s = max(-(source.start_time or 0) * self._tick_s, Fraction(0))
        context = source.codec_context
        self._frame_s = (
            Fraction(context.frame_size, context.sample_rate) if context.sample_rate else Fraction(0)
        )
        self._next_s: Fraction | None = None

    def put(self, packet: "Packet[AudioStream]", start_s: Fraction) -> None:
        """Write the source's next packet, which starts at `start_s`."""
        # The times of a source with a coarse clock (Matroska's milliseconds) are rounded. Packets that follow
        # each other there do so by their samples here, as in FFmpeg's own copies.
        duration_s = (packet.duration or 0) * packet.time_base
        if abs(duration_s - self._frame_s) < self._tick_s:
            duration_s = self._frame_s
        if self._next_s is not None and abs(start_s - self._next_s) <= self._tick_s:
            start_s = self._next_s
        self._next_s = start_s + duration_s
        if start_s < 0 and self._next_s <= -self._preroll_s:
            return
        time_base = cast(Fraction, self._stream.time_base)  # there since the header
        # Halves are rounded up, all of them: packets that follow each other without a gap go on doing so.
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
            self.written_packets += 1
            self._last_pts = pts


def _kept_tags(tags: Mapping[str, str], container: str) -> dict[str, str]:
    """Return the tags of a track for `container`. FFmpeg reads "name" in mp4 where it wrote a "title"."""
    kept = {"language": tags.get("language"), "title": tags.get("title", tags.get("name"))}
    if container in _WITH_EDIT_LISTS:  # where some players look for the title
        kept["handler_name"] = tags.get("handler_name", kept["title"])
    return {tag: text for tag, text in kept.items() if text}
