"""Sound that is copied: real files in which a flash and a beep coincide."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vsr_model.errors import BadInput
from vsr_model.media import VideoWriter, inspect, iterate_frames, sound, writing

RATE = 25  # frames per second
SAMPLE_RATE = 48_000
FLASH_S = Fraction(4, 5)  # when the flash and the beep begin, on the source's clock
END_S = Fraction(8, 5)
AUDIO_FRAME_S = 1024 / SAMPLE_RATE


@dataclass(frozen=True, kw_only=True)
class Tone:
    """A track: silence from `start_s`, a tone from the flash on."""

    codec: str = "aac"
    start_s: Fraction = Fraction(0)
    tags: tuple[tuple[str, str], ...] = ()
    is_default: bool = False

    def samples(self) -> np.ndarray:
        times = np.arange(int(self.start_s * SAMPLE_RATE), int(END_S * SAMPLE_RATE)) / SAMPLE_RATE
        beep = np.where(times >= float(FLASH_S), 0.5 * np.sin(2 * np.pi * 1000 * times), 0)
        return np.repeat(beep.astype(np.float32)[None], 2, axis=0)


def make_clip(path: Path, *tones: Tone, video_start_s: Fraction = Fraction(0)) -> Path:
    """Write 32 x 32 from `video_start_s` to 1.6 s: black, white from 0.8 s on."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast"})
        video.height, video.width, video.pix_fmt = 32, 32, "yuv420p"
        tracks = [container.add_stream(tone.codec, rate=SAMPLE_RATE, layout="stereo") for tone in tones]
        for tone, track in zip(tones, tracks, strict=True):
            track.metadata.update(dict(tone.tags))
            if tone.is_default:
                track.disposition = av.stream.Disposition.default
        packets = []
        for index in range(int((END_S - video_start_s) * RATE)):
            time_s = video_start_s + Fraction(index, RATE)
            planes = np.full((48, 32), 128, np.uint8)
            planes[:32] = 235 if time_s >= FLASH_S else 16
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = int(time_s * RATE), Fraction(1, RATE)
            packets += video.encode(frame)
        packets += video.encode(None)
        for tone, track in zip(tones, tracks, strict=True):
            samples = tone.samples()
            for first in range(0, samples.shape[1], 1024):
                part = np.ascontiguousarray(samples[:, first : first + 1024])
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="stereo")
                frame.sample_rate = SAMPLE_RATE
                frame.pts = int(tone.start_s * SAMPLE_RATE) + first
                frame.time_base = Fraction(1, SAMPLE_RATE)
                packets += track.encode(frame)
            packets += track.encode(None)
        packets.sort(key=lambda packet: packet.dts * packet.time_base)
        container.mux(packets)
    return path


def carry(source: Path, output: Path, *, frames: int | None = None, **options: bool) -> tuple[str, ...]:
    """Copy the video as an upscaler does, with a network that changes nothing."""
    info = inspect(source)
    assert info.frame_rate is not None
    with VideoWriter(
        output, frame_rate=info.frame_rate, height=32, width=32, sound=source, **options
    ) as writer:
        for frame in iterate_frames(source, limit=frames):
            writer.write(frame.image, frame.time_s)
    return writer.sound_notes


def samples_of(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the times and values of the first track's samples, in its first channel."""
    times, values = [], []
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("fltp")
        for frame in container.decode(audio=0):
            for plain in resampler.resample(frame):
                start_s = float(plain.pts * plain.time_base)
                times.append(start_s + np.arange(plain.samples) / plain.sample_rate)
                values.append(plain.to_ndarray()[0])
    return np.concatenate(times), np.concatenate(values)


def lag_s(path: Path) -> float:
    """Return how much later the beep comes than the flash."""
    times, values = samples_of(path)
    with av.open(str(path)) as container:
        flash_s = next(float(f.time) for f in container.decode(video=0) if f.to_ndarray()[16, 16] > 128)
    return float(times[np.argmax(np.abs(values) > 0.2)]) - flash_s


def packets_of(path: Path, track: int = 0) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=track) if packet.size]


