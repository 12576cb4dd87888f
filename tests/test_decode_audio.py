"""What `decode_audio` and `preprocess_audio` accept and refuse, and how they say so."""

import io
import os
import struct
import subprocess
import sys
import wave
import zipfile

import numpy as np
import pytest
from audio_files import command_decode, encode, run_ffmpeg, sound, wave_file
from PIL import Image

from dfresearch_rs import ArgumentError, DecodeError, decode_audio, preprocess_audio


def refusal(source):
    with pytest.raises(DecodeError) as caught:
        decode_audio(source)
    return str(caught.value)


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def png():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html>\n<html><title>404 Not Found</title></html>", "not a known audio format: HTML text"),
        (b"Too many requests\n" * 200, "not a known audio format: plain text"),
        (png(), "not a known audio format: a PNG image"),
        (bytes(5000), "not a known audio format: nothing but zero bytes"),
    ],
)
def test_what_is_no_sound_is_refused_for_what_it_is(tmp_path, content, reason):
    path = tmp_path / "voice.wav"
    path.write_bytes(content)
    assert refusal(path) == f"{path}: {reason}"
    assert refusal(content) == f"<bytes>: {reason}"


def test_a_file_that_cannot_be_read_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        decode_audio(tmp_path / "missing.wav")
    with pytest.raises(IsADirectoryError):
        decode_audio(tmp_path)
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(OSError, match="not a regular file"):
        decode_audio(tmp_path / "pipe.wav")


def test_a_name_that_looks_like_an_address_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    samples = sound(0.2, 16000)
    path = tmp_path / "concat:a|b.wav"
    path.write_bytes(wave_file(samples, 16000))
    np.testing.assert_array_equal(decode_audio("concat:a|b.wav"), samples[:, 0])


