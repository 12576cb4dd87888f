"""The rules of the research: constants, data commands and the evaluation. READ-ONLY for agents.

    uv run prepare.py --modality image            # fetch the competition's image datasets, and your own
    uv run prepare.py --dry-run                   # what that would fetch, and how large it is
    uv run prepare.py --verify                    # what the cache holds, dataset by dataset
    uv run prepare.py --check                     # decode everything that it holds, and quarantine what fails
    uv run prepare.py --warm --modality image     # keep all of it preprocessed, so that no epoch of a training decodes
    uv run prepare.py --demo --modality image     # build the demonstration data in .demo/

A download goes on where an earlier one ended, however it ended; what is complete is not fetched again. With the same
`--seed` every machine gets the same samples. The datasets are those of the competition's definitions, which are fetched
when they are older than a day, and of `datasets/*.yaml`. DFRESEARCH_CONFIG_URL names another place for the former.

A dataset ends as OK, PARTIAL (some samples are missing), GATED (ask for access, and set HF_TOKEN), FAILED, BUSY
(another run is at it) or KEPT (a folder filled by hand or by another program: used as it is). Those that are not OK are
listed at the end with the reason; the exit code is 1 only when the chosen datasets have no sample at all.

`--verify` looks at headers alone. `--check` decodes every file to its end, in processes that a file may crash or hang;
without it, a file that fails is quarantined by the training that finds it.

A score is comparable with another one because this file, the validation split and the budget stay what they are.
"""
# ruff: noqa: E402 -- .env is loaded before the modules that read the environment when they are imported.

from dotenv import load_dotenv

load_dotenv()

import argparse
import json
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import dfresearch_rs
from dfresearch import command_line, data, download, media_check, sample_cache, samples
from dfresearch.device_batches import device_batches
from dfresearch.training import TrainingError, run_to_exit_code

TIME_BUDGET = 600
"""Seconds of training that every experiment gets; start-up and evaluation do not count."""

TARGET_IMAGE_SIZE = (224, 224)
TARGET_VIDEO_SIZE = (224, 224)
NUM_VIDEO_FRAMES = 16
AUDIO_SAMPLE_RATE = 16000
AUDIO_DURATION = 6.0
AUDIO_SAMPLES = 96000

DEFAULT_IMAGE_BATCH_SIZE = 32
DEFAULT_VIDEO_BATCH_SIZE = 4
DEFAULT_AUDIO_BATCH_SIZE = 16

LABEL_REAL = 0
LABEL_SYNTHETIC = 1

MODALITIES = ("image", "video", "audio")

# The exponents of MCC and Brier score in the documented formula.
SN34_ALPHA = 1.2
SN34_BETA = 1.8

DEMO_CACHE = Path(".demo")

BYTES_PER_GIGABYTE = 10**9


# ---------------------------------------------------------------------------------------------------------------------
# Evaluation
# ---------------------------------------------------------------------------------------------------------------------


def compute_sn34_score(
    y_true: Sequence[int] | NDArray[np.generic] | Tensor,
    y_prob: Sequence[float] | NDArray[np.generic] | Tensor,
    alpha: float = SN34_ALPHA,
    beta: float = SN34_BETA,
) -> dict[str, float]:
    """Score probabilities of being synthetic against labels (0 real, 1 synthetic); a sample is positive at p >= .5.

    `sn34_score` is `sqrt(mcc_norm ** alpha * brier_norm ** beta)`, `gasbench_sn34_score` the competition's formula.
    """
    return dfresearch_rs.sn34_score(y_true, y_prob, alpha=alpha, beta=beta).as_dict()


