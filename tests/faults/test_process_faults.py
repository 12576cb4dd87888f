"""Whatever happens to the process and to the disk: the next run goes on, and ends with the same bytes."""

import random
import shutil
import signal
import subprocess
import time

import pytest
from hub import faults
from hub.workplace import kill_group, take_snapshot

KILLS = 50
# The moments at which processes are killed; another number tries others.
SEED = 4

STARTED_SECONDS = 60


def wait_for_requests(hub, process, count):
    """Wait until the hub has been asked so often, or the process has ended."""
    end = time.monotonic() + STARTED_SECONDS
    while len(hub.record()) < count and process.poll() is None:
        assert time.monotonic() < end, "the process asks for nothing"
        time.sleep(0.005)


def test_kill_at_any_moment(hub, place, undisturbed):
    """Rounds of kills until there have been enough; every cache that gets whole is compared with an undisturbed one."""
    moments = random.Random(SEED)
    hub.inject(faults.slow(bytes_per_second=1_500_000, times=None))
    kills = rounds = 0
    while kills < KILLS:
        workplace, rounds = place(), rounds + 1
        while kills < KILLS:
            asked = len(hub.record())
            process = workplace.start("--modality", "image", "--workers", moments.choice([1, 2, 4, 8]))
            # Some moments are before the first request: imports, the index's upgrade, what a killed run has left.
            wait_for_requests(hub, process, asked + moments.randrange(3))
            time.sleep(moments.uniform(0, 1.5))
            if process.poll() is not None:
                said, _ = process.communicate()
                assert process.returncode == 0, said
                break
            kill_group(process)
            kills += 1
        hub.faults.clear()
        workplace.prepare_until_done("image")
        hub.inject(faults.slow(bytes_per_second=1_500_000, times=None))
        assert workplace.snapshot() == undisturbed(), f"after {kills} kills, in round {rounds}"
        for dataset in workplace.datasets:
            workplace.check_dataset(dataset)
        workplace.check_index()


def test_what_is_committed_when_a_process_dies_is_whole(hub, place, undisturbed):
    """After every kill, without another run: what the manifest names is there, byte for byte."""
    moments = random.Random(SEED + 1)
    workplace = place("png", "zip")
    published = set(undisturbed("png", "zip").contents)
    hub.inject(faults.slow(bytes_per_second=1_000_000, times=None))
    for _ in range(8):
        asked = len(hub.record())
        process = workplace.start("--modality", "image")
        wait_for_requests(hub, process, asked + 4)
        time.sleep(moments.uniform(0, 1.0))
        kill_group(process)
        snapshot = take_snapshot(workplace.cache) if (workplace.cache / "index.sqlite3").exists() else None
        if snapshot is None:
            continue
        assert set(snapshot.files.values()) <= published
        for folder, lines in snapshot.manifests.items():
            # A line that was being written when the process died has no end.
            for line in lines:
                if line.endswith("}"):
                    name = line.partition('"file":')[2].split('"')[1]
                    assert f"{folder}/{name}" in snapshot.files


def test_an_interrupt_ends_the_run_cleanly(hub, place, undisturbed):
    workplace = place("png", "tar.gz")
    hub.inject(faults.slow(bytes_per_second=500_000, times=None))
    process = workplace.start("--modality", "image")
    wait_for_requests(hub, process, 12)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert process.returncode not in (0, -signal.SIGKILL), said
    assert "Traceback" not in said
    hub.faults.clear()
    workplace.prepare_until_done("image")
    assert workplace.snapshot() == undisturbed("png", "tar.gz")


def test_two_prepares_at_once_double_nothing(hub, place, undisturbed):
    workplace = place()
    hub.inject(faults.slow(bytes_per_second=2_000_000, times=None))
    first = workplace.start("--modality", "image")
    wait_for_requests(hub, first, 8)
    second = workplace.start("--modality", "image")
    said = [process.communicate(timeout=300)[0] for process in (first, second)]
    hub.faults.clear()
    # Neither fails; whoever meets the other's lock waits for it or names its holder.
    assert [process.returncode for process in (first, second)] == [0, 0], said
    if "another prepare" in said[0] + said[1]:
        assert workplace.prepare_until_done("image") == 1
    assert not workplace.unfinished()
    assert workplace.snapshot() == undisturbed()
    for dataset in workplace.datasets:
        workplace.check_dataset(dataset)
    workplace.check_index()


