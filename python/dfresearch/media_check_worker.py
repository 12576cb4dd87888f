"""A process that decodes one file after another for `dfresearch.media_check`, so that a crash is the decoder's alone.

    python -m dfresearch.media_check_worker MODALITY MEMORY_BYTES CPU_SECONDS

Says `{"ready": true}` when it is. Then every line of standard input is a path as a JSON string, and every answer one
line of JSON: `{}` for a file that decodes completely, `{"refused": reason}` for content that does not, `{"unreadable":
reason}` for a file that the system does not hand out. The end of the input ends it.

Memory beyond what the modules themselves take, and processor time for each file, are limited by the system.
"""

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["decode_completely", "serve"]

# What counts as a frame of a clip that is a folder.
FRAME_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
# Two frames with years between them: the decoder goes on to the end of the clip in search of the second, and leaves
# nothing out, as it may where frames are spread over the clip.
TWO_FRAMES = 2
FRAMES_PER_SECOND = 1e-9


def decode_completely(modality: str, path: Path) -> None:
    """Decode every pixel or every sample of a media file, or of a folder of frames, and keep nothing.

    Raises:
        DecodeError: the content is refused.
        OSError: the file cannot be read.
    """
    import dfresearch_rs

    if modality == "image":
        dfresearch_rs.decode_image(path)
    elif modality == "audio":
        dfresearch_rs.decode_audio(path)
    else:
        dfresearch_rs.decode_video(path, num_frames=TWO_FRAMES, sampling="rate", frame_rate=FRAMES_PER_SECOND)
        if path.is_dir():
            for frame in sorted(path.iterdir()):
                if frame.suffix.lower() in FRAME_SUFFIXES:
                    dfresearch_rs.decode_image(frame)


def serve(decode: Callable[[Path], None], memory_bytes: int, cpu_seconds: int) -> None:
    """Answer paths from standard input until it ends; `decode` raises for a file that is not sound.

    Args:
        decode: called for every path.
        memory_bytes: address space on top of what the process has now.
        cpu_seconds: processor time for each file; beyond it the system ends the process (SIGXCPU).
    """
    # Whatever a decoder prints is no answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _limit_memory(memory_bytes)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        _limit_processor(cpu_seconds)
        print(json.dumps(_answer(decode, Path(json.loads(line)))), file=answers, flush=True)


def _answer(decode: Callable[[Path], None], path: Path) -> dict[str, str]:
    from dfresearch_rs import DfresearchError

    try:
        decode(path)
    except OSError as error:
        return {"unreadable": error.strerror or str(error)}
    except MemoryError:
        return {"refused": "decoding it takes more memory than the check allows"}
    except DfresearchError as error:
        # The message begins with the path, which whoever asked knows.
        return {"refused": str(error).removeprefix(f"{path}: ")}
    return {}


def _limit_memory(memory_bytes: int) -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    _set_soft_limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory_bytes)


def _limit_processor(cpu_seconds: int) -> None:
    """Give the next file so many seconds: the system counts those of all files before it, too."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _set_soft_limit(resource.RLIMIT_CPU, int(usage.ru_utime + usage.ru_stime) + 1 + cpu_seconds)


def _set_soft_limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def main() -> None:
    """Serve the modality that the command line names."""
    import dfresearch_rs  # noqa: F401 -- what the modules take is measured before memory is limited

    modality, memory_bytes, cpu_seconds = sys.argv[1:]
    serve(lambda path: decode_completely(modality, path), int(memory_bytes), int(cpu_seconds))


if __name__ == "__main__":
    main()
