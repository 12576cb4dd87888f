"""`prepare.py --check`: whatever a decoder does to its process, the file is named and the others are decoded."""

import io
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from media_files import write_clip, write_recording
from PIL import Image

import prepare
from dfresearch import data, media_check
from dfresearch.media_check import CheckLimits, check_media, worker_command
from dfresearch.training import TrainingError, run_to_exit_code

# Decodes nothing: the first word of a file's name says what to do. A real process, with the real limits.
WORKER = textwrap.dedent("""
    import ctypes, os, sys, time, types
    from pathlib import Path
    from dfresearch.media_check_worker import serve

    class DecodeError(Exception):
        pass

    # The real module takes seconds to import, for each of these processes.
    sys.modules["dfresearch_rs"] = types.SimpleNamespace(DfresearchError=DecodeError)

    def decode(path):
        print("a decoder that prints", flush=True)
        kind = path.name.split("-")[0]
        with open(path.parent / "log", "a") as log:
            log.write(f"{path.name} {os.getpid()}\\n")
        if kind == "crash":
            ctypes.string_at(8)
        elif kind == "abort":
            sys.stderr.write("free(): invalid pointer\\n")
            sys.stderr.flush()
            os.abort()
        elif kind == "exit":
            os._exit(3)
        elif kind == "hang":
            time.sleep(3600)
        elif kind == "spin":
            while True:
                pass
        elif kind == "allocate":
            bytearray(8 << 30)
        elif kind == "once" and not path.with_suffix(".tried").exists():
            path.with_suffix(".tried").touch()
            os.kill(os.getpid(), 9)
        elif kind == "bad":
            raise DecodeError(f"{path}: not sound")
        elif kind == "gone":
            path.read_bytes()

    memory, cpu = sys.argv[1:]
    serve(decode, int(memory), int(cpu))
""")


@pytest.fixture
def fake(tmp_path):
    """Return a command for a check, and its limits: the times are far from what a sound file needs."""
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    limits = CheckLimits(memory_bytes=2**30, cpu_seconds=2, wall_seconds=120)
    return [sys.executable, str(script), str(limits.memory_bytes), str(limits.cpu_seconds)], limits


def found(files, command, limits, workers=2):
    return {each.path.name: each for each in check_media(files, command, limits, workers)}


def log(folder):
    return [line.split() for line in (folder / "log").read_text().splitlines()]


def test_a_decoder_that_dies_names_its_file(tmp_path, fake):
    deadly = ["crash-1", "abort-1", "exit-1", "spin-1"]
    kinds = ["ok-1", *deadly, "ok-2", "bad-1", "gone-1", "allocate-1", "once-1", "ok-3"]
    counts = []
    findings = {
        each.path.name: each for each in check_media((tmp_path / kind for kind in kinds), *fake, 3, counts.append)
    }
    reasons = {name: each.reason for name, each in findings.items()}
    assert reasons == {
        # With what it said of this file, and of no other.
        "crash-1": "the decoder crashed (SIGSEGV): a decoder that prints",
        "abort-1": "the decoder crashed (SIGABRT): a decoder that prints | free(): invalid pointer",
        "exit-1": "the decoder ended with exit code 3: a decoder that prints",
        "bad-1": "not sound",
        "gone-1": "No such file or directory",
        "allocate-1": "decoding it takes more memory than the check allows",
        "spin-1": "the decoder took more processor time than the check allows: a decoder that prints",
    }
    assert [name for name, each in findings.items() if not each.is_content] == ["gone-1"]
    assert counts == list(range(1, len(kinds) + 1))
    # What cost a process its life was tried once more, each time by another process.
    tries = {kind: [pid for name, pid in log(tmp_path) if name == kind] for kind in kinds}
    assert {kind for kind, pids in tries.items() if len(pids) == 2} == {*deadly, "once-1"}
    assert {kind for kind, pids in tries.items() if len(pids) == 1} == {*kinds} - {*deadly, "once-1"}
    assert len({pid for kind in deadly for pid in tries[kind]}) == 2 * len(deadly)


