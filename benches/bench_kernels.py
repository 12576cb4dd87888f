"""Every kernel alone against OpenCV on one thread, on the pixels of one photograph, 224 x 224 unless it says otherwise.

Usage: python benches/bench_kernels.py [--rounds N]

Ours run in a process without Python (rust/dfresearch-core/examples/time_kernels.rs, which is built first): copying the
array would take as long as some of them. OpenCV writes into arrays that are there already, and gets its look-up tables
made. What comes out is compared before anything is timed: it is equal, but for noise, whose mean and deviation are held
against each other. Every round times ours and OpenCV's in turn; the medians' ratio is printed, and the rounds' range.
"""

import argparse
import contextlib
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from media import find_photographs
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SIDE = 224
SECONDS_A_ROUND = 0.2
FEWEST_REPETITIONS = 11
QUALITIES = (15, 57, 95)
SIGMAS = (0.5, 1.0, 3.0)
NOISE_SIGMA = 6.0
SHIFTS = (9.5, -3.0, 0.5)
FACTOR = 1.3
# Noise is compared on values that it does not carry to 0 or 255. Ours truncates where OpenCV rounds: half a level.
UNCLIPPED = (6 * NOISE_SIGMA, 255 - 6 * NOISE_SIGMA)
TRUNCATION = 0.5
STANDARD_ERRORS = 5


class Row(NamedTuple):
    """One kernel: medians in microseconds, theirs / ours, and the least and largest of the rounds' ratios."""

    name: str
    ours: float
    theirs: float
    ratio: float
    spread: tuple[float, float]


class Kernel(NamedTuple):
    """A request to ours, what OpenCV does, and how its result is laid out as ours is."""

    name: str
    request: str
    opencv: Callable[[], np.ndarray]
    as_ours: Callable[[np.ndarray], np.ndarray] = lambda result: result
    noise_on: np.ndarray | None = None


# --- ours -------------------------------------------------------------------------------------------------------------


