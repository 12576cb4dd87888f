"""Frames of video files against decord 0.6.0, and against a decode of the `ffmpeg` command from start to end."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from video_files import (
    KINDS,
    REWOUND_WRONGLY,
    WITH_B_FRAMES,
    count_and_rate,
    decord_count,
    decord_frames,
    ffmpeg,
    make_clip,
    picked,
    picture_size,
    sequential_frames,
)

from dfresearch_rs import decode_video

DECORD_FAILS_ON = {("mpeg2", (98, 65))}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


def assert_same_as_both(path, kind="h264"):
    expected = sequential_frames(path)
    frames = decode_video(path, num_frames=len(expected))
    np.testing.assert_array_equal(frames, expected)
    if kind not in REWOUND_WRONGLY:
        np.testing.assert_array_equal(decode_video(path, num_frames=decord_count(path)), decord_frames(path))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file(folder, kind):
    b_frames = "-bf 2" if kind.startswith(WITH_B_FRAMES) else ""
    path = make_clip(folder, kind, size=(128, 72), extra=f"-g 6 {b_frames}")
    assert_same_as_both(path, kind)
    np.testing.assert_array_equal(decode_video(path.read_bytes()), decode_video(path))


@pytest.mark.parametrize("kind", ["h264-444", "h264-gray", "h264-rgb", "vp8", "vp9", "mpeg4", "mpeg2", "mjpeg", "ffv1"])
@pytest.mark.parametrize("size", [(97, 65), (98, 65), (65, 98), (17, 33)])
def test_odd_sides(folder, kind, size):
    path = make_clip(folder, kind, f"{size[0]}x{size[1]}", size=size, frames=6)
    np.testing.assert_array_equal(decode_video(path, num_frames=6), sequential_frames(path))
    # decord opens some of these, and fails on the distance between rows of others.
    if (kind, size) not in DECORD_FAILS_ON:
        np.testing.assert_array_equal(decode_video(path, num_frames=6), decord_frames(path))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["h264", "h264-mkv", "h264-10", "hevc", "hevc-10", "vp8", "vp9", "mpeg4", "mjpeg", "ffv1"]),
    size=st.tuples(st.integers(32, 88), st.integers(32, 72)).map(lambda size: (size[0] * 2, size[1] * 2)),
    gop=st.integers(1, 15),
    b_frames=st.integers(0, 4),
    rate=st.sampled_from(["25", "30000/1001", "12", "60"]),
    clip_frames=st.integers(1, 40),
    sampling=st.sampled_from(["first", "rate", "uniform"]),
    num_frames=st.integers(1, 24),
    frame_rate=st.sampled_from([1.0, 5.0, 7.5, 24.0, 100.0]),
)
def test_any_sampling_of_any_clip(
    tmp_path, kind, size, gop, b_frames, rate, clip_frames, sampling, num_frames, frame_rate
):
    extra = f"-g {gop}" + (f" -bf {b_frames}" if kind.startswith(WITH_B_FRAMES) else "")
    path = make_clip(tmp_path, kind, size=size, frames=clip_frames, rate=rate, extra=extra)
    everything = sequential_frames(path)
    total, clip_rate = count_and_rate(path)
    if sampling == "uniform":
        indices = np.linspace(0, total - 1, num_frames).astype(int)
    else:
        step = max(1, round(clip_rate / frame_rate)) if sampling == "rate" else 1
        indices = np.arange(0, total, step)[:num_frames]
    expected = picked(everything, indices, num_frames)
    given_rate = frame_rate if sampling == "rate" else None
    frames = decode_video(path, num_frames, sampling, given_rate)
    np.testing.assert_array_equal(frames, expected)


@pytest.mark.parametrize("angle", [90, 180, 270, 45])
@pytest.mark.parametrize("kind", ["h264", "h264-10", "h264-444", "h264-gray", "h264-full", "hevc"])
def test_display_matrices_are_applied(folder, kind, angle):
    upright = make_clip(folder, kind, f"to-turn-{angle}", size=(98, 66), frames=6)
    path = folder / f"turned-{angle}-{kind}.mp4"
    ffmpeg("-i", upright, "-c", "copy", "-metadata:s:v:0", f"rotate={angle}", path)
    np.testing.assert_array_equal(decode_video(path, num_frames=6), decord_frames(path))
    assert decode_video(path).shape[1:3] == ((98, 66) if angle in (90, 270) else (66, 98))


def with_matrix(path, a, b, c, d):
    """Write the four factors of the track's display matrix into an MP4 file."""
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd") + 4
    # Version 0: flags, times, track, duration and so on take 40 bytes.
    fields = [a, b, 0, c, d, 0, 0, 0, 1 << 14]
    for number, field in enumerate(fields):
        start = header + 40 + 4 * number
        content[start : start + 4] = int(field * 65536).to_bytes(4, "big", signed=True)
    return bytes(content)


