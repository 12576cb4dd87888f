"""`decode_audio` against the ffmpeg command, bit for bit."""

import functools
import itertools
import subprocess
from pathlib import Path

import numpy as np
import pytest
from audio_files import command_decode, encode, run_ffmpeg, sound, wave_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfresearch_rs import DecodeError, decode_audio

RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000)

# Name with extension, rate, channels, options of the encoder.
FILES: list[tuple[str, int, int, tuple[object, ...]]] = [
    *(
        (f"{codec}.wav", 44100, 2, ("-c:a", codec))
        for codec in (
            "pcm_u8",
            "pcm_s16le",
            "pcm_s24le",
            "pcm_s32le",
            "pcm_f32le",
            "pcm_f64le",
            "pcm_alaw",
            "pcm_mulaw",
            "adpcm_ms",
            "adpcm_ima_wav",
            "adpcm_swf",
            "adpcm_yamaha",
        )
    ),
    *((f"rate{rate}.wav", rate, 1, ("-c:a", "pcm_s16le")) for rate in RATES),
    *((f"float{rate}.wav", rate, 2, ("-c:a", "pcm_f32le")) for rate in (8000, 16000, 48000, 192000)),
    *((f"channels{channels}.wav", 48000, channels, ("-c:a", "pcm_s16le")) for channels in range(1, 9)),
    ("extensible24.wav", 96000, 6, ("-c:a", "pcm_s24le")),
    ("extensible_mono.wav", 48000, 1, ("-c:a", "pcm_s32le")),
    ("big.wav", 44100, 2, ("-c:a", "pcm_s16le", "-rf64", "always")),
    ("telephone.wav", 8000, 1, ("-c:a", "adpcm_g726", "-b:a", "32k")),
    ("g722.wav", 16000, 1, ("-c:a", "adpcm_g722")),
    ("16.flac", 44100, 2, ("-sample_fmt", "s16")),
    ("24.flac", 96000, 2, ("-sample_fmt", "s32")),
    ("mono.flac", 16000, 1, ()),
    ("8.flac", 48000, 8, ()),
    ("128.mp3", 44100, 2, ("-b:a", "128k")),
    ("vbr.mp3", 48000, 2, ("-q:a", "5")),
    ("mono16.mp3", 16000, 1, ("-b:a", "32k")),
    ("mono8.mp3", 8000, 1, ("-b:a", "16k")),
    ("plain.mp3", 22050, 1, ("-write_xing", "0", "-id3v2_version", "0")),
    ("layer2.mp2", 48000, 2, ()),
    ("vorbis.ogg", 44100, 2, ("-c:a", "libvorbis")),
    ("vorbis6.ogg", 48000, 6, ("-c:a", "libvorbis")),
    ("flac.ogg", 44100, 1, ("-c:a", "flac")),
    ("speex.ogg", 16000, 1, ("-c:a", "libspeex")),
    ("stereo.opus", 48000, 2, ("-c:a", "libopus")),
    ("mono.opus", 16000, 1, ("-c:a", "libopus", "-b:a", "16k")),
    ("5.1.opus", 48000, 6, ("-c:a", "libopus")),
    ("adts.aac", 44100, 2, ("-c:a", "aac")),
    ("mono.aac", 16000, 1, ("-c:a", "aac")),
    ("aac.m4a", 44100, 2, ("-c:a", "aac")),
    ("aac6.m4a", 48000, 6, ("-c:a", "aac")),
    ("aac.mov", 32000, 1, ("-c:a", "aac")),
    ("alac.m4a", 44100, 2, ("-c:a", "alac")),
    ("fragmented.mp4", 44100, 2, ("-c:a", "aac", "-movflags", "frag_keyframe+empty_moov")),
    ("1.wma", 44100, 2, ("-c:a", "wmav1")),
    ("2.wma", 44100, 2, ("-c:a", "wmav2")),
    ("mono.wma", 16000, 1, ("-c:a", "wmav2")),
    ("stereo.ac3", 48000, 2, ()),
    ("5.1.ac3", 48000, 6, ()),
    ("5.1.eac3", 48000, 6, ()),
    ("opus.webm", 48000, 2, ("-c:a", "libopus")),
    ("flac.mka", 44100, 2, ("-c:a", "flac")),
    ("pcm.mkv", 44100, 2, ("-c:a", "pcm_s16le")),
    ("pcm.aiff", 44100, 2, ()),
    ("pcm.au", 44100, 2, ()),
    ("alac.caf", 44100, 2, ("-c:a", "alac")),
    ("pcm.caf", 44100, 2, ("-c:a", "pcm_s24be")),
    ("pcm.w64", 44100, 2, ()),
    ("pcm.voc", 22050, 1, ("-c:a", "pcm_s16le")),
    ("lossless.tta", 44100, 2, ()),
    ("lossless.wv", 44100, 2, ()),
    ("mp3.avi", 44100, 2, ("-c:a", "libmp3lame")),
    ("mp2.ts", 48000, 2, ("-c:a", "mp2")),
    ("aac.ts", 48000, 2, ("-c:a", "aac")),
    ("speech.flv", 22050, 1, ("-c:a", "nellymoser")),
]