def evaluate_model(
    model: nn.Module, dataloader: Iterable[tuple[Tensor, Tensor]], device: str = "cuda"
) -> dict[str, float]:
    """Score `model` on every batch of `dataloader`, in float32 and evaluation mode, as the competition runs it.

    The model gives logits [B, 2] (softmax) or one logit a sample (sigmoid), as a tensor or as the attribute `logits` of
    its output. It is moved to `device`, the CPU where CUDA
    is asked for and missing; the training mode of each of its modules is what it was before.

    Raises:
        TrainingError: a logit is NaN or infinite.
        ValueError: the output is no tensor, or has another shape.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        warnings.warn("no CUDA device: evaluating on the CPU", stacklevel=2)
        device = "cpu"
    training_modes = [(module, module.training) for module in model.modules()]
    labels: list[Tensor] = []
    probabilities: list[Tensor] = []
    model.to(device).eval()
    try:
        with torch.inference_mode():
            for inputs, batch_labels in device_batches(dataloader, device):
                output = model(inputs)
                logits = getattr(output, "logits", output)
                probabilities.append(_synthetic_probability(logits, len(batch_labels)).cpu())
                labels.append(batch_labels.cpu())
    finally:
        for module, was_training in training_modes:
            module.training = was_training
    if not labels:
        return compute_sn34_score([], [])
    return compute_sn34_score(torch.cat(labels), torch.cat(probabilities))


def _synthetic_probability(logits: object, batch_size: int) -> Tensor:
    """Turn logits [B, 2], [B, 1] or [B] into the probability of being synthetic, float32 [B]."""
    if not isinstance(logits, Tensor):
        raise ValueError(f"the model gave a {type(logits).__name__}: logits are a tensor, [B, 2], [B, 1] or [B]")
    if not torch.isfinite(logits).all():
        count = int((~torch.isfinite(logits)).sum())
        raise TrainingError(f"the model gave {count} logits that are NaN or infinite: there is no score for it")
    if logits.shape == (batch_size, 2):
        return torch.softmax(logits.float(), dim=1)[:, LABEL_SYNTHETIC]
    if logits.shape in ((batch_size, 1), (batch_size,)):
        return torch.sigmoid(logits.float().reshape(batch_size))
    raise ValueError(f"the model gave {tuple(logits.shape)} for {batch_size} samples: logits are [B, 2], [B, 1] or [B]")


# ---------------------------------------------------------------------------------------------------------------------
# Data commands
# ---------------------------------------------------------------------------------------------------------------------


def download_datasets(modality: str, max_workers: int = 4, max_samples: int = 500) -> dict[str, int]:
    """Fetch every dataset of a modality, print what came of it, and return how many samples each has now."""
    refresh_definitions(modality, force=False)
    return data.download_all_datasets(modality, max_workers, max_samples)


def refresh_definitions(modality: str, *, force: bool) -> None:
    """Bring the competition's definitions up to date and print what changed.

    Raises:
        TrainingError: there are none, not even old ones or your own.
    """
    try:
        outcome = download.refresh_configs(data.CACHE_DIR, force)
    except dfresearch_rs.DfresearchError as error:
        if not data.load_dataset_config(modality)["datasets"]:
            raise TrainingError(f"{error}\n{fill_by_hand(modality)}") from error
        print(f"definitions: not refreshed, those that are there are used: {error}", flush=True)
    else:
        print("\n".join(outcome.lines), flush=True)


def download_or_plan(modality: str, arguments: argparse.Namespace) -> None:
    """Fetch the datasets that the command line chooses, or say what a fetch would do."""
    refresh_definitions(modality, force=arguments.refresh_configs)
    settings = download.DownloadSettings(
        max_samples=arguments.max_samples,
        workers=arguments.workers,
        seed=arguments.seed,
        retry=arguments.retry,
        max_disk_bytes=None if arguments.max_disk_gb is None else round(arguments.max_disk_gb * BYTES_PER_GIGABYTE),
    )
    definitions = choice_of(arguments).among(data.load_dataset_config(modality)["datasets"])
    if not definitions:
        raise TrainingError(f"no {modality} dataset is defined.\n{fill_by_hand(modality)}")
    if arguments.dry_run:
        print(download.plan_table(download.plan(data.CACHE_DIR, definitions, settings)))
        return
    report = download.download(data.CACHE_DIR, definitions, settings, show=True)
    if not any(dataset.samples or dataset.status == download.KEPT for dataset in report.datasets):
        raise TrainingError("there is not a single sample of them; the reasons are above")


def choice_of(arguments: argparse.Namespace) -> samples.DatasetChoice:
    """Return the datasets that the command line names."""
    return samples.DatasetChoice(tuple(arguments.datasets), arguments.media_type)


def verify_cache(modality: str) -> int:
    """Print what the cache holds of a modality, dataset by dataset, and return the number of usable samples."""
    survey = data.survey_cache(modality)
    print(survey.table())
    return survey.num_samples


def verify(modalities: Sequence[str], arguments: argparse.Namespace) -> None:
    """Print what the cache holds of the chosen datasets, as tables or as JSON.

    Raises:
        TrainingError: it holds nothing of them.
    """
    surveys = [data.survey_cache(modality, rescan=arguments.rescan) for modality in modalities]
    choice_of(arguments).require([dataset.name for survey in surveys for dataset in survey.datasets])
    surveys = [survey.narrowed(choice_of(arguments)) for survey in surveys]
    if arguments.json:
        print(json.dumps({survey.modality: survey.as_dict() for survey in surveys}, indent=2))
    else:
        for survey in surveys:
            print(survey.table())
            kept = sample_cache.line(data.CACHE_DIR, survey.modality)
            if kept is not None:
                print(kept)
    if not any(survey.num_samples for survey in surveys):
        chosen = " of the chosen datasets" if arguments.datasets or arguments.media_type else ""
        raise TrainingError(f"there is no usable sample{chosen} in {data.CACHE_DIR}")


def check(modality: str, arguments: argparse.Namespace) -> None:
    """Decode every file of the chosen datasets, quarantine what fails, and print how many files that is."""
    media_types = {each["name"]: each["media_type"] for each in data.load_dataset_config(modality)["datasets"]}
    choice, listing = choice_of(arguments), data.gather_samples(modality, split="all")
    names = (listing.dataset(index) for index in range(len(listing)))
    chosen = [index for index, name in enumerate(names) if choice.keeps(name, media_types[name])]
    files = (listing[index][0] for index in chosen)
    # Standard output is for the JSON.
    stream = sys.stderr if arguments.json else sys.stdout
    media_check.check_cache(data.CACHE_DIR, modality, files, len(chosen), arguments.workers, stream)


def warm(modality: str) -> int:
    """Decode all samples of a modality with every core, as training will want them, and return how many there are."""
    size = TARGET_VIDEO_SIZE if modality == "video" else TARGET_IMAGE_SIZE
    loader = data.make_dataloader(modality, split="all", target_size=size, num_frames=NUM_VIDEO_FRAMES)
    return sample_cache.warm(loader, modality, sys.stdout)


def build_demo(modality: str) -> None:
    """Build the demonstration data in `.demo/`, a cache of its own that real training never sees."""
    from dfresearch import demo

    build = {"image": demo.build_image_demo, "video": demo.build_video_demo, "audio": demo.build_audio_demo}[modality]
    try:
        build(DEMO_CACHE)
    except (ValueError, demo.ToolError) as error:
        raise TrainingError(f"no demonstration data for {modality}: {error}") from error


def fill_by_hand(modality: str) -> str:
    """Say how the cache is filled without a download."""
    return (
        f"To fill the cache by hand:\n"
        f"  1. put the media files of each dataset into a folder of its own: "
        f"{data.CACHE_DIR / 'datasets' / modality / 'NAME'}/\n"
        f"  2. say in datasets/{modality}.yaml what they are (datasets/{modality}.yaml.example shows how):\n"
        f"       datasets:\n"
        f"         - name: NAME\n"
        f"           path: local/NAME\n"
        f"           modality: {modality}\n"
        f"           media_type: real    # or synthetic, semisynthetic\n"
        f"  3. look at the result: uv run prepare.py --verify --modality {modality}\n"
        f"A cache that was filled elsewhere is used as it is, with its definitions in "
        f"{data.CACHE_DIR / 'gasbench_configs'}/.\n"
        f"To try the whole pipeline on demonstration data (`--demo` builds them), which leaves results/ alone: "
        f"make demo-{modality}"
    )


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    number, count, seed = command_line.positive_number, command_line.positive_integer, command_line.seed
    parser.add_argument("--modality", choices=MODALITIES, help="default: image; all with --verify, --check, --warm")

    commands = parser.add_argument_group("commands, instead of the download")
    commands.add_argument("--dry-run", action="store_true", help="print what would be fetched, and how large it is")
    commands.add_argument("--verify", action="store_true", help="print what the cache holds; exit code 1 for nothing")
    commands.add_argument("--check", action="store_true", help="decode every file, quarantine what fails; goes first")
    commands.add_argument("--warm", action="store_true", help="keep every sample preprocessed, before training does")
    commands.add_argument("--demo", action="store_true", help=f"build the demonstration data in {DEMO_CACHE}/")

    which = parser.add_argument_group("which datasets (for all commands but --warm and --demo)")
    which.add_argument(
        "--datasets",
        metavar="PATTERN",
        action="append",
        default=[],
        help="only those whose name fits, such as 'deepfake-*'; may be repeated",
    )
    which.add_argument("--media-type", choices=tuple(data.LABEL_MAP), help="only those of this type")

    fetch = parser.add_argument_group("download")
    defaults = download.DownloadSettings()
    fetch.add_argument(
        "--max-samples", type=count, default=defaults.max_samples, help="of each dataset (default: %(default)s)"
    )
    fetch.add_argument(
        "--workers",
        type=count,
        default=defaults.workers,
        help="datasets to fetch, or processes to check with, at a time (default: %(default)s)",
    )
    fetch.add_argument(
        "--seed", type=seed, default=defaults.seed, help="chooses the samples of a dataset (default: %(default)s)"
    )
    fetch.add_argument("--retry", action="store_true", help="try what failed or came in part again")
    fetch.add_argument("--max-disk-gb", type=number, help="stop before the cache takes more than that (10^9 bytes)")
    fetch.add_argument("--refresh-configs", action="store_true", help="fetch the definitions whatever their age")

    report = parser.add_argument_group("--verify")
    report.add_argument("--json", action="store_true", help="as JSON on standard output")
    report.add_argument("--rescan", action="store_true", help="look at every file anew, not only at new ones")
    parsed = parser.parse_args(arguments)
    given = [name for name in ("dry_run", "verify", "check", "warm", "demo") if getattr(parsed, name)]
    if len(given) > 1 and given != ["verify", "check"]:
        parser.error(f"--{given[0].replace('_', '-')} and --{given[1]} are two commands: give one")
    for name in ("json", "rescan"):
        if getattr(parsed, name) and not parsed.verify:
            parser.error(f"--{name} belongs to --verify")
    if parsed.warm and (parsed.datasets or parsed.media_type):
        parser.error("--warm keeps all samples of a modality: --datasets and --media-type do not choose among them")
    return parsed


def run(arguments: argparse.Namespace) -> None:
    """Run the command that the command line names."""
    modalities = MODALITIES if arguments.modality is None else (arguments.modality,)
    if arguments.check:
        choice_of(arguments).require(
            [each["name"] for modality in modalities for each in data.load_dataset_config(modality)["datasets"]]
        )
        for modality in modalities:
            check(modality, arguments)
    if arguments.verify:
        verify(modalities, arguments)
    elif arguments.warm:
        if not sum([warm(modality) for modality in modalities]):
            raise TrainingError(f"there is no usable sample in {data.CACHE_DIR}")
    elif arguments.demo:
        build_demo(arguments.modality or "image")
    elif not arguments.check:
        download_or_plan(arguments.modality or "image", arguments)


def main() -> int:
    """Run the script and return its exit code."""
    arguments = parse_arguments()
    return run_to_exit_code(lambda: run(arguments), interrupted="what is done stays done, and the next run goes on")


if __name__ == "__main__":
    sys.exit(main())
