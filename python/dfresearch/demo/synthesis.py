"""Speech synthesisers that Debian ships as commands: espeak-ng (formants) and flite (recorded diphones, statistics)."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dfresearch.demo.tools import run_tool

# The synthesisers' own pace is 1; further out they become unlike speech.
PACES = (0.6, 1.6)
ESPEAK_WORDS_PER_MINUTE = 175  # at pace 1


@dataclass(frozen=True)
class Voice:
    """One voice of a synthesiser; `pitches` is the range of its own scale that is used."""

    tool: str
    name: str
    pitches: tuple[int, int]
    """espeak-ng: 0 to 99, flite: the mean fundamental frequency in Hz."""


# Pitches that give a fundamental of about 190 to 222 Hz, the recorded speaker's: pitch alone is to tell little. Voices
# that do not reach it are left out: espeak-ng's male ones, and flite's rms, whose pitch is fixed.
VOICES = (
    Voice("espeak-ng", "en-us+f1", (55, 70)),
    Voice("espeak-ng", "en-us+f2", (48, 62)),
    Voice("espeak-ng", "en-us+f3", (40, 55)),
    Voice("espeak-ng", "en-us+f4", (55, 70)),
    Voice("espeak-ng", "en-us+f5", (44, 58)),
    Voice("flite", "slt", (188, 222)),
    Voice("flite", "awb", (188, 222)),
    Voice("flite", "kal16", (188, 222)),
)


def find_voices(voices: Sequence[Voice] = VOICES) -> list[Voice]:
    """List the voices whose command is on this machine."""
    return [voice for voice in voices if shutil.which(voice.tool)]


def synthesize(voice: Voice, sentence: str, pitch: int, pace: float, path: Path) -> None:
    """Speak a sentence into the wav file `path`, mono at the voice's own sample rate; `pace` 2 is twice as fast.

    Raises:
        ToolError: the synthesiser is missing or failed.

    """
    if voice.tool == "espeak-ng":
        speed = str(round(ESPEAK_WORDS_PER_MINUTE * pace))
        run_tool(["espeak-ng", "-v", voice.name, "-p", str(pitch), "-s", speed, "-w", str(path), "--", sentence])
        return
    settings = ["--setf", f"duration_stretch={1 / pace:.3f}", "--setf", f"int_f0_target_mean={pitch}"]
    run_tool(["flite", "-voice", voice.name, *settings, "-t", sentence, "-o", str(path)])