def test_a_decoder_that_hangs_is_ended_and_its_file_named(tmp_path, fake):
    command, _limits = fake
    limits = CheckLimits(wall_seconds=4)
    files = [tmp_path / name for name in ("hang-1", "ok-1", "ok-2")]
    assert {name: each.reason for name, each in found(files, command, limits).items()} == {
        "hang-1": "the decoder was not done after 4 seconds"
    }
    for _name, pid in log(tmp_path):
        assert not Path(f"/proc/{pid}").exists()


def test_files_are_taken_as_they_are_needed_and_an_early_end_leaves_no_process(tmp_path, fake):
    taken = []

    def files():
        for number in range(1000):
            taken.append(number)
            yield tmp_path / f"bad-{number}"

    findings = check_media(files(), *fake, 2)
    next(findings)
    findings.close()
    assert len(taken) <= 6
    assert not any(Path(f"/proc/{pid}").exists() for _name, pid in log(tmp_path))


def test_processes_that_do_not_start_are_no_fault_of_a_file(tmp_path):
    for command, message in [
        ([sys.executable, "-c", "raise SystemExit('no such module')"], "does not start: .*no such module"),
        ([sys.executable, "-c", "print('hello'); input()"], "answered b'hello'"),
    ]:
        with pytest.raises(TrainingError, match=message):
            list(check_media([tmp_path / "a"], command))
    assert list(check_media([], [sys.executable, "-c", "raise SystemExit"])) == []