@functools.cache
def encoders() -> str:
    return subprocess.run(["ffmpeg", "-hide_banner", "-encoders"], capture_output=True, text=True).stdout


def needs_encoder(options: tuple[object, ...]) -> None:
    for option, value in itertools.pairwise(options):
        if option == "-c:a" and f" {value} " not in encoders():
            pytest.skip(f"this FFmpeg has no encoder {value}")


def assert_same(path: Path, rate: int = 16000) -> None:
    status, expected = command_decode(path, rate)
    assert status == 0
    decoded = decode_audio(path, rate)
    assert decoded.dtype == np.float32
    assert len(decoded) == len(expected) > 0
    np.testing.assert_array_equal(decoded.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize(("name", "rate", "channels", "options"), FILES, ids=[file[0] for file in FILES])
def test_every_format_is_decoded_as_by_the_command(tmp_path, name, rate, channels, options):
    needs_encoder(options)
    path = encode(tmp_path / name, sound(1.7, rate, channels), rate, *options)
    assert_same(path)
    content = path.read_bytes()
    # By content: the name does not count.
    (tmp_path / "unnamed").write_bytes(content)
    decoded = decode_audio(path)
    np.testing.assert_array_equal(decode_audio(tmp_path / "unnamed"), decoded)
    np.testing.assert_array_equal(decode_audio(content), decoded)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_other_rates_than_16_khz(tmp_path, rate):
    assert_same(encode(tmp_path / "a.mp3", sound(1, 44100, 2), 44100), rate)
    assert_same(encode(tmp_path / "a.wav", sound(1, 16000), 16000), rate)


def test_a_peak_above_full_scale_is_not_clipped(tmp_path):
    loud = np.ones((4000, 2), np.float32)
    path = encode(tmp_path / "loud.wav", loud, 16000, "-c:a", "pcm_s16le")
    assert_same(path)
    assert decode_audio(path).max() > 1.4


KINDS = [("wav", "pcm_s16le"), ("wav", "pcm_f32le"), ("flac", "flac"), ("mp3", "libmp3lame"), ("ogg", "libvorbis"),
         ("m4a", "aac"), ("opus", "libopus"), ("wma", "wmav2")]  # fmt: skip


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(KINDS),
    rate=st.sampled_from([16000, 22050, 24000, 32000, 44100, 48000]),
    channels=st.integers(1, 2),
    length=st.integers(300, 30000),
    seed=st.integers(0, 1000),
)
def test_any_rate_and_length(tmp_path, kind, rate, channels, length, seed):
    extension, codec = kind
    rate = 48000 if codec == "libopus" else rate
    samples = sound(length / rate, rate, channels, seed)
    # WMA has no sound to give back of less than a frame.
    assert assert_same_outcome(encode(tmp_path / f"{seed}.{extension}", samples, rate, "-c:a", codec)) or length < 4096


@pytest.mark.parametrize("extension", ["mp3", "aac", "ac3", "ogg", "flac"])
def test_a_stream_that_changes_its_format_in_mid_file(tmp_path, extension):
    """Two files in a row: another rate, another number of channels."""
    rates = (48000, 32000) if extension == "ac3" else (44100, 22050)
    first = encode(tmp_path / f"a.{extension}", sound(1, rates[0], 2), rates[0])
    second = encode(tmp_path / f"b.{extension}", sound(1.3, rates[1], 1, seed=1), rates[1])
    path = tmp_path / f"both.{extension}"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    assert_same(path)


@pytest.mark.parametrize("extension", ["mkv", "mp4"])
def test_of_several_streams_the_one_is_taken_that_the_command_takes(tmp_path, extension):
    files = [encode(tmp_path / f"{n}.wav", sound(1, 44100, n, seed=n), 44100) for n in (1, 6, 2)]
    inputs = [argument for file in files for argument in ("-i", file)]
    for default in range(3):
        flags = [flag for n in range(3) for flag in (f"-disposition:a:{n}", "default" if n == default else 0)]
        path = tmp_path / f"{default}.{extension}"
        maps = ("-map", 0, "-map", 1, "-map", 2)
        assert run_ffmpeg(*inputs, *maps, "-c:a", "aac", *flags, path).returncode == 0
        assert_same(path)


def test_the_sound_of_a_video_is_decoded(tmp_path):
    wav = encode(tmp_path / "a.wav", sound(2, 44100, 2), 44100)
    for name, codec in (("a.mp4", "mpeg4"), ("a.mkv", "mpeg4"), ("a.avi", "mpeg4"), ("a.mpg", "mpeg1video")):
        path = tmp_path / name
        picture = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=2")
        assert run_ffmpeg(*picture, "-i", wav, "-c:v", codec, "-map", 0, "-map", 1, path).returncode == 0
        assert_same(path)


