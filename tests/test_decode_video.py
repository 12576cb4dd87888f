"""What `decode_video` accepts and refuses, and that nothing is said on stderr."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from video_files import ffmpeg, make_clip, sequential_frames

from dfresearch_rs import ArgumentError, DecodeError, decode_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def clip(folder):
    return make_clip(folder, frames=30, extra="-g 10 -bf 2")


def refusal(source, *arguments) -> str:
    with pytest.raises(DecodeError) as caught:
        decode_video(source, *arguments)
    return str(caught.value)


def test_short_clips_repeat_their_last_frame(folder):
    path = make_clip(folder, name="short", frames=3)
    frames = decode_video(path, num_frames=5)
    np.testing.assert_array_equal(frames[:3], sequential_frames(path))
    np.testing.assert_array_equal(frames[3:], frames[[2, 2]])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"num_frames": 0}, "num_frames"),
        ({"num_frames": 4097}, "num_frames"),
        ({"sampling": "last"}, "sampling"),
        ({"sampling": "rate"}, "frame_rate"),
        ({"sampling": "rate", "frame_rate": -1.0}, "frame_rate"),
        ({"sampling": "rate", "frame_rate": float("nan")}, "frame_rate"),
        ({"sampling": "first", "frame_rate": 8.0}, "frame_rate"),
    ],
)
def test_arguments_are_checked(clip, arguments, named):
    with pytest.raises(ArgumentError, match=f"^{named}: "):
        decode_video(clip, **arguments)


def test_a_missing_file(folder):
    with pytest.raises(FileNotFoundError):
        decode_video(folder / "missing.mp4")


def test_content_that_is_no_video(folder, tmp_path):
    image = tmp_path / "image.mp4"
    Image.new("RGB", (32, 32)).save(image, "JPEG")
    assert refusal(image) == f"{image}: not a known video format: a JPEG image"
    assert refusal(b"hello, this is text") == "<bytes>: not a known video format: plain text"
    assert refusal(b"") == "<bytes>: the file is empty"
    song = tmp_path / "song.m4a"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", song)
    assert refusal(song) == f"{song}: no video in this MP4/QuickTime file: it holds audio"


def test_lists_of_other_files_are_not_followed(clip, tmp_path):
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{clip}'\n",
    ):
        path = tmp_path / "list.mp4"
        path.write_text(text)
        assert "not a known video format" in refusal(path)


def box(content: bytes, name: bytes) -> int:
    """Find the first byte after a box's name."""
    return content.index(name) + 4


def test_a_truncated_header(clip):
    assert refusal(clip.read_bytes()[:2000]) == "<bytes>: corrupt MP4/QuickTime: moov atom not found"


def test_a_clip_without_frames(tmp_path):
    path = tmp_path / "none.mp4"
    subprocess.run(
        ["ffmpeg", "-v", "quiet", "-f", "lavfi", "-i", "testsrc2=size=64x48", "-frames:v", "0", "-c:v", "mpeg4", path],
        check=False,
    )
    assert "frame" in refusal(path) or "no video" in refusal(path)


