"""The corpora that the benches read: one for all modalities in .bench/, and views of it that hold one kind of file."""

import os
import shutil
from pathlib import Path

import yaml
from clips import make_audio_corpus, make_video_corpus
from media import make_image_corpus

Sample = tuple[Path, int]

CORPUS = Path(".bench/corpus")
# Of each class and format: the records of the training split are then more bytes than a desktop's last cache holds.
IMAGES_PER_KIND = 300
CLIPS = 60
RECORDINGS = 400
# An interrupted making leaves a corpus without its definitions, which are written last; it is made anew.
MAKERS = {
    "image": lambda folder: make_image_corpus(folder, IMAGES_PER_KIND),
    "video": lambda folder: make_video_corpus(folder, CLIPS),
    "audio": lambda folder: make_audio_corpus(folder, RECORDINGS),
}
# What soundfile reads, and so the baseline.
READABLE_RECORDINGS = {".wav", ".flac", ".mp3", ".ogg", ".opus"}


def prepare_corpus(media: Path | None) -> Path:
    """Return the folder of a corpus laid out as a cache: `media`, or .bench/corpus, which is made once.

    Raises:
        SystemExit: `media` has no definitions, or no photograph is installed to make a corpus of.
    """
    if media is not None:
        if not any((media / "gasbench_configs").glob("*.yaml")):
            raise SystemExit(f"{media}: no gasbench_configs/*.yaml in it; --media wants a folder laid out as a cache")
        return media
    for modality, make in MAKERS.items():
        if not (CORPUS / "gasbench_configs" / f"{modality}_datasets.yaml").exists():
            make(CORPUS)
    return CORPUS


def make_view(corpus: Path, folder: Path, modality: str, suffixes: set[str]) -> Path:
    """Make a cache at `folder` of links to the corpus' files with one of the suffixes, and read them all once.

    Raises:
        SystemExit: there is no such file.
    """
    shutil.rmtree(folder, ignore_errors=True)
    definitions = []
    for config in sorted((corpus / "gasbench_configs").glob("*.yaml")):
        for definition in yaml.safe_load(config.read_text())["datasets"]:
            source = corpus / "datasets" / modality / definition["name"]
            if definition["modality"] != modality or not source.is_dir():
                continue
            files = sorted(path for path in source.rglob("*") if path.suffix in suffixes)
            if files:
                definitions.append(definition)
            for path in files:
                link = folder / "datasets" / modality / definition["name"] / path.relative_to(source)
                link.parent.mkdir(parents=True, exist_ok=True)
                link_or_copy(path, link)
                link.read_bytes()  # into the page cache, for both sides alike
    if not definitions:
        raise SystemExit(f"{corpus} holds no labelled {modality} files that end in {', '.join(sorted(suffixes))}")
    configs = folder / "gasbench_configs"
    configs.mkdir()
    (configs / f"{modality}_datasets.yaml").write_text(yaml.safe_dump({"datasets": definitions}))
    return folder


def link_or_copy(source: Path, destination: Path) -> None:
    """Link where the file system can; a corpus on another one is copied."""
    try:
        os.link(source, destination)
    except OSError:
        shutil.copyfile(source, destination)
