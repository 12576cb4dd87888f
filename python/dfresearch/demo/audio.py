"""Demonstration speech: recorded sentences, and the same sentences spoken by synthesisers.

```text
 recording ────────────────────────────┐   pitch and pace ─► telephone band, one spectrum, dispersion ─► level, noise
 its transcript ─► synthesiser, at the ┘                                                                 │
                   recording's pace                                        FFmpeg, drawn codec and rate ◄┘
```

Both go through one chain, and what is drawn on its way (voice pitch, level, noise, silence at the ends, codec, sample
rate) is drawn once for the two samples of a sentence. So the recordings' 8 kHz, their gated pauses or a synthesiser's
sample rate tell nothing; what is left is how the voice itself is made. A sentence is one group and never stands in both
splits.

All recordings are of one speaker. What a detector learns here may as well be her voice: the demonstration shows that
the pipeline learns from speech, and nothing about speakers or synthesisers that it has not heard.
"""

import tempfile
import wave
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from dfresearch.demo.dataset import DemoPlace, DemoReport, write_manifest
from dfresearch.demo.recordings import PACKAGES, SECONDS, Recording, find_recordings
from dfresearch.demo.synthesis import PACES, Voice, find_voices, synthesize
from dfresearch.demo.tools import map_in_parallel, run_tool

REAL_DATASET = "demo-real-speech"
SYNTHETIC_DATASET = "demo-synthesised-speech"
MEDIA_TYPES = {REAL_DATASET: "real", SYNTHETIC_DATASET: "synthetic"}
# Below this an accuracy on the validation split would be one of a handful of sentences.
MINIMUM_SENTENCES = 100


@dataclass(frozen=True)
class Codec:
    """One way to store speech: a container, an encoder, the sample rates in Hz and bit rates in kbit/s drawn from."""

    suffix: str
    encoder: str
    sample_rates: tuple[int, ...]
    bit_rates: tuple[int, ...] = ()


CODECS = (
    Codec("wav", "pcm_s16le", (8000, 16000, 44100)),
    Codec("flac", "flac", (16000, 44100)),
    Codec("mp3", "libmp3lame", (16000, 44100), (64, 96)),
    Codec("ogg", "libvorbis", (16000, 44100), (48, 64)),
    Codec("opus", "libopus", (48000,), (24, 32, 48)),
    Codec("m4a", "aac", (16000, 44100), (48, 64)),
)

# Raise it when what is built changes without a constant below changing.
FORMAT_VERSION = 1
SAMPLE_RATE = 16000  # of the chain
SPEEDS = (0.88, 1.14)  # pitch, formants and pace of both samples: one speaker becomes several, a little
BAND_HZ = (300.0, 3200.0)  # what every source has, whatever its sample rate and speed
BAND_EDGE_HZ = 20.0  # width of the transitions below and above
SPECTRUM_BANDS = 16  # over the band, evenly in octaves
SPECTRUM_ROUNDS = 4  # until the bands, whose gains overlap, have the target's power
SPECTRUM_SLOPE = -6.0  # decibels per octave above SPECTRUM_KNEE_HZ, about that of speech
SPECTRUM_KNEE_HZ = 500.0
FLOOR_RATIO = 10 ** (-35 / 20)  # of the loudest frame: quieter frames at the ends are silence
FRAME = 320  # samples: 20 ms
# Longest delay of one part of the band against another, as lines and rooms have it: without it, whether the pulses of a
# voice point up or down would tell a recording chain from a synthesiser.
DISPERSION_SECONDS = 0.012
DISPERSION_BANDS = 12
LEVELS_DB = (-32.0, -22.0)  # full scale, root mean square of the whole sample before noise
PEAK = 0.8  # of full scale, at most
NOISE_RATIOS_DB = (22.0, 36.0)  # speech over noise
SILENCE_SECONDS = (0.05, 0.5)  # at either end


@dataclass(frozen=True)
class _Draws:
    """What the two samples of a sentence share."""

    voice: Voice
    pitch: int
    speed: float
    delays: np.ndarray  # seconds, [DISPERSION_BANDS]
    level_db: float
    noise_ratio_db: float
    lead_seconds: float
    tail_seconds: float
    codec: Codec
    sample_rate: int
    bit_rate: int | None


