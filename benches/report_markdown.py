"""The report's text: figures as tables, and what each of them means."""

from typing import Any

from measure import format_rate, format_ratio

MEBIBYTE = 1 << 20
# What was aimed at for the first epoch and the steady state, on two cores, as ratios to the baseline.
AIMS = {
    "image-png-2": (2.5, 60),
    "image-jpeg-2": (1.6, 35),
    "image-png-0": (2.5, 150),
    "video-1": (4, 30),
    "audio-0": (2, 10),
}
START_AIM_MILLISECONDS = 300
MEMORY_AIM_MEBIBYTES = 1024
DRIFT_AIM = 0.02
BUSY_SHARE = 0.05
# An epoch of fewer batches is over before the baseline has delivered much more than it made ahead.
BATCHES_TO_SETTLE = 12

Spread = dict[str, float]


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column is text, the others figures."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def rate(spread: Spread) -> str:
    return f"{format_rate(spread['median'])} ({format_rate(spread['least'])}..{format_rate(spread['greatest'])})"


def ratio(spread: Spread) -> str:
    least, greatest = format_ratio(spread["least"]), format_ratio(spread["greatest"])
    return f"**{format_ratio(spread['median'])}** ({least[:-1]}..{greatest[:-1]})"


def percent(spread: Spread, digits: int = 0) -> str:
    least, greatest = 100 * spread["least"], 100 * spread["greatest"]
    return f"{100 * spread['median']:.{digits}f} % ({least:.{digits}f}..{greatest:.{digits}f})"


def mebibytes(count: float) -> str:
    return f"{count / MEBIBYTE:,.0f} MiB"


def write_markdown(measured: dict[str, Any]) -> str:
    """The whole report."""
    parts = [write_head(measured)]
    for section, write in WRITERS.items():
        if section in measured:
            parts.append(write(measured[section]))
    parts.append(write_conditions(measured))
    return "\n\n".join(parts) + "\n"


def write_head(measured: dict[str, Any]) -> str:
    machine = "; ".join(f"{name}: {value}" for name, value in measured["machine"].items())
    versions = ", ".join(f"{name} {value}" for name, value in measured["versions"].items())
    state = " with uncommitted changes" if measured["modified"] else ""
    corpus = "the corpus that the benches make" if measured["own_corpus"] else "a corpus given by --media"
    lines = [
        "# How fast it is",
        "Ours and others on the same files in one run, taking turns round by round. A figure is the median of"
        f" {measured['rounds']} rounds, in brackets the least and the greatest; a ratio is that of the medians, in"
        " brackets the least and the greatest of a round. `benches/report.py` (`make bench`) writes this, nobody else.",
        f"- {machine}",
        f"- commit {measured['commit']}{state}, {measured['date']}; {corpus}; {measured['seconds'] / 60:.0f} minutes",
        f"- {versions}",
    ]
    if measured["quick"]:
        lines.insert(1, "**A smoke run (`--quick`): the figures below are worth nothing.**")
    return "\n\n".join(lines[:-3]) + "\n\n" + "\n".join(lines[-3:])


def write_works(works: list[dict[str, Any]]) -> str:
    rows, cost = [], []
    for work in works:
        first_aim, steady_aim = AIMS[work["work"]]
        rows.append(
            [
                work["title"],
                rate(work["baseline"]),
                rate(work["first"]),
                f"{ratio(work['first_ratio'])} · {first_aim:g}x",
                rate(work["steady"]),
                f"{ratio(work['steady_ratio'])} · {steady_aim:g}x",
            ]
        )
        cost.append(
            [
                work["title"],
                str(work["samples"]),
                f"{work['cache_bytes'] / MEBIBYTE:,.0f} MiB",
                rate(work["uncached"]),
                ratio(work["uncached_ratio"]),
                ratio(work["first_to_uncached"]),
            ]
        )
    return "\n\n".join(
        [
            "## Samples per second",
            table(
                ["work", "baseline", "first epoch", "to baseline · aim", "steady state", "to baseline · aim"],
                rows,
            ),
            "![Samples per second of the baseline, the first epoch and the steady state](report_throughput.svg)",
            "*Baseline*: the `DataLoader` that one writes by hand, four workers: Pillow, decord, or soundfile with"
            " librosa, augmented with OpenCV and NumPy (`benches/baselines/`). It decodes in every epoch. *First"
            " epoch*: `make_dataloader` with an empty sample cache, which it fills, on"
            " all cores (beside a training it leaves one to it). *Steady state*: the epochs after"
            " it, whole ones in a row. Both sides get the same files, sizes, batches and as much augmentation; images"
            " of ours are cropped and, where they are JPEG, saved again first as the competition does, which the"
            " baseline is spared. Before anything is timed, the pixels (image, video) or the waveforms of both sides"
            " are compared, and two epochs of ours with the sample cache and without it, bit by bit.",
            "What the sample cache costs and spares: an epoch without one, and the first epoch's speed against it.",
            table(
                ["work", "samples", "sample cache", "without it, per second", "to baseline", "first epoch to that"],
                cost,
            ),
        ]
    )


