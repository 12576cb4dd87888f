"""Small clips that the `ffmpeg` command makes, and the frames that others decode from them."""

import fractions
import pathlib
import subprocess

import decord
import numpy as np

# name: (extension, encoder and pixel format)
KINDS = {
    "h264": ("mp4", "-c:v libx264 -pix_fmt yuv420p"),
    "h264-mov": ("mov", "-c:v libx264 -pix_fmt yuv420p"),
    "h264-mkv": ("mkv", "-c:v libx264 -pix_fmt yuv420p"),
    "h264-flv": ("flv", "-c:v libx264 -pix_fmt yuv420p"),
    "h264-ts": ("ts", "-c:v libx264 -pix_fmt yuv420p"),
    "h264-m4v": ("m4v", "-c:v libx264 -pix_fmt yuv420p -f mp4"),
    "h264-422": ("mp4", "-c:v libx264 -pix_fmt yuv422p"),
    "h264-444": ("mp4", "-c:v libx264 -pix_fmt yuv444p"),
    "h264-10": ("mp4", "-c:v libx264 -pix_fmt yuv420p10le"),
    "h264-gray": ("mp4", "-c:v libx264 -pix_fmt gray"),
    "h264-rgb": ("mkv", "-c:v libx264rgb -pix_fmt rgb24"),
    "h264-full": ("mp4", "-c:v libx264 -pix_fmt yuvj420p"),
    "h264-709": ("mp4", "-c:v libx264 -pix_fmt yuv420p -colorspace bt709 -color_primaries bt709 -color_trc bt709"),
    "hevc": ("mp4", "-c:v libx265 -pix_fmt yuv420p -x265-params log-level=error"),
    "hevc-10": ("mkv", "-c:v libx265 -pix_fmt yuv420p10le -x265-params log-level=error"),
    "vp8": ("webm", "-c:v libvpx -pix_fmt yuv420p -deadline realtime -auto-alt-ref 0"),
    "vp9": ("webm", "-c:v libvpx-vp9 -pix_fmt yuv420p -deadline realtime -cpu-used 8"),
    "mpeg4": ("avi", "-c:v mpeg4 -pix_fmt yuv420p"),
    "mpeg4-mp4": ("mp4", "-c:v mpeg4 -pix_fmt yuv420p"),
    "mpeg2": ("mpeg", "-c:v mpeg2video -pix_fmt yuv420p"),
    "mpeg1": ("mpg", "-c:v mpeg1video -pix_fmt yuv420p"),
    "mjpeg": ("avi", "-c:v mjpeg -pix_fmt yuvj420p"),
    "mjpeg-422": ("mov", "-c:v mjpeg -pix_fmt yuvj422p"),
    "wmv": ("wmv", "-c:v wmv2 -pix_fmt yuv420p"),
    "flv1": ("flv", "-c:v flv1 -pix_fmt yuv420p"),
    "ffv1": ("mkv", "-c:v ffv1 -pix_fmt yuv420p"),
    "png": ("mov", "-c:v png -pix_fmt rgb24"),
}

# decord loses the first frames of streams without an index when it rewinds them.
REWOUND_WRONGLY = ("h264-ts", "mpeg1")

# The encoders that take B-frames through `-bf`.
WITH_B_FRAMES = ("h264", "hevc", "mpeg2", "mpeg4")


def ffmpeg(*arguments: str | pathlib.Path) -> bytes:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def make_clip(folder, kind="h264", name="clip", *, size=(96, 64), frames=20, rate="25", extra=""):
    """Encode a moving test picture."""
    extension, encoder = KINDS[kind]
    path = pathlib.Path(folder) / f"{name}-{kind}.{extension}"
    width, height = size
    # The source itself makes even sides alone.
    picture = f"testsrc2=size=192x160:rate={rate},crop={width}:{height}:exact=1"
    output = ["-frames:v", frames, "-threads", 1, *encoder.split(), *extra.split(), path]
    ffmpeg("-f", "lavfi", "-i", picture, *output)
    return path


def decord_frames(path, indices=None) -> np.ndarray:
    """Decode frames with decord in one thread: all that it counts, or those of `indices`."""
    reader = decord.VideoReader(str(path), num_threads=1)
    return reader.get_batch(range(len(reader)) if indices is None else indices).asnumpy()


def decord_count(path) -> int:
    return len(decord.VideoReader(str(path), num_threads=1))


def count_and_rate(path) -> tuple[int, float]:
    """Count the packets of a clip, and read its average frame rate."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-count_packets"]
    command += ["-show_entries", "stream=avg_frame_rate,nb_read_packets", "-of", "default=nokey=1:noprint_wrappers=1"]
    rate, count = subprocess.run([*command, str(path)], check=True, capture_output=True, text=True).stdout.split()[:2]
    return int(count), float(fractions.Fraction(rate))


def picture_size(path) -> tuple[int, int]:
    """Read width and height from the file; encoders of shared chroma round odd sides."""
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height"]
    output = subprocess.run([*command, "-of", "csv=p=0", str(path)], check=True, capture_output=True, text=True).stdout
    width, height = output.split()[0].strip(",").split(",")[:2]
    return int(width), int(height)


def sequential_frames(path) -> np.ndarray:
    """Decode all frames from start to end with the `ffmpeg` command, to RGB as decord converts it."""
    width, height = picture_size(path)
    output = ["-fps_mode", "passthrough", "-sws_flags", "bilinear", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    pixels = ffmpeg("-threads", 1, "-i", path, "-map", "0:v:0", *output)
    return np.frombuffer(pixels, np.uint8).reshape(-1, height, width, 3)


def picked(frames: np.ndarray, indices, count: int) -> np.ndarray:
    """Pick frames as far as there are any, and repeat the last one picked until there are `count`."""
    there = [index for index in indices if index < len(frames)]
    return frames[there + there[-1:] * (count - len(there))]
