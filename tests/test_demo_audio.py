"""Demonstration speech: what is written, and that the chain takes from both classes whatever tells files apart.

Recordings and synthesisers are stand-ins here, so that their differences (sample rate, level, offset, polarity, tilt,
silence) can be gross; the commands themselves are tested where they are installed.
"""

import gzip
import json
import shutil
import subprocess
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dfresearch.demo import audio, build_audio_demo
from dfresearch.demo.audio import (
    BAND_HZ,
    REAL_DATASET,
    SAMPLE_RATE,
    SYNTHETIC_DATASET,
    disperse,
    equalize,
    read_speech,
    trim_silence,
)
from dfresearch.demo.recordings import Recording, find_recordings
from dfresearch.demo.synthesis import VOICES, Voice, find_voices, synthesize

DATASETS = (REAL_DATASET, SYNTHETIC_DATASET)
SENTENCES = 24


def quiet(_line: str) -> None:
    pass


def write_wav(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())


def draw_speech(seed: int, sample_rate: int, tilt: float) -> np.ndarray:
    """Pulses at about 200 Hz in syllables, with harmonics that fall by `tilt`, and breath; f64 [n], its peak 0.7."""
    random = np.random.default_rng(seed)
    count = int(random.uniform(1.4, 2.5) * sample_rate)
    time = np.arange(count) / sample_rate
    pitch = 200 + 15 * np.sin(2 * np.pi * 1.5 * time + random.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    harmonics = range(1, int(0.45 * sample_rate / 215))
    speech = sum(np.cos(number * phase) / number**tilt for number in harmonics)
    speech += 0.3 * random.standard_normal(count)
    speech *= np.clip(np.sin(2 * np.pi * 3 * time), 0.02, 1)
    return 0.7 * speech / np.abs(speech).max()


def speak(_voice: Voice, sentence: str, _pitch: int, pace: float, path: Path) -> None:
    """Stand in for a synthesiser: quiet, upside down, beside zero, at 22050 Hz, with silence around."""
    speech = draw_speech(len(sentence) + 1000, int(22050 / pace), tilt=2.0)
    write_wav(path, np.pad(-0.2 * speech, 9000) + 0.01, 22050)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    listed = []
    for number in range(SENTENCES):
        path = folder / f"{number}.wav"
        write_wav(path, draw_speech(number, 8000, tilt=0.7), 8000)
        listed.append(Recording(f"{number}", "press " * (number + 1), path))
    return listed


@pytest.fixture(scope="module")
def built(tmp_path_factory, recordings):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio, "synthesize", speak)
        root = tmp_path_factory.mktemp("built")
        return build_audio_demo(root, seed=1, progress=quiet, recordings=recordings, voices=VOICES)


def read_samples(root: Path) -> list[tuple[Path, str, int]]:
    """List (path, group, label) from the manifests."""
    samples = []
    for label, name in enumerate(DATASETS):
        folder = root / "datasets" / "audio" / name
        for line in (folder / "manifest.jsonl").read_text().splitlines():
            entry = json.loads(line)
            samples.append((folder / entry["file"], entry["group"], label))
    return samples


def read_tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def decode(path: Path) -> np.ndarray:
    command = ["ffmpeg", "-loglevel", "error", "-i", str(path), "-ac", "1", "-ar", "16000", "-f", "f32le", "-"]
    return np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, dtype=np.float32)


def test_every_file_is_in_the_manifest_and_decodes_without_clipping(built):
    samples = read_samples(built.root)
    assert len(samples) == built.real_samples + built.synthetic_samples == 2 * SENTENCES
    for path, _, _ in samples:
        waveform = decode(path)
        assert 1.0 < len(waveform) / 16000 < 14
        assert 0.01 < np.abs(waveform).max() < 1.0


def test_definitions_name_both_datasets(built):
    entries = yaml.safe_load((built.root / "gasbench_configs" / "audio_datasets.yaml").read_text())["datasets"]
    assert [(entry["name"], entry["media_type"]) for entry in entries] == [
        (REAL_DATASET, "real"),
        (SYNTHETIC_DATASET, "synthetic"),
    ]
    assert {entry["modality"] for entry in entries} == {"audio"}


