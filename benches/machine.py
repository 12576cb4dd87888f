"""What the figures were taken on and with: machine, versions, commit, and how much of the CPUs others took."""

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = (
    "dfresearch",
    "torch",
    "torchvision",
    "numpy",
    "opencv-python-headless",
    "pillow",
    "decord",
    "librosa",
    "soundfile",
)
# The files that a report writes do not make the tree that it was measured on another one.
OWN_OUTPUTS = (":!benches/REPORT.md", ":!benches/report.json", ":!benches/report_*.svg")
INSTRUCTION_SETS = {"avx2": "AVX2", "avx512f": "AVX-512", "asimd": "NEON"}


def describe_machine() -> dict[str, str]:
    """CPU, cores, memory and system; nothing that says whose machine it is."""
    information = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", information, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", information, re.MULTILINE)
    known = [name for flag, name in INSTRUCTION_SETS.items() if flags and flag in flags[1].split()]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        system = platform.system()
    return {
        "CPU": f"{model[1] if model else platform.machine()}" + (f" ({', '.join(known)})" if known else ""),
        "cores": f"{len(os.sched_getaffinity(0))}",
        "memory": f"{memory:.0f} GiB",
        "GPU": torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none",
        "system": f"{system}, {platform.system()} {platform.release().split('-')[0]}",
    }


def describe_versions() -> dict[str, str]:
    """Python, the packages of both sides, and the FFmpeg command that made the corpus."""
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed as a package"
    try:
        banner = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout
        found["ffmpeg"] = banner.split()[2]
    except (OSError, subprocess.CalledProcessError):
        found["ffmpeg"] = "not installed"
    return found


def describe_commit() -> dict[str, object]:
    """The commit that is checked out, and whether tracked files differ from it."""
    try:
        commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        command = ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", *OWN_OUTPUTS]
        status = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {"commit": "unknown", "modified": False}
    return {"commit": commit.stdout.strip(), "modified": bool(status.stdout.strip())}


@dataclass(frozen=True)
class CpuTime:
    """Seconds of CPU so far: that the machine had, that it was busy, and that this process and its children took."""

    all: float
    busy: float
    own: float

    @classmethod
    def now(cls) -> "CpuTime":
        ticks = [int(value) for value in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        seconds = [value / os.sysconf("SC_CLK_TCK") for value in ticks]
        idle = seconds[3] + seconds[4]
        # User and system, this process' and those of children that have been waited for.
        return cls(sum(seconds), sum(seconds) - idle, sum(os.times()[:4]))

    def others_since(self, before: "CpuTime") -> float:
        """The share of the machine's CPU time that other processes took, and a hypervisor withheld."""
        others = (self.busy - before.busy) - (self.own - before.own)
        return max(0.0, others / max(1e-9, self.all - before.all))