@pytest.mark.parametrize("matrix", [(-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, 2, -2, 0), (0, -1, 1, 0)])
def test_mirroring_and_scaling_matrices(folder, tmp_path, matrix):
    path = tmp_path / "mirrored.mp4"
    path.write_bytes(with_matrix(make_clip(folder, name="to-mirror", frames=4), *matrix))
    np.testing.assert_array_equal(decode_video(path, num_frames=4), decord_frames(path))


def test_edit_lists_shorten_the_clip_and_not_the_count(folder):
    whole = make_clip(folder, name="whole", frames=30, extra="-bf 3 -g 8")
    path = folder / "cut.mp4"
    ffmpeg("-ss", "0.5", "-i", whole, "-c", "copy", path)
    shown = sequential_frames(path)
    assert len(shown) < decord_count(path)
    np.testing.assert_array_equal(decode_video(path, num_frames=decord_count(path)), decord_frames(path))
    indices = np.linspace(0, decord_count(path) - 1, 9).astype(int)
    frames = decode_video(path, 9, "uniform")
    np.testing.assert_array_equal(frames, decord_frames(path, indices))
    np.testing.assert_array_equal(frames, picked(shown, indices, 9))


@pytest.mark.parametrize("kind", ["h264", "h264-mkv", "hevc"])
def test_open_groups_of_pictures(folder, kind):
    options = "-x265-params log-level=error:open-gop=1:keyint=8:min-keyint=8:bframes=3:scenecut=0"
    if kind.startswith("h264"):
        options = "-x264-params open-gop=1:keyint=8:min-keyint=8:bframes=3:scenecut=0"
    path = make_clip(folder, kind, "open", frames=40, extra=options)
    expected = sequential_frames(path)
    np.testing.assert_array_equal(decode_video(path, num_frames=40), expected)
    for num_frames in (3, 5, 11):
        indices = np.linspace(0, 39, num_frames).astype(int)
        np.testing.assert_array_equal(decode_video(path, num_frames, "uniform"), expected[indices])


def test_a_clip_cut_out_without_its_first_key_frame(folder):
    """The decoder leaves out pictures in the middle, so packets no longer tell the numbers of frames."""
    options = "-x265-params log-level=error:keyint=8:bframes=4:open-gop=1"
    whole = make_clip(folder, "hevc", "whole", frames=60, extra=options)
    path = folder / "headless.mkv"
    ffmpeg("-i", whole, "-c", "copy", "-bsf:v", "noise=drop='lt(n,9)'", path)
    total = decord_count(path)
    shown = decode_video(path, num_frames=total)
    assert np.array_equal(shown[-1], shown[-2])
    for num_frames in (3, 5, 8):
        indices = np.linspace(0, total - 1, num_frames).astype(int)
        np.testing.assert_array_equal(decode_video(path, num_frames, "uniform")[:-1], shown[indices[:-1]])