def test_a_clip_that_breaks_off_is_used_as_far_as_it_goes(folder):
    path = make_clip(folder, name="broken", frames=40, extra="-g 5 -movflags faststart")
    content = path.read_bytes()
    cut = content[: box(content, b"mdat") + (len(content) - box(content, b"mdat")) // 2]
    expected = sequential_frames(path)
    np.testing.assert_array_equal(decode_video(cut, num_frames=8), expected[:8])
    assert refusal(cut, 40).startswith("<bytes>: corrupt MP4/QuickTime: ")
    assert refusal(cut, 8, "uniform").startswith("<bytes>: corrupt MP4/QuickTime: ")


@pytest.mark.parametrize("kind", ["h264", "mpeg4-mp4"])
def test_damage_in_the_wanted_frames_is_an_error(folder, kind):
    path = make_clip(folder, kind, "damaged", size=(160, 128), frames=40, extra="-g 20 -movflags faststart")
    content = bytearray(path.read_bytes())
    start = box(content, b"mdat")
    middle = start + (len(content) - start) // 2
    noise = np.random.default_rng(0).integers(0, 256, (len(content) - start) // 3, np.uint8)
    content[middle : middle + len(noise)] = noise.tobytes()
    np.testing.assert_array_equal(decode_video(bytes(content), num_frames=4), sequential_frames(path)[:4])
    assert refusal(bytes(content), 40).startswith("<bytes>: corrupt MP4/QuickTime: ")


def test_a_header_that_promises_ten_hours(clip):
    content = bytearray(clip.read_bytes())
    for name in (b"mvhd", b"mdhd"):
        # Version 0: flags, two times, the time scale, the duration.
        start = box(content, name) + 16
        scale = int.from_bytes(content[start - 4 : start], "big")
        content[start : start + 4] = (36_000 * scale).to_bytes(4, "big")
    np.testing.assert_array_equal(decode_video(bytes(content)), decode_video(clip))
    np.testing.assert_array_equal(decode_video(bytes(content), 6, "uniform"), decode_video(clip, 6, "uniform"))


def test_a_size_over_the_limit_is_refused(tmp_path):
    path = tmp_path / "huge.mov"
    ffmpeg("-f", "lavfi", "-i", "color=size=8208x8208", "-frames:v", 1, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", path)
    assert refusal(path) == f"{path}: 8208x8208 pixels are over the limit of 67108864 pixels in all"


def test_nothing_is_said_on_stderr(folder, clip, tmp_path):
    content = bytearray(clip.read_bytes())
    start = box(content, b"mdat")
    damage = slice(start + 300, start + 3000, 7)
    content[damage] = b"\xff" * len(content[damage])
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    script = """
import sys, dfresearch_rs
for source in sys.argv[1:]:
    for sampling in ("first", "uniform"):
        try:
            dfresearch_rs.decode_video(source, 30, sampling)
        except dfresearch_rs.DfresearchError as error:
            print(error)
"""
    command = [sys.executable, "-c", script, str(damaged), str(clip)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "corrupt" in done.stdout


# Folders of frames


def test_a_folder_is_a_clip_in_the_order_of_its_numbers(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (12, 20, 30, 3), np.uint8)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}_frame.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    np.testing.assert_array_equal(decode_video(tmp_path, 11), frames[:11])
    np.testing.assert_array_equal(decode_video(tmp_path, 14)[12:], frames[[11, 11]])
    np.testing.assert_array_equal(decode_video(tmp_path, 4, "rate", 1.0), frames[:4])


def test_hidden_companions_of_frames_are_no_frames(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (2, 20, 30, 3), np.uint8)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
        (tmp_path / f"._{number}.png").write_bytes(b"\x00\x05\x16\x07 what some systems leave")
    np.testing.assert_array_equal(decode_video(tmp_path, 3), frames[[0, 1, 1]])


@pytest.mark.parametrize("extension", ["jpg", "png", "webp", "bmp"])
@pytest.mark.parametrize("orientation", [None, 1, 2, 3, 4, 5, 6, 7, 8])
def test_frames_are_read_as_opencv_reads_them(tmp_path, extension, orientation):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (6, 9, 3), np.uint8)
    image = Image.fromarray(cv2.resize(small, (50, 34), interpolation=cv2.INTER_CUBIC))
    options = {}
    if orientation is not None and extension != "bmp":
        exif = image.getexif()
        exif[0x0112] = orientation
        options["exif"] = exif
    image.save(tmp_path / f"1.{extension}", **options)
    expected = cv2.imread(str(tmp_path / f"1.{extension}"))[..., ::-1]
    np.testing.assert_array_equal(decode_video(tmp_path, 1)[0], expected)


def test_sixteen_bits_keep_their_upper_eight(tmp_path):
    path = tmp_path / "1.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 1 << 16, (20, 30, 3), np.uint16))
    np.testing.assert_array_equal(decode_video(tmp_path, 1)[0], cv2.imread(str(path))[..., ::-1])


def test_grey_of_sixteen_bits_is_refused(tmp_path):
    path = tmp_path / "1.png"
    cv2.imwrite(str(path), np.zeros((20, 30), np.uint16))
    assert refusal(tmp_path) == f"{path}: unsupported PNG: grey of 16 bits; save the frames with 8 bits"


def test_folders_that_are_no_clips(tmp_path):
    assert refusal(tmp_path) == f"{tmp_path}: empty folder of frames: it holds no image files"
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    Image.new("RGB", (8, 9)).save(tmp_path / "2.png")
    assert (
        refusal(tmp_path)
        == f"{tmp_path / '2.png'}: corrupt folder of frames: 8x9 pixels, but the frames before have 8x8"
    )
    (tmp_path / "2.png").write_bytes(b"no image")
    assert refusal(tmp_path) == f"{tmp_path / '2.png'}: not a known image format: plain text"


def test_an_interruption_while_decoding_is_a_keyboard_interrupt(tmp_path):
    """Whenever it comes: NumPy, first needed for the result, would not survive it in its import."""
    path = tmp_path / "clip.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=1280x720", "-frames:v", 100, "-c:v", "mpeg4", path)
    code = """
import os, signal, sys, threading, time
import dfresearch_rs
try:
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    dfresearch_rs.decode_video(sys.argv[1], 100)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
"""
    finished = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, timeout=100)
    assert finished.stdout == "interrupted\n", finished.stderr