def test_a_sentence_has_both_classes_stored_alike(built):
    def describe(wanted: int) -> list[tuple[str, str, str]]:
        command = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,sample_rate,channels", "-of", "csv"]
        return sorted(
            (group, path.suffix, subprocess.run([*command, path], check=True, capture_output=True, text=True).stdout)
            for path, group, label in read_samples(built.root)
            if label == wanted
        )

    assert describe(0) == describe(1)
    assert len({suffix for _, suffix, _ in describe(0)}) >= 4


def test_file_level_offset_polarity_silence_and_spectrum_are_at_chance(built):
    """The stand-ins differ grossly in every one of these before the chain."""
    kinds: dict[str, list[list[float]]] = {"file": [], "level": [], "shape": [], "spectrum": []}
    labels, groups = [], []
    for path, group, label in read_samples(built.root):
        waveform = decode(path).astype(float)
        deviation = waveform.std()
        frames = waveform[: len(waveform) // 320 * 320].reshape(-1, 320).std(axis=1)
        power = np.abs(np.fft.rfft(waveform)) ** 2
        frequencies = np.fft.rfftfreq(len(waveform), 1 / 16000)
        edges = np.geomspace(100, 8000, 9)
        bands = [power[(frequencies >= a) & (frequencies < b)].mean() for a, b in pairwise(edges)]
        kinds["file"].append([path.stat().st_size / len(waveform), len(waveform)])
        kinds["level"].append([np.log(deviation), waveform.mean() / deviation, np.percentile(frames, 5) / deviation])
        kinds["shape"].append([((waveform / deviation) ** 3).mean()])
        kinds["spectrum"].append(list(np.log10(np.array(bands) / power.mean() + 1e-9)))
        labels.append(label)
        groups.append(group)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1))
    for kind, features in kinds.items():
        accuracy = cross_val_score(classifier, features, labels, groups=groups, cv=GroupKFold(6)).mean()
        assert accuracy < 0.8, kind


@pytest.mark.parametrize("tilt", [0.3, 1.0, 2.0])
def test_equalized_speech_has_the_target_spectrum_whatever_it_was(tilt):
    speech = equalize(draw_speech(3, SAMPLE_RATE, tilt).astype(np.float32))
    power = np.abs(np.fft.rfft(speech)) ** 2
    frequencies = np.fft.rfftfreq(len(speech), 1 / SAMPLE_RATE)

    def density_db(low: float, high: float) -> float:
        return 10 * np.log10(power[(frequencies >= low) & (frequencies < high)].mean())

    # -6 dB per octave above the knee, over two octaves that lie inside the band.
    assert density_db(600, 900) - density_db(2400, 3100) == pytest.approx(12, abs=2)
    outside = (frequencies < BAND_HZ[0] - 1) | (frequencies > BAND_HZ[1] + 1)
    assert power[outside].max() < 1e-6 * power.max()


def test_dispersion_keeps_the_power_at_every_frequency_and_delays_within_its_range():
    speech = draw_speech(4, SAMPLE_RATE, 1.0).astype(np.float32)
    delays = np.random.default_rng(0).uniform(0, 0.012, 12)
    moved = disperse(speech, delays)
    assert len(moved) == len(speech) + round(2 * delays.max() * SAMPLE_RATE)
    before = np.abs(np.fft.rfft(speech, len(moved)))
    np.testing.assert_allclose(np.abs(np.fft.rfft(moved)), before, atol=1e-3 * before.max())
    # A delay that is the same everywhere moves the samples and changes nothing else.
    late = disperse(speech, np.full(12, 0.01))
    np.testing.assert_allclose(late[160 : 160 + len(speech)], speech, atol=0.02)


@pytest.mark.parametrize("sample_rate", [8000, 16000, 22050])
@pytest.mark.parametrize("speed", [1.0, 0.9, 1.1])
def test_reading_resamples_and_changes_the_speed(tmp_path, sample_rate, speed):
    path = tmp_path / "tone.wav"
    write_wav(path, 0.5 * np.sin(2 * np.pi * 1000 * np.arange(sample_rate) / sample_rate), sample_rate)
    samples = read_speech(path, speed)
    assert len(samples) == round(SAMPLE_RATE / speed)
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)[spectrum.argmax()] == pytest.approx(1000 * speed, abs=2)
    assert np.sqrt((samples**2).mean()) == pytest.approx(0.5 / 2**0.5, rel=0.01)