def _draw(voices: Sequence[Voice], random: np.random.Generator) -> _Draws:
    # Each synthesiser has the same share, however many voices it has.
    tools = sorted({voice.tool for voice in voices})
    tool = tools[random.integers(len(tools))]
    of_tool = [voice for voice in voices if voice.tool == tool]
    voice = of_tool[random.integers(len(of_tool))]
    codec = CODECS[random.integers(len(CODECS))]
    return _Draws(
        voice=voice,
        pitch=int(random.integers(*voice.pitches, endpoint=True)),
        speed=random.uniform(*SPEEDS),
        delays=random.uniform(0, DISPERSION_SECONDS, DISPERSION_BANDS),
        level_db=random.uniform(*LEVELS_DB),
        noise_ratio_db=random.uniform(*NOISE_RATIOS_DB),
        lead_seconds=random.uniform(*SILENCE_SECONDS),
        tail_seconds=random.uniform(*SILENCE_SECONDS),
        codec=codec,
        sample_rate=int(random.choice(codec.sample_rates)),
        bit_rate=int(random.choice(codec.bit_rates)) if codec.bit_rates else None,
    )


# ---------------------------------------------------------------------------------------------------------------------
# The chain
# ---------------------------------------------------------------------------------------------------------------------


def read_speech(path: Path, speed: float) -> np.ndarray:
    """Read a 16-bit mono wav file as f32 [n] at SAMPLE_RATE, `speed` times as fast and as high.

    Resampled by its spectrum, which keeps what it holds below both Nyquist frequencies.

    Raises:
        ValueError: it is no such file, or empty.

    """
    try:
        with wave.open(str(path)) as file:
            count, rate, form = file.getnframes(), file.getframerate(), (file.getnchannels(), file.getsampwidth())
            samples = np.frombuffer(file.readframes(count), dtype="<i2") / 32768
    except (wave.Error, EOFError) as error:
        raise ValueError(f"no wav file: {error}") from error
    if form != (1, 2) or not len(samples):
        raise ValueError(f"{len(samples)} samples, {form[0]} channels, {8 * form[1]} bits: 16-bit mono is read here")
    resampled_count = round(len(samples) * SAMPLE_RATE / (rate * speed))
    spectrum = np.fft.rfft(samples)[: resampled_count // 2 + 1]
    resampled = np.fft.irfft(spectrum, resampled_count) * (resampled_count / len(samples))
    return resampled.astype(np.float32)


def _frame_levels(samples: np.ndarray) -> np.ndarray:
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)
    return np.sqrt((frames**2).mean(axis=1))


def trim_silence(samples: np.ndarray) -> np.ndarray:
    """Cut off the frames before the first and after the last one that is not silent.

    Raises:
        ValueError: there is no frame, or all of them are zero.

    """
    levels = _frame_levels(samples)
    if not len(levels) or levels.max() == 0:
        raise ValueError("there is no sound in it")
    loud = np.flatnonzero(levels > FLOOR_RATIO * levels.max())
    return samples[loud[0] * FRAME : (loud[-1] + 1) * FRAME]


def equalize(samples: np.ndarray) -> np.ndarray:
    """Limit samples [n] to BAND_HZ and give them the one long-term spectrum that every sample has.

    The power in each of SPECTRUM_BANDS bands is set to the target's; between their centres the gain runs evenly in
    decibels over octaves, so that harmonics and formants inside of a band stay as they are.
    """
    spectrum = np.fft.rfft(samples)
    frequencies = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    low, high = BAND_HZ
    spectrum *= np.clip((frequencies - low) / BAND_EDGE_HZ, 0, 1) * np.clip((high - frequencies) / BAND_EDGE_HZ, 0, 1)
    edges = np.geomspace(low, high, SPECTRUM_BANDS + 1)
    centres = np.log2(np.sqrt(edges[:-1] * edges[1:]))
    target_db = SPECTRUM_SLOPE * np.maximum(centres - np.log2(SPECTRUM_KNEE_HZ), 0)
    octaves = np.log2(np.maximum(frequencies, 1.0))
    for _ in range(SPECTRUM_ROUNDS):
        power = np.abs(spectrum) ** 2
        densities = np.array([power[(frequencies >= a) & (frequencies < b)].mean() for a, b in pairwise(edges)])
        gains_db = target_db - 10 * np.log10(np.maximum(densities, 1e-12 * densities.max()))
        spectrum *= 10 ** (np.interp(octaves, centres, gains_db) / 20)
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def disperse(samples: np.ndarray, delays: np.ndarray) -> np.ndarray:
    """Delay the parts of BAND_HZ by `delays` [bands] in seconds, evenly in between; the power stays where it is."""
    padding = round(2 * delays.max() * SAMPLE_RATE)
    spectrum = np.fft.rfft(samples, len(samples) + padding)
    frequencies = np.fft.rfftfreq(len(samples) + padding, 1 / SAMPLE_RATE)
    curve = np.interp(frequencies, np.linspace(*BAND_HZ, len(delays)), delays)
    # A group delay is the phase's slope.
    phase = -2 * np.pi * np.cumsum(curve) * (frequencies[1] - frequencies[0])
    return np.fft.irfft(spectrum * np.exp(1j * phase), len(samples) + padding).astype(np.float32)