def test_rolling_refresh_without_key_frames(folder):
    path = make_clip(folder, name="refresh", frames=40, extra="-x264-params intra-refresh=1:keyint=10:bframes=0")
    expected = sequential_frames(path)
    for num_frames in (2, 4, 40):
        indices = np.linspace(0, 39, num_frames).astype(int)
        np.testing.assert_array_equal(decode_video(path, num_frames, "uniform"), expected[indices])


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_variable_frame_rates(folder, extension):
    path = folder / f"variable.{extension}"
    picture = "testsrc2=size=96x64:rate=25,select='not(mod(n,3))+lt(n,10)',setpts=N*N*0.001/TB"
    ffmpeg("-f", "lavfi", "-i", picture, "-frames:v", 20, "-fps_mode", "passthrough", "-c:v", "libx264", "-bf", 2, path)
    assert_same_as_both(path)
    total, clip_rate = count_and_rate(path)
    step = max(1, round(clip_rate / 10.0))
    expected = picked(sequential_frames(path), range(0, total, step)[:8], 8)
    np.testing.assert_array_equal(decode_video(path, 8, "rate", 10.0), expected)


def test_a_header_without_a_frame_count(folder):
    path = folder / "live.mkv"
    # Written to a pipe, the file never learns its duration.
    content = ffmpeg("-i", make_clip(folder, name="counted"), "-c", "copy", "-f", "matroska", "-")
    path.write_bytes(content)
    expected = sequential_frames(path)
    # decord refuses the file, for it trusts the header's duration alone.
    np.testing.assert_array_equal(decode_video(path, num_frames=20), expected)
    np.testing.assert_array_equal(decode_video(path, 5, "uniform"), expected[[0, 4, 9, 14, 19]])


@pytest.mark.parametrize("kind", ["vp8", "vp9"])
def test_packets_that_show_nothing(folder, kind):
    extension, _ = KINDS[kind]
    codec = "libvpx" if kind == "vp8" else "libvpx-vp9"
    path = folder / f"alternate-{kind}.{extension}"
    picture = "testsrc2=size=96x64:rate=25"
    options = ["-auto-alt-ref", "1", "-lag-in-frames", "16", "-deadline", "good", "-cpu-used", "8", "-b:v", "80k"]
    ffmpeg("-f", "lavfi", "-i", picture, "-frames:v", 40, "-c:v", codec, *options, path)
    expected = sequential_frames(path)
    np.testing.assert_array_equal(decode_video(path, num_frames=len(expected)), expected)
    indices = np.linspace(0, count_and_rate(path)[0] - 1, 7).astype(int)
    np.testing.assert_array_equal(decode_video(path, 7, "uniform"), picked(expected, indices, 7))


def test_av1(folder):
    path = folder / "clip-av1.mp4"
    options = ["-c:v", "libsvtav1", "-preset", "12", "-g", "8", "-pix_fmt", "yuv420p"]
    ffmpeg("-f", "lavfi", "-i", "testsrc2=size=128x96:rate=25", "-frames:v", 20, *options, path)
    expected = sequential_frames(path)
    np.testing.assert_array_equal(decode_video(path, num_frames=20), expected)
    indices = np.linspace(0, 19, 6).astype(int)
    np.testing.assert_array_equal(decode_video(path, 6, "uniform"), expected[indices])


def test_pictures_that_change_their_size_keep_that_of_the_header(folder):
    parts = [make_clip(folder, "h264-ts", f"part-{side}", size=(side, 64), frames=8) for side in (96, 160)]
    path = folder / "changing.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames = decode_video(path, num_frames=16)
    assert frames.shape == (16, 64, 96, 3)
    np.testing.assert_array_equal(frames[:8], sequential_frames(parts[0]))
    # decord loses the first frames of such a stream, and repeats the last one in their stead.
    np.testing.assert_array_equal(frames[8:], decord_frames(path)[:8])


def test_interlaced_and_telecined_pictures(folder):
    path = make_clip(folder, name="interlaced", extra="-flags +ildct+ilme -x264-params tff=1:bframes=2:keyint=6")
    assert_same_as_both(path)
    np.testing.assert_array_equal(decode_video(path, 5, "uniform"), decord_frames(path, [0, 4, 9, 14, 19]))
    assert picture_size(path) == (96, 64)