def build_ours() -> Path:
    """Build the program that times ours; cargo says where it lies."""
    command = ["cargo", "build", "--release", "--package", "dfresearch-core", "--example", "time_kernels"]
    built = subprocess.run(
        [*command, "--message-format", "json-render-diagnostics"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    return next(
        Path(message["executable"])
        for message in messages
        if message.get("executable") and message["target"]["name"] == "time_kernels"
    )


class Ours:
    """The program, waiting for requests."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process = process
        self._folder = folder

    def measure(self, request: str) -> float:
        """The median in microseconds."""
        # A program that has ended gives no answer, and its own words about it stand above.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{request}\n")
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"time_kernels ended at: {request}")
        return int(answer) / 1e3

    def result(self, request: str) -> np.ndarray:
        self.measure(request)
        return np.fromfile(self._folder / "out", np.uint8)


@contextlib.contextmanager
def start_ours(folder: Path) -> Iterator[Ours]:
    process = subprocess.Popen(
        [build_ours(), folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    try:
        yield Ours(process, folder)
    finally:
        process.communicate()


# --- OpenCV -----------------------------------------------------------------------------------------------------------


def planes(image: np.ndarray, flip: bool) -> Callable[[], np.ndarray]:
    out, mirrored = np.empty((3, SIDE, SIDE), np.uint8), np.empty_like(image)

    def split() -> np.ndarray:
        cv2.split(cv2.flip(image, 1, mirrored) if flip else image, list(out))
        return out

    return split


def jpeg_round_trip(image: np.ndarray, quality: int) -> Callable[[], np.ndarray]:
    # OpenCV's order is blue, green, red: given so, it has nothing to turn round.
    bgr = np.ascontiguousarray(image[..., ::-1])
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
    return lambda: cv2.imdecode(cv2.imencode(".jpg", bgr, settings)[1], cv2.IMREAD_COLOR)


def blur(image: np.ndarray, sigma: float) -> Callable[[], np.ndarray]:
    out, size = np.empty_like(image), int(6 * sigma + 1) | 1
    return lambda: cv2.GaussianBlur(image, (size, size), sigma, out)


def noise(image: np.ndarray) -> Callable[[], np.ndarray]:
    out, normals = np.empty_like(image), np.empty(image.shape, np.float32)

    def add() -> np.ndarray:
        cv2.randn(normals, (0, 0, 0), (NOISE_SIGMA,) * 3)
        return cv2.add(image, normals, out, dtype=cv2.CV_8U)

    return add


def shift(image: np.ndarray) -> Callable[[], np.ndarray]:
    out = np.empty_like(image)
    values = np.arange(256, dtype=np.float32)[:, None] + np.float32(SHIFTS)
    table = np.clip(values, 0, 255).astype(np.uint8)[None]
    return lambda: cv2.LUT(image, table, out)


def contrast(image: np.ndarray) -> Callable[[], np.ndarray]:
    out = np.empty_like(image)
    means = image.mean(axis=(0, 1), dtype=np.float64)
    exact = np.arange(256.0)[:, None] * FACTOR + means * (1 - FACTOR)
    table = np.clip(exact, 0, 255).astype(np.uint8)[None]

    def look_up() -> np.ndarray:
        # The means are what the table is made of; making it is left out, in OpenCV's favour.
        cv2.mean(image)
        return cv2.LUT(image, table, out)

    return look_up


def resize(image: np.ndarray) -> Callable[[], np.ndarray]:
    height, width = image.shape[:2]
    side, out = min(height, width), np.empty((SIDE, SIDE, 3), np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    crop = image[top : top + side, left : left + side]
    return lambda: cv2.resize(crop, (SIDE, SIDE), out, interpolation=cv2.INTER_LINEAR)


def decode(file: bytes) -> Callable[[], np.ndarray]:
    encoded = np.frombuffer(file, np.uint8)
    return lambda: cv2.imdecode(encoded, cv2.IMREAD_COLOR)


# --- both -------------------------------------------------------------------------------------------------------------


def all_kernels(folder: Path) -> list[Kernel]:
    """The kernels, and the files that they read."""
    paths = find_photographs()
    if not paths:
        raise SystemExit("no photographs found: install a wallpaper package or scikit-image")
    photograph = cv2.cvtColor(cv2.imread(str(paths[0]), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def picture(width: int, height: int) -> np.ndarray:
        image = cv2.resize(photograph, (width, height), interpolation=cv2.INTER_AREA)
        image.tofile(folder / f"{width}x{height}")
        return image

    image, name = picture(SIDE, SIDE), f"{SIDE}x{SIDE}"
    large = picture(1024, 768)
    Image.fromarray(large).save(folder / "pillow.png")
    cv2.imwrite(str(folder / "opencv.png"), large[..., ::-1])
    reverse = lambda result: result[..., ::-1]  # noqa: E731
    return [
        Kernel("planes", f"planes {name} {SIDE} 0", planes(image, flip=False)),
        Kernel("planes, mirrored", f"planes {name} {SIDE} 1", planes(image, flip=True)),
        Kernel("horizontal flip", f"flip {name} {SIDE}", lambda: cv2.flip(image, 1)),
        *(
            Kernel(f"JPEG round trip, quality {it}", f"jpeg {name} {SIDE} {it}", jpeg_round_trip(image, it), reverse)
            for it in QUALITIES
        ),
        *(Kernel(f"Gaussian blur, sigma {it}", f"blur {name} {SIDE} {it}", blur(image, it)) for it in SIGMAS),
        Kernel("Gaussian noise", f"noise {name} {SIDE} {NOISE_SIGMA}", noise(image), noise_on=image),
        Kernel("colour shift", f"shift {name} {SIDE} {' '.join(map(str, SHIFTS))}", shift(image)),
        Kernel("contrast", f"contrast {name} {SIDE} {FACTOR}", contrast(image)),
        *(
            Kernel(
                f"resize from {width} x {height}",
                f"resize {width}x{height} {width} {SIDE}",
                resize(picture(width, height)),
            )
            for width, height in ((1024, 768), (512, 512), (160, 120))
        ),
        *(
            Kernel(f"PNG 1024 x 768, by {it}", f"decode {it}.png", decode((folder / f"{it}.png").read_bytes()), reverse)
            for it in ("pillow", "opencv")
        ),
    ]


def compare(kernel: Kernel, ours: np.ndarray) -> None:
    """Raises AssertionError where the results differ, or noise has another distribution."""
    theirs = kernel.as_ours(kernel.opencv()).ravel()
    if kernel.noise_on is not None:
        image = kernel.noise_on.ravel()
        inside = (image > UNCLIPPED[0]) & (image < UNCLIPPED[1])
        our_noise, their_noise = (side[inside] - image[inside].astype(np.float64) for side in (ours, theirs))
        # Of the difference of two means, and of two deviations.
        error = STANDARD_ERRORS * NOISE_SIGMA * np.sqrt(2 / inside.sum())
        assert abs(their_noise.mean() - our_noise.mean() - TRUNCATION) < error, kernel.name
        assert abs(their_noise.std() - our_noise.std()) < error, kernel.name
    else:
        np.testing.assert_array_equal(ours, theirs, err_msg=kernel.name)


def measure_opencv(work: Callable[[], np.ndarray]) -> float:
    """The median in microseconds."""
    times = []
    end = time.perf_counter() + SECONDS_A_ROUND
    while len(times) < FEWEST_REPETITIONS or time.perf_counter() < end:
        begin = time.perf_counter_ns()
        work()
        times.append(time.perf_counter_ns() - begin)
    return statistics.median(times) / 1e3


def run(rounds: int = 5) -> list[Row]:
    """Compare and time every kernel; OpenCV is back on its threads afterwards."""
    threads = cv2.getNumThreads()
    # 1, not 0, is one thread: 0 leaves it to OpenCV.
    cv2.setNumThreads(1)
    try:
        with tempfile.TemporaryDirectory() as folder, start_ours(Path(folder)) as ours:
            rows = []
            for kernel in all_kernels(Path(folder)):
                compare(kernel, ours.result(kernel.request))
                pairs = [(ours.measure(kernel.request), measure_opencv(kernel.opencv)) for _ in range(rounds)]
                our, their = (statistics.median(side) for side in zip(*pairs, strict=True))
                ratios = [their / our for our, their in pairs]
                rows.append(Row(kernel.name, our, their, their / our, (min(ratios), max(ratios))))
            return rows
    finally:
        cv2.setNumThreads(threads)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each side (default 5)")
    rounds = parser.parse_args().rounds
    print(f"OpenCV {cv2.__version__} on one thread, {rounds} rounds, medians in microseconds")
    print(f"{'':28}{'ours':>10}{'OpenCV':>10}{'ratio':>8}   least to largest")
    for row in run(rounds):
        low, high = row.spread
        print(f"{row.name:28}{row.ours:10.1f}{row.theirs:10.1f}{row.ratio:8.2f}   {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    main()