@pytest.mark.parametrize(
    ("video_start_s", "sound_start_s"),
    [(Fraction(12, 25), Fraction(0)), (Fraction(0), Fraction(1, 3))],
    ids=["sound-first", "video-first"],
)
@pytest.mark.parametrize(
    ("source_name", "codec", "output_name"),
    [
        ("in.mp4", "aac", "out.mp4"),
        ("in.mp4", "aac", "out.mkv"),
        ("in.mkv", "aac", "out.mov"),
        ("in.mkv", "libopus", "out.webm"),
        ("in.mkv", "flac", "out.mkv"),
    ],
)
def test_copied_sound_stays_in_step(
    tmp_path: Path,
    source_name: str,
    codec: str,
    output_name: str,
    video_start_s: Fraction,
    sound_start_s: Fraction,
) -> None:
    tone = Tone(codec=codec, start_s=sound_start_s)
    source = make_clip(tmp_path / source_name, tone, video_start_s=video_start_s)
    assert lag_s(source) == pytest.approx(0, abs=AUDIO_FRAME_S)
    output = tmp_path / output_name
    assert carry(source, output) == ()
    # Matroska's clock, and that of delays in mp4, count milliseconds: two of them are rounded, in and out.
    assert lag_s(output) == pytest.approx(lag_s(source), abs=0.0025)


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv"])
def test_every_track_is_copied_bit_for_bit_with_its_language(tmp_path: Path, name: str) -> None:
    tones = (
        Tone(tags=(("language", "deu"), ("title", "Original"))),
        Tone(codec="libmp3lame", tags=(("language", "fra"), ("title", "Commentary")), is_default=True),
    )
    source = make_clip(tmp_path / "in.mkv", *tones)
    assert carry(source, tmp_path / name) == ()
    with av.open(str(tmp_path / name)) as container:
        streams = container.streams.audio
        assert [stream.codec_context.codec.canonical_name for stream in streams] == ["aac", "mp3"]
        assert [stream.language for stream in streams] == ["deu", "fra"]
        # As FFmpeg reads the title of a track, in Matroska and in mp4.
        titles = [stream.metadata.get("title", stream.metadata.get("name")) for stream in streams]
        assert titles == ["Original", "Commentary"]
        assert [bool(stream.disposition & stream.disposition.default) for stream in streams] == [False, True]
    for track in range(2):
        assert packets_of(tmp_path / name, track) == packets_of(source, track)


@pytest.mark.parametrize(("codec", "output_name"), [("pcm_s16le", "out.mov"), ("aac", "out.mkv")])
def test_sound_is_cut_where_frames_are(tmp_path: Path, codec: str, output_name: str) -> None:
    source = make_clip(tmp_path / "in.mkv", Tone(codec=codec))
    for cut, end_s in ((True, 1.0), (False, float(END_S))):
        carry(source, tmp_path / output_name, frames=25, cut_sound=cut)
        times, _ = samples_of(tmp_path / output_name)
        assert times[-1] == pytest.approx(end_s, abs=2 * AUDIO_FRAME_S)


@pytest.mark.parametrize(("codec", "name"), [("aac", "out.webm"), ("pcm_s16le", "out.mp4")])
def test_sound_that_cannot_be_copied_is_refused_first(tmp_path: Path, codec: str, name: str) -> None:
    source = make_clip(tmp_path / "in.mkv", Tone(codec=codec))
    writer = VideoWriter(tmp_path / name, frame_rate=Fraction(RATE), height=32, width=32, sound=source)
    refusal = rf"has sound that \w+ does not take, stream 1 \({codec}\); .* --no-sound"
    with pytest.raises(BadInput, match=refusal), writer:
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["in.mkv"]


