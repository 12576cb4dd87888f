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


# Pitches about the recorded speaker's, so that pitch alone tells little; flite's rms is left out, whose pitch is fixed.
VOICES = (
    *(Voice("espeak-ng", f"en-us+{variant}", (30, 75)) for variant in ("f1", "f2", "f3", "f4", "f5")),
    *(Voice("espeak-ng", f"en-us+{variant}", (60, 99)) for variant in ("m1", "m3", "m7")),
    Voice("flite", "slt", (165, 230)),
    Voice("flite", "awb", (140, 210)),
    Voice("flite", "kal16", (140, 210)),
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