def write_ceiling(ceiling: dict[str, Any]) -> str:
    rows = [
        [
            "ours, level 0, steady state" if row["name"] == "ours" else row["name"],
            f"{row['gigabytes_per_second']['median']:.2f}"
            f" ({row['gigabytes_per_second']['least']:.2f}..{row['gigabytes_per_second']['greatest']:.2f})",
            percent(row["share"]),
        ]
        for row in ceiling["rows"]
    ]
    return "\n\n".join(
        [
            "## The ceiling",
            table(["", "GB/s", "of the copy on all cores"], rows),
            f"Records of {ceiling['record_bytes']:,} bytes (an image) copied in shuffled order from"
            f" {mebibytes(ceiling['source_bytes'])} of memory into new batches by torch, and the bytes of images that"
            f" the steady state delivers at level 0 from records of {mebibytes(ceiling['corpus_record_bytes'])}. Ours"
            " starts an epoch's threads, checks records, and turns interleaved pixels into planes on the way.",
        ]
    )


def write_threads(threads: list[dict[str, Any]]) -> str:
    rows = []
    for work in threads:
        for name in ("without a sample cache", "steady state"):
            for row in work[name]:
                title = f"{work['title']}, {name}" if row["threads"] == 1 else ""
                rows.append([title, str(row["threads"]), rate(row["rate"]), percent(row["efficiency"])])
    return "\n\n".join(
        [
            "## Threads",
            table(["work", "threads", "samples per second", "of one thread's rate, each"], rows),
            "The consumer, which only counts labels, and Python have no thread of their own beside these.",
        ]
    )


def write_indexed(indexed: list[dict[str, Any]]) -> str:
    rows = [
        [
            f"{row['indexed']:,}",
            f"{row['microseconds']['median']:.1f}"
            f" ({row['microseconds']['least']:.1f}..{row['microseconds']['greatest']:.1f})",
            f"{1e3 * row['start_seconds']['median']:.0f} ({1e3 * row['start_seconds']['least']:.0f}.."
            f"{1e3 * row['start_seconds']['greatest']:.0f})",
            f"{row['make_seconds']:.2f}",
            f"{row['index_seconds']:.1f}",
            mebibytes(row["resident_bytes"] - row["imported_bytes"]),
            mebibytes(row["anonymous_bytes"]),
        ]
        for row in indexed
    ]
    most = indexed[-1]
    return "\n\n".join(
        [
            "## Many samples",
            table(
                [
                    "indexed",
                    "µs a sample",
                    "first batch, ms",
                    "loader made, s",
                    "indexing, s",
                    "memory",
                    "of it in no file",
                ],
                rows,
            ),
            "PNG images of 16x16 pixels, so that what is counted is the loader and not the pixels: steady state, all"
            " records from the sample cache, level 0, batches of 32. *First batch*: from `iter()` to it"
            f" ({START_AIM_MILLISECONDS} ms are aimed at with a million). *Loader made*: `make_dataloader` over an"
            " index that is there; *indexing*: the first time, when every file is read. *Memory*: resident beyond the"
            f" {mebibytes(most['imported_bytes'])} after the imports, mapped files included, which the system takes"
            f" back when it needs them; all in all {mebibytes(most['resident_bytes'])} with {most['indexed']:,}"
            f" ({MEMORY_AIM_MEBIBYTES:,} MiB are aimed at with a million).",
        ]
    )


def write_memory(memory: dict[str, Any]) -> str:
    count, epochs = memory["drift_epochs"], memory["epochs"]
    rows = [
        [
            title,
            mebibytes(memory[kind]["first"]),
            mebibytes(memory[kind]["early"]),
            mebibytes(memory[kind]["late"]),
            f"{mebibytes(memory[kind]['least'])}..{mebibytes(memory[kind]['most'])}",
            f"{100 * memory[kind]['drift']:+.1f} %",
        ]
        for title, kind in (("resident", "resident"), ("of it in no file", "anonymous"))
    ]
    spans = [f"epochs 2 to {count + 1}", f"epochs {epochs - count + 1} to {epochs}", "since epoch 2"]
    return "\n\n".join(
        [
            "## Memory over epochs",
            table(["", "epoch 1", *spans, "drift"], rows),
            f"{memory['title']}, from an empty sample cache, in a process of its own that holds"
            f" {mebibytes(memory['imported_bytes'])} after the imports. Medians of {count} epochs, since the allocator"
            " keeps the memory of some finished batches or gives it back, by chance. Of the drift between them"
            f" {100 * DRIFT_AIM:.0f} % are aimed at.",
        ]
    )


