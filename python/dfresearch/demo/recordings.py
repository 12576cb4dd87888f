"""Recordings of speech, with what is said in them, that a package on this machine ships.

Debian's asterisk-core-sounds-en-wav holds the prompts of a telephone exchange, 8 kHz, all of them spoken by one woman;
asterisk-core-sounds-en holds the transcripts, among its documents.
"""

import gzip
import re
import wave
from dataclasses import dataclass
from pathlib import Path

from dfresearch.demo.photographs import SYSTEM_SHARE

PACKAGES = ("asterisk-core-sounds-en", "asterisk-core-sounds-en-wav")
TRANSCRIPTS = "doc/asterisk-core-sounds-en/core-sounds-en.txt.gz"
RECORDINGS = "asterisk/sounds/en_US_f_Allison"

TRANSCRIPT_LINE = re.compile(r"^(?P<name>[^;\s][^:]*):\s*(?P<sentence>.+)$")
# Remarks, sounds that are no speech, and signs that a synthesiser would read otherwise than the speaker did.
NOT_AS_WRITTEN = re.compile(r"[\[\]<>()#*@&]")
MINIMUM_WORDS = 3
SECONDS = (1.2, 12.0)  # of the recording


@dataclass(frozen=True)
class Recording:
    """One recorded sentence: `name` is its file's name without the suffix."""

    name: str
    sentence: str
    path: Path

    @property
    def group(self) -> str:
        """The sentence without capitals and punctuation: some were recorded several times."""
        return " ".join(words(self.sentence))


def words(sentence: str) -> list[str]:
    """Split a sentence into lower-case words."""
    return re.findall(r"[a-z0-9']+", sentence.lower())


def _seconds(path: Path) -> float:
    with wave.open(str(path)) as file:
        return file.getnframes() / file.getframerate()


def find_recordings(system_share: Path = SYSTEM_SHARE) -> list[Recording]:
    """List the recorded sentences on this machine, in the transcripts' order; none where a package is absent.

    Raises:
        OSError: the transcripts or a recording cannot be read.
        wave.Error: a recording is no PCM wav file.

    """
    transcripts = system_share / TRANSCRIPTS
    if not transcripts.is_file():
        return []
    with gzip.open(transcripts, "rt", encoding="utf-8") as file:
        matches = [match for match in map(TRANSCRIPT_LINE.match, file) if match]
    recordings = []
    for match in matches:
        sentence = match["sentence"].strip(" .\n")
        path = system_share / RECORDINGS / f"{match['name']}.wav"
        if NOT_AS_WRITTEN.search(sentence) or len(words(sentence)) < MINIMUM_WORDS or not path.is_file():
            continue
        if SECONDS[0] <= _seconds(path) <= SECONDS[1]:
            recordings.append(Recording(match["name"], sentence, path))
    return recordings