def test_an_edit_list_is_followed(tmp_path):
    wav = encode(tmp_path / "a.wav", sound(3, 44100, 2), 44100)
    whole = tmp_path / "whole.m4a"
    assert run_ffmpeg("-i", wav, "-c:a", "aac", whole).returncode == 0
    cut = tmp_path / "cut.m4a"
    assert run_ffmpeg("-ss", 0.73, "-i", whole, "-t", 1.1, "-c", "copy", cut).returncode == 0
    assert_same(cut)


def test_a_cover_picture_does_not_matter(tmp_path):
    wav = encode(tmp_path / "a.wav", sound(1, 44100, 2), 44100)
    path = tmp_path / "song.mp3"
    cover = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=1:duration=1")
    options = ("-map", 0, "-map", 1, "-c:v", "mjpeg", "-disposition:v", "attached_pic", "-frames:v", 1)
    assert run_ffmpeg("-i", wav, *cover, *options, path).returncode == 0
    assert_same(path)


DAMAGED = ["wav", "flac", "mp3", "ogg", "opus", "aac", "m4a", "wma", "ac3", "mka"]


def assert_same_outcome(path: Path) -> bool:
    """Equal samples where the command succeeds, refused where it does not; whether it succeeded."""
    status, expected = command_decode(path)
    if status == 0 and len(expected) and np.isfinite(expected).all():
        decoded = decode_audio(path)
        np.testing.assert_array_equal(decoded.view(np.uint32), expected.view(np.uint32))
        return True
    with pytest.raises(DecodeError):
        decode_audio(path)
    return False


@pytest.mark.parametrize("extension", DAMAGED)
def test_a_truncated_file_gives_what_the_command_finds_in_it(tmp_path, extension):
    rate = 48000
    content = encode(tmp_path / f"a.{extension}", sound(2, rate, 2), rate).read_bytes()
    for share in (0.05, 0.3, 0.5, 0.77, 0.99):
        path = tmp_path / f"{share}.{extension}"
        path.write_bytes(content[: int(len(content) * share)])
        assert_same_outcome(path)


@pytest.mark.parametrize("extension", DAMAGED)
def test_damaged_packets_are_skipped_as_by_the_command(tmp_path, extension):
    rate = 48000
    content = encode(tmp_path / f"a.{extension}", sound(2, rate, 2), rate).read_bytes()
    outcomes = []
    for seed, errors in enumerate((1, 3, 10, 30, 100)):
        rng = np.random.default_rng(seed)
        damaged = np.frombuffer(content, np.uint8).copy()
        # The header stays: which format it is must not change.
        places = rng.integers(len(damaged) // 8, len(damaged), errors)
        damaged[places] = rng.integers(0, 256, errors)
        path = tmp_path / f"{seed}.{extension}"
        path.write_bytes(damaged.tobytes())
        outcomes.append(assert_same_outcome(path))
    assert any(outcomes)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_an_array_is_decoded_as_a_wav_of_the_same_samples(tmp_path, dtype, channels, rate):
    samples = sound(0.8, rate, channels)
    if np.dtype(dtype).kind == "i":
        samples = np.clip(samples * 0.5, -1, 1) * np.iinfo(dtype).max
    samples = samples.astype(dtype)
    path = tmp_path / "a.wav"
    path.write_bytes(wave_file(samples, rate))
    assert_same(path)
    expected = decode_audio(path)
    layouts = {
        "columns": samples,
        "rows": np.ascontiguousarray(samples.T),
        "fortran": np.asfortranarray(samples),
        "foreign": samples.astype(samples.dtype.newbyteorder(">")),
    }
    for name, array in layouts.items():
        for save in (np.savez, np.savez_compressed):
            save(tmp_path / f"{name}.npz", audio=array if channels > 1 else array.ravel(), sr=rate)
            np.testing.assert_array_equal(decode_audio(tmp_path / f"{name}.npz"), expected)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp3", ("-write_xing", 0, "-id3v2_version", 0)), ("a.aac", ()), ("a.ac3", ()), ("a.dts", ("-strict", -2))],
)
def test_another_codec_in_the_samples_of_a_wav_is_found_as_by_the_command(tmp_path, name, options):
    """CD images hold DTS and AC-3 as if it were samples; the command looks for them, and plays them."""
    stream = encode(tmp_path / name, sound(2, 44100, 2), 44100, *options).read_bytes()
    stream += bytes(-len(stream) % 4)
    path = tmp_path / "disc.wav"
    for start in (b"", bytes(400)):
        path.write_bytes(wave_file(np.frombuffer(start + stream, np.int16).reshape(-1, 2), 44100))
        assert_same(path)


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    samples=st.lists(st.sampled_from([-1, -2, 0, 1, 16, 4096, -5, 0x770B, -0x100, 30_000]), min_size=40, max_size=400),
    channels=st.integers(1, 2),
    rate=st.sampled_from([8000, 16000, 44100]),
)
def test_quiet_and_odd_samples_are_taken_as_samples(tmp_path, samples, channels, rate):
    path = tmp_path / "a.wav"
    path.write_bytes(wave_file(np.array(samples[: len(samples) // 2 * 2], np.int16).reshape(-1, channels), rate))
    assert_same(path)