def _draw_noise(count: int, random: np.random.Generator) -> np.ndarray:
    """Draw pink noise [count], flat below 50 Hz, of mean square 1."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    frequencies = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(frequencies, 50.0)), count)
    return noise / np.sqrt((noise**2).mean())


def _master(speech: np.ndarray, draws: _Draws, random: np.random.Generator) -> np.ndarray:
    """Bring read speech to the spectrum, level, noise and silence that were drawn; f32 [n] at SAMPLE_RATE."""
    speech = disperse(equalize(trim_silence(speech)), draws.delays)
    speech = speech / np.sqrt((speech**2).mean())
    lead, tail = (round(seconds * SAMPLE_RATE) for seconds in (draws.lead_seconds, draws.tail_seconds))
    speech = np.pad(speech, (lead, tail))
    noise = _draw_noise(len(speech), random) * 10 ** (-draws.noise_ratio_db / 20)
    mixed = speech + noise
    mixed *= 10 ** (draws.level_db / 20) / np.sqrt((mixed**2).mean())
    # Integer formats clip beyond full scale, floating ones do not: no sample comes near it.
    mixed *= min(1.0, PEAK / np.abs(mixed).max())
    return mixed.astype("<f4")


def _encode(samples: np.ndarray, draws: _Draws, path: Path) -> None:
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y"]
    command += ["-f", "f32le", "-ar", str(SAMPLE_RATE), "-ac", "1", "-i", "pipe:0", "-ar", str(draws.sample_rate)]
    command += ["-c:a", draws.codec.encoder, "-threads", "1"]
    if draws.bit_rate is not None:
        command += ["-b:a", f"{draws.bit_rate}k"]
    # Neither times nor random identifiers in the container.
    command += ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact", str(path)]
    run_tool(command, samples.tobytes())


# ---------------------------------------------------------------------------------------------------------------------
# Building
# ---------------------------------------------------------------------------------------------------------------------


def _synthesize_at_pace(sentence: str, draws: _Draws, seconds: float, folder: Path) -> np.ndarray:
    """Speak a sentence so that it lasts `seconds` or nearly so, and read it at the speed that was drawn."""
    path = folder / "speech.wav"
    synthesize(draws.voice, sentence, draws.pitch, 1.0, path)
    natural = len(trim_silence(read_speech(path, draws.speed))) / SAMPLE_RATE
    pace = float(np.clip(natural / seconds, *PACES))
    synthesize(draws.voice, sentence, draws.pitch, pace, path)
    return read_speech(path, draws.speed)


def _make_pair(recording: Recording, voices: Sequence[Voice], seed: int, targets: Sequence[Path]) -> None:
    """Write a sentence's real sample and its synthetic one to `targets`, which lack the suffix."""
    # The generator is the recording's own: other recordings on the machine do not change its samples.
    random = np.random.default_rng([seed, zlib.crc32(recording.name.encode())])
    draws = _draw(voices, random)
    try:
        real = read_speech(recording.path, draws.speed)
        seconds = len(trim_silence(real)) / SAMPLE_RATE
        with tempfile.TemporaryDirectory() as folder:
            synthetic = _synthesize_at_pace(recording.sentence, draws, seconds, Path(folder))
        for speech, target in zip((real, synthetic), targets, strict=True):
            _encode(_master(speech, draws, random), draws, target.with_suffix(f".{draws.codec.suffix}"))
    except ValueError as error:
        raise ValueError(f"{recording.path}, `{recording.sentence}` by {draws.voice.name}: {error}") from error