def test_a_track_that_cannot_be_copied_does_not_cost_the_one_beside_it(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", Tone(codec="pcm_s16le"), Tone())
    assert carry(source, tmp_path / "out.mp4") == (
        "Sound that the output does not take was left out: stream 1 (pcm_s16le).",
    )
    with av.open(str(tmp_path / "out.mp4")) as container:
        (track,) = container.streams.audio
        assert track.codec_context.codec.canonical_name == "aac"
    assert carry(source, tmp_path / "out.mkv") == ()


def test_a_track_of_an_unknown_kind_is_left_out(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", Tone(codec="libopus"), Tone())
    unknown = source.read_bytes().replace(b"A_OPUS", b"A_NONE")
    source.write_bytes(unknown)
    (note,) = carry(source, tmp_path / "out.mkv")
    assert note == "Sound that the output does not take was left out: stream 1 (of a kind unknown here)."
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [track.codec_context.codec.canonical_name for track in container.streams.audio] == ["aac"]


def test_damaged_sound_costs_no_frame(tmp_path: Path) -> None:
    """Sound is copied without being decoded, damage included."""
    source = make_clip(tmp_path / "in.mp4", Tone())
    with av.open(str(source)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size]
    data = bytearray(source.read_bytes())
    for start, size in places[20:25]:
        data[start : start + size] = np.random.default_rng(0).bytes(size)
    source.write_bytes(data)
    assert carry(source, tmp_path / "out.mp4") == ()
    assert packets_of(tmp_path / "out.mp4") == packets_of(source)
    assert len(list(iterate_frames(tmp_path / "out.mp4"))) == 40


def test_times_that_go_back_are_left_out(tmp_path: Path) -> None:
    """In recordings of broadcasts a clock may start anew."""
    source = make_clip(tmp_path / "in.mkv", Tone())
    with av.open(str(source)) as given, av.open(str(tmp_path / "out.mp4"), "w") as target:
        track = sound._Track(given.streams.audio[0], target)
        target.start_encoding()
        packets = [packet for packet in given.demux(audio=0) if packet.size][:4]
        for packet, start_s in zip(packets, (0, 1, Fraction(1, 2), 2), strict=True):
            track.put(packet, Fraction(start_s))
    assert track.lost_packets == 1
    assert len(packets_of(tmp_path / "out.mp4")) == 3


def test_sound_in_matroska_begins_with_the_frames(tmp_path: Path) -> None:
    """The packet that an edit list hides would be played there, and delay every frame."""
    source = make_clip(tmp_path / "in.mp4", Tone())
    carry(source, tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [stream.start_time for stream in container.streams] == [0, 0]
    assert packets_of(tmp_path / "out.mkv") == packets_of(source)[1:]


def test_packets_from_matroska_follow_each_other_by_their_samples(tmp_path: Path) -> None:
    """There, they start at whole milliseconds."""
    carry(make_clip(tmp_path / "in.mkv", Tone()), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        durations = [packet.duration for packet in container.demux(audio=0) if packet.size]
    assert set(durations[:-1]) == {1024}


def test_sound_is_written_with_the_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # An encoder that looks at no later frames, so that each is written when it is given.
    monkeypatch.setitem(writing.VIDEO_FORMATS, ".mp4", ("mp4", "mpeg4", {}))
    source = make_clip(tmp_path / "in.mp4", Tone())
    starts_s: list[float] = []
    put = sound._Track.put

    def watched(track: sound._Track, packet: av.Packet, start_s: Fraction) -> None:
        starts_s.append(float(start_s))
        put(track, packet, start_s)

    monkeypatch.setattr(sound._Track, "put", watched)
    with VideoWriter(
        tmp_path / "out.mp4", frame_rate=Fraction(RATE), height=32, width=32, sound=source
    ) as writer:
        for index, frame in enumerate(iterate_frames(source)):
            writer.write(frame.image)
            assert max(starts_s) == pytest.approx(index / RATE, abs=AUDIO_FRAME_S)
    assert packets_of(tmp_path / "out.mp4") == packets_of(source)