def write_peers(peers: list[dict[str, Any]]) -> str:
    parts = ["## Others, decode and resize alone"]
    caches: dict[str, str] = {}
    for work in peers:
        rows = []
        for row in work["rows"]:
            caches[row["name"]] = row["cache"]
            is_ours = row["peer"] == "ours"
            rows.append(
                [
                    f"**{row['name']}**" if is_ours else row["name"],
                    rate(row["first"]),
                    "" if is_ours else ratio(row["first_ratio"]),
                    rate(row["steady"]),
                    "" if is_ours else ratio(row["steady_ratio"]),
                    row["difference"],
                ]
            )
        parts.append(f"### {work['title']}, {work['samples']} files")
        parts.append(
            table(
                ["", "first epoch, per second", "ours to it", "later epochs", "ours to it", "difference, mean (most)"],
                rows,
            )
        )
        absent = [f"{module.partition('_')[0]} ({reason})" for module, reason in work["absent"].items()]
        if absent:
            parts.append("Not measured: " + ", ".join(absent) + ".")
    kept = "; ".join(f"by {name} {cache}" for name, cache in caches.items() if cache != "nothing")
    parts.append(
        "The same files, cropped to the middle and resized to 224x224 (clips: the first 16 frames), no augmentation, no"
        " re-save, as many threads or workers as cores, batches in planes, in order. A peer runs in a process of its"
        " own (`benches/peers/`); its imports are not timed, what it does to open its loader is part of its first"
        " epoch. *Difference*: of its pixels to ours in grey levels; decoders and bilinear kernels round differently,"
        f" and FFmpeg's scaler averages over what it skips. Kept from one epoch to the next: {kept}. The others keep"
        " nothing and decode every epoch anew, as DALI and torchvision do: there the ratio of later epochs shows what a"
        " cache is worth, and that of first epochs whose decoding is faster."
    )
    return "\n\n".join(parts)


def write_starvation(starvation: list[dict[str, Any]]) -> str:
    parts = ["## What a GPU would wait"]
    is_short = False
    for work in starvation:
        rows = [
            [f"{row['step_milliseconds']:g} ms", *(percent(each) for each in row["starved"].values())]
            for row in work["rows"]
        ]
        is_short = is_short or work["batches"] < BATCHES_TO_SETTLE
        names = list(work["rows"][0]["starved"])
        parts.append(f"### {work['title']}, batches of {work['batch_size']}")
        parts.append(table(["a step takes", *names], rows))
    parts.append("![Share of time starved against the step time](report_starvation.svg)")
    parts.append(
        "A training whose steps take a fixed time, as on a GPU, and the share of the time in which it had no batch."
        " Whole epochs but for the batches that were in work before the first one came (eight of the baseline's, four"
        " of ours): starting comes once an epoch, and these epochs are short. A step takes nothing from the CPU here."
        + (f" **An epoch has fewer than {BATCHES_TO_SETTLE} batches: this flatters the baseline.**" if is_short else "")
    )
    return "\n\n".join(parts)


def write_conditions(measured: dict[str, Any]) -> str:
    rows = [
        [name, f"{each['seconds']:.0f}", f"{each['load_before']:.2f}", f"{100 * each['others']:.0f} %"]
        for name, each in measured["sections"].items()
    ]
    busy = [name for name, each in measured["sections"].items() if each["others"] > BUSY_SHARE]
    verdict = (
        f"Other processes (or the hypervisor) took more than {100 * BUSY_SHARE:.0f} % of the machine during"
        f" {', '.join(busy)}: medians and ratios of these are noisier than they could be."
        if busy
        else "The machine was all but idle otherwise."
    )
    return "\n\n".join(
        [
            "## Conditions",
            table(["section", "seconds", "load average before", "CPU taken by others"], rows),
            f"{verdict} A section's load average still holds what the one before it did. Starvation is the median of"
            f" {measured['starvation_rounds']} rounds; the figures behind the tables are in `report.json`.",
        ]
    )


WRITERS = {
    "works": write_works,
    "ceiling": write_ceiling,
    "threads": write_threads,
    "indexed": write_indexed,
    "memory": write_memory,
    "peers": write_peers,
    "starvation": write_starvation,
}