def _build(
    place: DemoPlace,
    recordings: Sequence[Recording],
    voices: Sequence[Voice],
    seed: int,
    progress: Callable[[str], None],
) -> Path:
    progress(f"speaking {len(recordings)} sentences with {len(voices)} synthetic voices")
    building = place.start_building()

    def make(numbered: tuple[int, Recording]) -> None:
        number, recording = numbered
        targets = [building / name / f"{number:06d}" for name in MEDIA_TYPES]
        _make_pair(recording, voices, seed, targets)

    map_in_parallel(make, list(enumerate(recordings, start=1)))
    for name in MEDIA_TYPES:
        files = sorted(path.name for path in (building / name).iterdir())
        groups = (recording.group for recording in recordings)
        write_manifest(building / name, zip(files, groups, strict=True))
    return building


def _settings(recordings: Sequence[Recording], voices: Sequence[Voice], seed: int) -> dict[str, object]:
    """Everything that what is built depends on: an existing demonstration is kept when nothing of it changed."""
    constants = [CODECS, SAMPLE_RATE, SPEEDS, BAND_HZ, BAND_EDGE_HZ, SPECTRUM_BANDS, SPECTRUM_SLOPE, SPECTRUM_KNEE_HZ]
    constants += [SPECTRUM_ROUNDS, DISPERSION_SECONDS, DISPERSION_BANDS]
    constants += [FLOOR_RATIO, FRAME, LEVELS_DB, PEAK, NOISE_RATIOS_DB, SILENCE_SECONDS, PACES, SECONDS]
    sources = [[recording.name, recording.sentence, recording.path.stat().st_size] for recording in recordings]
    return {
        "version": FORMAT_VERSION,
        "seed": seed,
        "constants": repr(constants),
        "voices": repr(list(voices)),
        "recordings": sources,
    }


def build_audio_demo(
    root: Path,
    seed: int = 42,
    progress: Callable[[str], None] = print,
    recordings: Sequence[Recording] | None = None,
    voices: Sequence[Voice] | None = None,
) -> DemoReport:
    """Build the demonstration speech in the cache root `root`, unless it is there; the same for the same seed.

    Args:
        root: cache root of its own: `datasets/audio/` and `gasbench_configs/` are written below it.
        seed: of voices, pitch, level, noise, silence and codecs.
        progress: called with one line of text at a time.
        recordings: recorded sentences; by default what the packages on this machine ship.
        voices: of synthesisers; by default those that are on this machine.

    Raises:
        ValueError: there are no recordings or no voices, or one of them gives no sound.
        ToolError: a synthesiser or the ffmpeg command is missing or failed.
        OSError: a recording cannot be read or the root cannot be written.

    """
    place = DemoPlace(Path(root), "audio", MEDIA_TYPES)
    recordings = find_recordings() if recordings is None else list(recordings)
    voices = find_voices() if voices is None else list(voices)
    if not recordings:
        raise ValueError(
            f"no speech recordings with transcripts found: install the packages {' and '.join(PACKAGES)}, with their "
            "documents, as `make setup` does where it may"
        )
    if not voices:
        raise ValueError("no speech synthesiser found: install espeak-ng or flite, as `make setup` does where it may")
    sentences = len({recording.group for recording in recordings})
    tools = sorted({voice.tool for voice in voices})
    progress(f"{len(recordings)} recordings of {sentences} sentences by one speaker; voices of {' and '.join(tools)}")

    settings = _settings(recordings, voices, seed)
    complete = place.is_complete(settings)
    if complete:
        progress(f"the demonstration data in {root} is complete: kept")
    else:
        place.publish(_build(place, recordings, voices, seed, progress), settings)

    report = DemoReport(
        root=place.root,
        sources_by_package={PACKAGES[-1]: sentences},
        minimum_sources=MINIMUM_SENTENCES,
        real_samples=place.count_samples(REAL_DATASET),
        synthetic_samples=place.count_samples(SYNTHETIC_DATASET),
        built=not complete,
    )
    progress(f"{report.real_samples} recorded and {report.synthetic_samples} synthesised samples in {root}")
    if not report.supports_accuracy:
        progress(f"fewer than {MINIMUM_SENTENCES} sentences: too few to say anything about accuracy")
    return report