def test_a_playlist_is_refused_and_what_it_names_not_opened(tmp_path):
    encode(tmp_path / "a.mp3", sound(1, 44100), 44100)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.mp3\n#EXT-X-ENDLIST\n")
    assert "not a known audio format" in refusal(playlist)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_values_that_are_not_finite_are_refused_where_they_stand(value, rate):
    samples = sound(1, rate)
    samples[rate // 2] = value
    for content in (wave_file(samples, rate), npz(audio=samples[:, 0], sr=rate)):
        message = refusal(content)
        assert "corrupt" in message
        assert "the sample at 0." in message
        assert "not a number" in message


def test_a_file_without_samples_is_refused():
    for content in (wave_file(np.zeros(0, np.int16), 16000), npz(audio=np.zeros(0, np.float32), sr=16000)):
        assert "there is no sound in it" in refusal(content)


def test_silence_is_content():
    np.testing.assert_array_equal(decode_audio(wave_file(np.zeros(1000, np.int16), 16000)), np.zeros(1000))


def test_a_video_without_sound_is_refused(tmp_path):
    path = tmp_path / "mute.mp4"
    picture = ("-f", "lavfi", "-i", "testsrc=size=64x48:rate=25:duration=1")
    assert run_ffmpeg(*picture, "-c:v", "mpeg4", path).returncode == 0
    assert refusal(path) == f"{path}: no audio in this MP4/QuickTime file: it holds video"


def test_a_truncated_mp4_without_its_index_is_refused(tmp_path):
    path = encode(tmp_path / "a.m4a", sound(2, 44100), 44100, "-c:a", "aac")
    content = path.read_bytes()
    assert content.index(b"moov") > len(content) // 2
    path.write_bytes(content[: len(content) // 2])
    assert command_decode(path)[0] != 0
    message = refusal(path)
    assert message.startswith(f"{path}: ")
    assert "moov" in message


def test_a_truncated_wav_or_flac_gives_what_is_there(tmp_path):
    samples = sound(2, 16000)
    wav = wave_file(samples, 16000)
    half = decode_audio(wav[: 44 + 16000 * 4])
    np.testing.assert_array_equal(half, samples[:16000, 0])
    flac = encode(tmp_path / "a.flac", samples, 16000).read_bytes()
    whole, part = decode_audio(flac), decode_audio(flac[: len(flac) // 2])
    assert 8000 < len(part) < 24000
    np.testing.assert_array_equal(part, whole[: len(part)])


@pytest.mark.parametrize("announced", [0, 100, 10**6, 2**31 - 36, 2**32 - 1])
def test_a_wav_header_that_lies_about_its_length_is_read_as_by_the_command(tmp_path, announced):
    """2**31 - 36 is close to what speech synthesisers write into a pipe; 2**32 - 1 is what ffmpeg writes."""
    content = bytearray(wave_file(sound(1, 22050), 22050))
    content[40:44] = struct.pack("<I", announced)
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    status, expected = command_decode(path)
    assert status == 0
    if len(expected):
        np.testing.assert_array_equal(decode_audio(path), expected)
    else:
        refusal(path)


def flac_of_ten_hours(tmp_path):
    content = bytearray(encode(tmp_path / "a.flac", sound(1, 16000), 16000).read_bytes())
    # STREAMINFO begins after the signature and the block's header; the total is its 36 bits from bit 108 on.
    total = 36000 * 16000
    content[21] = content[21] & 0xF0 | total >> 32
    content[22:26] = struct.pack(">I", total & 0xFFFFFFFF)
    return bytes(content)


def test_ten_hours_are_refused_before_memory_is_taken(tmp_path):
    assert refusal(flac_of_ten_hours(tmp_path)).endswith("there is more in it than the limit of 3600 seconds of sound")

    long = tmp_path / "long.wav"
    with wave.open(str(long), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(b"")
    content = bytearray(long.read_bytes())
    data_bytes = 36000 * 32000
    content[4:8], content[40:44] = struct.pack("<I", 36 + data_bytes), struct.pack("<I", data_bytes)
    long.write_bytes(content)
    os.truncate(long, 44 + data_bytes)
    code = """
import resource, sys
from dfresearch_rs import DecodeError, decode_audio
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        decode_audio(path)
    except DecodeError as error:
        print(str(error).rsplit(": ", 1)[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000)
"""
    archive = tmp_path / "long.npz"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as members, members.open("audio.npy", "w") as member:
        member.write(npy_header("<f4", (36000 * 16000,)))
        member.write(bytes(10_000_000))
    command = [sys.executable, "-c", code, long, archive]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=60)
    reason = "there is more in it than the limit of 3600 seconds of sound"
    assert finished.stdout.splitlines() == [reason, reason, "True"], finished.stderr


def test_an_archive_that_stands_for_gigabytes_is_refused_unread():
    """An hour of eight channels: some MiB of compressed zeros would become 3.7 GB."""
    bomb = archive(audio=npy_header("<f8", (8, 57_600_000)) + bytes(64))
    assert refusal(bomb).endswith("there is more in it than the limit of 1073741824 bytes of numbers")


def npy_header(kind, shape):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return buffer.getvalue()


SAMPLES = np.linspace(-1, 1, 400, dtype=np.float32)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (npz(voice=SAMPLES, sr=16000), "corrupt NPZ: there is no array audio in it, but voice, sr"),
        (npz(audio=SAMPLES, sr=0), "corrupt NPZ: sr is 0, which is no sampling rate"),
        (npz(audio=SAMPLES, sr=np.array([16000, 8000])), "corrupt NPZ: sr: sr has the shape [2]; one number"),
        (npz(audio=SAMPLES.astype(np.complex64), sr=16000), "corrupt NPZ: audio: numbers of the type <c8 are not read"),
        (npz(audio=SAMPLES.astype(np.int64), sr=16000), "corrupt NPZ: audio: numbers of the type <i8 are not read"),
        (npz(audio=SAMPLES.reshape(20, 20), sr=16000), "has 20 channels, and 8 is the limit"),
        (npz(audio=SAMPLES.reshape(4, 10, 10), sr=16000), "has neither one axis nor two"),
        (npz(audio=np.array([{"a": 1}]), sr=16000), "numbers of the type |O are not read"),
        (npz(audio=SAMPLES, sr=16000)[:-100], "corrupt NPZ: "),
        (archive(audio=b"hello"), "truncated NPZ: "),
        (archive(audio=b"hello world"), "corrupt NPZ: audio: it is no NPY array"),
        (archive(audio=npy_header("<f4", (10,)) + bytes(20)), "truncated NPZ: the header announces 40 bytes and 20"),
        (archive(audio=npy_header("<f4", (2**62, 2**62))), "audio: "),
        (archive(audio=b"\x93NUMPY\x01\x00\x05\x00hello"), "audio: its header is not understood: hello"),
    ],
)
def test_an_array_that_cannot_be_used_is_refused(content, reason):
    assert reason in refusal(content)


def test_an_array_without_a_rate_is_at_16_khz():
    np.testing.assert_array_equal(decode_audio(npz(audio=SAMPLES)), SAMPLES)
    for rate in (np.float64(16000), np.array([16000]), np.int32(16000)):
        np.testing.assert_array_equal(decode_audio(npz(audio=SAMPLES, sr=rate)), SAMPLES)


def test_ffmpeg_says_nothing_on_stderr(tmp_path):
    path = encode(tmp_path / "a.mp3", sound(1, 44100), 44100)
    content = bytearray(path.read_bytes())
    content[3000:3200] = bytes(200)
    path.write_bytes(content)
    code = "import sys, dfresearch_rs; dfresearch_rs.decode_audio(sys.argv[1])"
    finished = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=60)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
    assert run_ffmpeg("-i", path, "-f", "null", "-").stderr


def test_arguments_are_checked():
    with pytest.raises(ArgumentError, match="sample_rate: 0 Hz is not between 1000 and 384000"):
        decode_audio(b"", 0)
    with pytest.raises(TypeError, match="source: a path or bytes is expected, not int"):
        decode_audio(5)


def test_the_window_is_the_centre_or_padded_with_zeros_on_the_right():
    waveform = np.arange(200_001, dtype=np.float32)
    window = preprocess_audio(waveform)
    np.testing.assert_array_equal(window, waveform[52_000:148_000])
    assert window.dtype == np.float32
    short = preprocess_audio(waveform[:10] + 5)
    np.testing.assert_array_equal(short[:10], waveform[:10] + 5)
    assert len(short) == 96_000
    assert not short[10:].any()
    np.testing.assert_array_equal(preprocess_audio(waveform[::-2], 8000, 0.01), waveform[::-2][49_960:50_040])


def test_a_random_window_is_a_function_of_its_place_in_the_run():
    waveform = np.arange(100_000, dtype=np.float32)
    starts = [preprocess_audio(waveform, crop="random", seed=1, sample=sample)[0] for sample in range(200)]
    assert starts == [preprocess_audio(waveform, crop="random", seed=1, sample=sample)[0] for sample in range(200)]
    assert 0 <= min(starts) < 400
    assert 3600 < max(starts) <= 4000
    assert len({preprocess_audio(waveform, crop="random", seed=s, epoch=e)[0] for s in (1, 2) for e in (0, 1)}) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 5), np.float32),), "waveform: must be a float32"),
        ((np.zeros(5),), "waveform: must be a float32"),
        ((np.zeros(0, np.float32),), "waveform: has no samples"),
        ((np.full(5, np.nan, np.float32),), "waveform: has samples that are not finite"),
        ((np.zeros(5, np.float32), 16000, 0.0), "duration_seconds: 0 seconds"),
        ((np.zeros(5, np.float32), 16000, 6.0, "left"), 'crop: "left" is neither center nor random'),
    ],
)
def test_windows_that_cannot_be_cut_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        preprocess_audio(*arguments)