def damaged_in_the_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = bytes(400)
    path.write_bytes(content)


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_media_are_decoded_to_their_end(tmp_path, modality):
    good, bad = [], []
    if modality == "image":
        pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        for name in ("good.jpg", "bad.jpg"):
            Image.fromarray(pixels).save(tmp_path / name, quality=90)
        content = (tmp_path / "bad.jpg").read_bytes()
        (tmp_path / "bad.jpg").write_bytes(content[: len(content) * 3 // 4])
        good, bad = ["good.jpg"], ["bad.jpg"]
    elif modality == "video":
        for name in ("good.mp4", "bad.mp4"):
            write_clip(tmp_path / name, frames=80, options=["-g", "10", "-bf", "0", "-movflags", "+faststart"])
        damaged_in_the_middle(tmp_path / "bad.mp4")
        for name in ("good", "bad"):
            (tmp_path / name).mkdir()
            for number in range(6):
                Image.new("RGB", (32, 32), (number * 40, 0, 0)).save(tmp_path / name / f"{number}.jpg")
        content = (tmp_path / "bad" / "5.jpg").read_bytes()
        (tmp_path / "bad" / "5.jpg").write_bytes(content[: len(content) // 2])
        good, bad = ["good.mp4", "good"], ["bad.mp4", "bad"]
    else:
        # Damage within a recording is skipped, as in every training; what is left without an index is not.
        for name in ("good.flac", "damaged.flac", "bad.m4a"):
            write_recording(tmp_path / name, seconds=20)
        damaged_in_the_middle(tmp_path / "damaged.flac")
        content = (tmp_path / "bad.m4a").read_bytes()
        (tmp_path / "bad.m4a").write_bytes(content[: len(content) // 2])
        (tmp_path / "empty.wav").touch()
        good, bad = ["good.flac", "damaged.flac"], ["bad.m4a", "empty.wav"]
    limits = CheckLimits()
    files = [tmp_path / name for name in good + bad]
    findings = found(files, worker_command(modality, limits), limits, workers=1)
    assert sorted(findings) == sorted(bad)
    for each in findings.values():
        assert each.is_content
        assert each.reason
        assert str(tmp_path) not in each.reason.removeprefix(f"{each.path}")[: len(str(tmp_path))]


def test_the_real_decoder_gets_no_more_memory_than_the_check_allows(tmp_path):
    Image.new("RGB", (9000, 9000)).save(tmp_path / "large.png")
    for memory_bytes, reasons in [(64 * 2**20, ["out of memory"]), (4 * 2**30, [])]:
        limits = CheckLimits(memory_bytes=memory_bytes)
        findings = check_media([tmp_path / "large.png"], worker_command("image", limits), limits)
        assert [each.reason.split(":")[0] for each in findings] == reasons


def test_names_that_are_no_text_are_handed_on(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \n.jpg"))
    Image.new("RGB", (8, 8)).save(path)
    limits = CheckLimits()
    assert found([path], worker_command("image", limits), limits) == {}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Two datasets of images, each with a truncated JPEG."""
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    definitions = tmp_path / "cache" / "gasbench_configs" / "image_datasets.yaml"
    definitions.parent.mkdir(parents=True)
    definitions.write_text(
        "datasets:\n"
        "  - {name: photos, path: local/photos, modality: image, media_type: real}\n"
        "  - {name: renders, path: local/renders, modality: image, media_type: synthetic}\n"
    )
    generator = np.random.default_rng(0)
    for name in ("photos", "renders"):
        folder = tmp_path / "cache" / "datasets" / "image" / name
        folder.mkdir(parents=True)
        for number in range(4):
            pixels = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.jpg")
        content = (folder / "0.jpg").read_bytes()
        (folder / "0.jpg").write_bytes(content[: len(content) // 2])
    return tmp_path / "cache"


def command(*arguments):
    return run_to_exit_code(lambda: prepare.run(prepare.parse_arguments(arguments)))


@pytest.mark.filterwarnings("ignore:quarantined")
def test_check_quarantines_what_does_not_decode(cache, capsys):
    assert prepare.verify_cache("image") == 8
    assert command("--check", "--modality", "image", "--datasets", "ph*", "--workers", "1") == 0
    output = capsys.readouterr().out
    bad = cache / "datasets/image/photos/0.jpg"
    assert re.search(rf"^quarantined: {re.escape(str(bad))}: .*truncated JPEG", output, re.MULTILINE)
    assert output.endswith("4 image files decoded: 1 quarantined, 0 not readable\n")
    assert prepare.verify_cache("image") == 7
    capsys.readouterr()
    # What is quarantined is not decoded again; the verification comes after the check.
    assert command("--verify", "--check", "--modality", "image", "--media-type", "synthetic") == 0
    output = capsys.readouterr().out
    assert "4 image files decoded: 1 quarantined" in output
    assert "3 image samples: 0 real, 3 synthetic" in output
    assert data.survey_cache("image").num_samples == 6


def test_a_file_that_cannot_be_read_is_told_and_not_quarantined(cache, fake):
    stream = io.StringIO()
    files = [cache / "gone-1"]
    report = media_check.check_cache(cache, "image", files, 1, 1, stream, fake[1], fake[0])
    assert [path.name for path, _reason in report.unreadable] == ["gone-1"]
    assert report.quarantined == []
    assert stream.getvalue().startswith(f"not readable: {cache / 'gone-1'}: No such file")


def test_ctrl_c_ends_the_check_and_its_processes(cache, tmp_path):
    # The worker hangs from its first file on and leaves its number.
    script = tmp_path / "check.py"
    script.write_text(
        textwrap.dedent("""
            import sys
            import prepare
            from dfresearch import data, media_check
            from pathlib import Path
            cache, worker = sys.argv[1:]
            media_check.worker_command = lambda modality, limits: [sys.executable, worker, str(2**30), "60"]
            data.CACHE_DIR = Path(cache)
            sys.argv[1:] = ["--check", "--modality", "image"]
            sys.exit(prepare.main())
        """)
    )
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER.replace('path.name.split("-")[0]', '"hang"'))
    root = Path(__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": f"{root / 'python'}{os.pathsep}{root}"}
    process = subprocess.Popen(
        [sys.executable, script, cache, worker],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    logs = [cache / "datasets" / "image" / name / "log" for name in ("photos", "renders")]
    while not any(log.exists() and log.read_text() for log in logs):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _output, errors = process.communicate()
    assert process.returncode == 130, errors
    assert errors.strip() == "interrupted: what is done stays done, and the next run goes on"
    for path in logs:
        for line in path.read_text().splitlines() if path.exists() else ():
            assert not Path(f"/proc/{line.split()[1]}").exists()