def test_silence_is_cut_at_the_ends_only():
    tone = np.sin(np.arange(3200)).astype(np.float32)
    inside = np.concatenate([tone, np.zeros(6400, np.float32), tone])
    np.testing.assert_array_equal(trim_silence(np.pad(inside, (6400, 3200))), inside)
    for empty in (np.zeros(1000, np.float32), np.zeros(10, np.float32)):
        with pytest.raises(ValueError, match="no sound"):
            trim_silence(empty)


def test_the_same_seed_builds_the_same_bytes_and_a_complete_demonstration_is_kept(tmp_path, recordings, monkeypatch):
    monkeypatch.setattr(audio, "synthesize", speak)

    def build(name: str, seed: int) -> dict[str, bytes]:
        root = tmp_path / name
        build_audio_demo(root, seed=seed, progress=quiet, recordings=recordings[:4], voices=VOICES)
        return read_tree(root)

    first = build("a", 5)
    assert build("b", 5) == first
    assert build("c", 6) != first
    root = tmp_path / "a"
    assert not build_audio_demo(root, seed=5, progress=quiet, recordings=recordings[:4], voices=VOICES).built
    (root / "datasets" / "audio" / REAL_DATASET / "manifest.jsonl").unlink()
    assert build_audio_demo(root, seed=5, progress=quiet, recordings=recordings[:4], voices=VOICES).built
    assert read_tree(root) == first


def test_errors_name_what_is_missing_or_broken(tmp_path, recordings, monkeypatch):
    with pytest.raises(
        ValueError, match="install the packages asterisk-core-sounds-en and asterisk-core-sounds-en-wav"
    ):
        build_audio_demo(tmp_path, progress=quiet, recordings=[], voices=VOICES)
    with pytest.raises(ValueError, match="install espeak-ng or flite"):
        build_audio_demo(tmp_path, progress=quiet, recordings=recordings, voices=[])
    monkeypatch.setattr(audio, "synthesize", speak)
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"broken\.wav, `press 1`.*no wav file"):
        build_audio_demo(tmp_path, progress=quiet, recordings=[Recording("x", "press 1", broken)], voices=VOICES)


def test_few_sentences_support_no_accuracy(built):
    assert not built.supports_accuracy
    assert built.sources == SENTENCES


def test_recordings_are_found_with_what_is_said_in_them(tmp_path):
    assert find_recordings(tmp_path) == []
    transcripts = tmp_path / "doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
    folder = tmp_path / "asterisk/sounds/en_US_f_Allison"
    transcripts.parent.mkdir(parents=True)
    (folder / "digits").mkdir(parents=True)
    lines = {
        "login-ok": "Agent logged in.",
        "again": "... agent LOGGED in",
        "digits/1": "you pressed one",
        "monkeys": "[sound of monkeys screaming]",
        "short": "Thank you.",
        "quick": "one two three",
        "absent": "this file is absent",
    }
    text = "; a heading\n\n" + "".join(f"{name}: {sentence}\n" for name, sentence in lines.items())
    transcripts.write_bytes(gzip.compress(text.encode()))
    for name in lines:
        if name != "absent":
            write_wav(folder / f"{name}.wav", np.zeros(8000 if name == "quick" else 16000), 8000)
    found = {recording.name: recording for recording in find_recordings(tmp_path)}
    assert list(found) == ["login-ok", "again", "digits/1"]
    assert found["login-ok"].sentence == "Agent logged in"
    # The same words are one group.
    assert found["login-ok"].group == found["again"].group == "agent logged in"


@pytest.mark.skipif(not shutil.which("espeak-ng") or not shutil.which("flite"), reason="no speech synthesisers here")
def test_voices_differ_and_follow_pitch_and_pace(tmp_path):
    assert find_voices() == list(VOICES)
    spoken = set()
    for voice in VOICES:
        lengths = {}
        for pitch, pace in ((voice.pitches[0], 1.0), (voice.pitches[1], 1.0), (voice.pitches[0], 1.5)):
            path = tmp_path / "speech.wav"
            synthesize(voice, "please enter your number", pitch, pace, path)
            spoken.add(path.read_bytes())
            lengths[pace] = len(trim_silence(read_speech(path, 1.0)))
        assert lengths[1.5] < 0.85 * lengths[1.0], voice
    assert len(spoken) == 3 * len(VOICES)