def test_many_prepares_at_once_in_turn_and_killed(hub, place, undisturbed):
    moments = random.Random(SEED + 2)
    workplace = place("png", "zip", "tar.gz")
    hub.inject(faults.slow(bytes_per_second=1_000_000, times=None))
    for _ in range(3):
        asked = len(hub.record())
        processes = [workplace.start("--modality", "image") for _ in range(3)]
        wait_for_requests(hub, processes[0], asked + 10)
        time.sleep(moments.uniform(0, 1.0))
        for process in processes:
            kill_group(process)
    hub.faults.clear()
    workplace.prepare_until_done("image")
    assert workplace.snapshot() == undisturbed("png", "zip", "tar.gz")


# The disk


def private_mounts():
    """The command that gives a process mounts of its own, with as few rights as this machine asks for."""
    unshare = shutil.which("unshare")
    for rights in (["--user", "--map-root-user", "--mount"], ["--mount"]) if unshare else ():
        script = 'folder=$(mktemp -d) && mount -t tmpfs -o size=1m none "$folder" && umount "$folder"; rmdir "$folder"'
        trial = subprocess.run([unshare, *rights, "sh", "-ec", script], capture_output=True, check=False)
        if trial.returncode == 0:
            return [unshare, *rights]
    return None


FILL_THE_DISK = """
set -eu
mount -t tmpfs -o size=3m none "$CACHE"
"$@" > "$OUT/full.txt" 2>&1 && echo 0 > "$OUT/full.status" || echo $? > "$OUT/full.status"
cp -a "$CACHE" "$OUT/full"
mount -o remount,size=256m "$CACHE"
"$@" --retry > "$OUT/grown.txt" 2>&1 && echo 0 > "$OUT/grown.status" || echo $? > "$OUT/grown.status"
cp -a "$CACHE" "$OUT/grown"
"""


def test_a_full_disk_is_named_and_a_larger_one_goes_on(place, undisturbed, tmp_path):
    """A small file system of its own fills up, and grows."""
    unshare = private_mounts()
    if unshare is None:
        pytest.skip("NOT TESTED: no file system can be mounted here (unshare and mount need user namespaces or root)")
    workplace = place()
    out = tmp_path / "out"
    out.mkdir()
    workplace.cache.mkdir()
    finished = subprocess.run(
        [*unshare, "sh", "-c", FILL_THE_DISK, "sh", *workplace.command("--modality", "image")],
        cwd=workplace.folder,
        env={**workplace.environment, "CACHE": str(workplace.cache), "OUT": str(out)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    said = (out / "full.txt").read_text()
    assert "disk" in said.lower() or "space" in said.lower(), said
    assert "Traceback" not in said
    assert "panicked" not in said
    whole = undisturbed()
    full = take_snapshot(out / "full")
    assert set(full.contents) <= set(whole.contents), "half a medium was kept"
    assert len(full.contents) < len(whole.contents)
    assert (out / "grown.status").read_text().strip() == "0", (out / "grown.txt").read_text()
    assert take_snapshot(out / "grown") == whole


def test_files_that_may_not_grow_are_named(place, undisturbed):
    """A limit on every file's size is the nearest to a full disk that needs no rights: writing fails half-way."""
    workplace = place("zip", "png")
    # In blocks of 512 bytes. With the signal ignored, as Python has it anyway, writes fail with EFBIG.
    script = 'trap "" XFSZ; ulimit -f 1200; exec "$@"'
    finished = subprocess.run(
        ["sh", "-c", script, "sh", *workplace.command("--modality", "image")],
        cwd=workplace.folder,
        env=workplace.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = finished.stdout + finished.stderr
    assert "Traceback" not in said, said
    assert "of-zip" in said
    assert "of-zip" in workplace.unfinished()
    workplace.prepare_until_done("image")
    assert workplace.snapshot().contents == undisturbed("zip", "png").contents
    workplace.check_index()


def test_a_cap_on_the_disk_is_kept_and_can_be_raised(hub, place, undisturbed):
    workplace = place("png", "zip")
    cap = 2_000_000
    finished = workplace.prepare("--modality", "image", "--max-disk-gb", cap / 1e9)
    said = finished.stdout + finished.stderr
    assert workplace.unfinished()
    assert "--max-disk-gb" in said
    used = sum(path.stat().st_size for path in (workplace.cache / "datasets").rglob("*.png"))
    assert 0 < used <= cap
    workplace.prepare_until_done("image")
    assert workplace.snapshot().contents == undisturbed("png", "zip").contents
