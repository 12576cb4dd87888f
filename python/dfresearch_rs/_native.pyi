"""The extension module behind ``dfresearch_rs``."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, Final, SupportsIndex, TypeAlias, final, overload

import numpy as np
import torch
from numpy.typing import NDArray

_RealVector: TypeAlias = torch.Tensor | NDArray[np.generic] | Sequence[float]
"""One dimension of real numbers."""

__version__: str

# ---------------------------------------------------------------------------------------------------------------------
# Decode and preprocess
# ---------------------------------------------------------------------------------------------------------------------

def decode_image(source: str | PathLike[str] | bytes) -> NDArray[np.uint8]:
    """Decode an image file, or the bytes of one, to RGB: ``uint8 [height, width, 3]``.

    JPEG, PNG, WebP, BMP, GIF (first frame) and TIFF (first page), told by content and not by name. The pixels
    are those of Pillow 12.1.1's ``Image.open(source).convert("RGB")``: alpha is dropped, not composited, EXIF
    rotation and colour profiles are not applied.

    Raises:
        FileNotFoundError, PermissionError, IsADirectoryError: the file cannot be read.
        DecodeError: empty, truncated, corrupt, of an unknown format or of a kind that is not read, or with a
            header that announces more than 65,535 pixels a side or 178,956,970 in all. The message names the
            file and the reason.
    """

def decode_video(
    source: str | PathLike[str] | bytes,
    num_frames: int = 16,
    sampling: str = "first",
    frame_rate: float | None = None,
) -> NDArray[np.uint8]:
    """Decode frames of a video file, the bytes of one, or a folder of frames: ``uint8 [num_frames, height, width, 3]``.

    H.264, HEVC, VP8, VP9, AV1, MPEG-1, -2 and -4, MJPEG and what else the system's FFmpeg decodes, in MP4, MOV, MKV,
    WebM, AVI, WMV, FLV, MPEG streams and others, told by content and not by name. The pixels are decord 0.6.0's, on a
    decode from start to end: RGB, turned by quarters as the display matrix says. A clip with fewer frames repeats its
    last one.

    A folder is a clip whose frames are its image files, in the order of the numbers that their names begin with, read
    as OpenCV's ``imread`` reads them; its first frames are taken, whatever the sampling.

    Args:
        source: a path or bytes.
        num_frames: 1 to 4096.
        sampling: ``first`` takes the first frames, ``rate`` every ``max(1, round(fps / frame_rate))``-th (30 for a clip
            that does not tell its fps), ``uniform`` the frames ``linspace(0, packets - 1, num_frames)``, truncated.
        frame_rate: frames per second, for ``rate`` alone.

    Raises:
        FileNotFoundError, PermissionError: the file cannot be read.
        ArgumentError: a number, name or rate that is not one of these.
        DecodeError: empty, of an unknown format, without video or without frames, of more than 67,108,864 pixels a
            frame, or damaged anywhere up to the last frame that is wanted. The message names the file and the reason.
    """

def recompress_image(source: str | PathLike[str] | bytes) -> bytes:
    """Return the bytes that the competition stores for an image: JPEG and WebP saved again, any other format as it is.

    Raises:
        FileNotFoundError, PermissionError, IsADirectoryError: the file cannot be read.
        DecodeError: as ``decode_image``.
    """

def preprocess_image(
    image: NDArray[np.uint8], size: Sequence[int] = (224, 224), mode: str = "competition"
) -> NDArray[np.uint8]:
    """Turn a decoded image ``[H, W, 3]`` into model input: ``uint8 [size[0], size[1], 3]``.

    Args:
        image: uint8 ``[H, W, 3]``, in any memory layout.
        size: (height, width) in pixels.
        mode: ``competition`` crops the centre to the target's aspect ratio and resizes as OpenCV's ``INTER_LINEAR``,
            on every pixel; ``stretch`` resizes the whole image as Pillow's antialiased ``BILINEAR``, within 1.

    Raises:
        ArgumentError: the array, the size or the mode is not one of these.
    """

def preprocess_video(
    frames: NDArray[np.uint8], size: Sequence[int] = (224, 224), mode: str = "competition"
) -> NDArray[np.uint8]:
    """Resize every frame of a clip, ``uint8 [T, H, W, 3]``, as `preprocess_image` does; returns ``uint8 [T, h, w, 3]``.

    Raises:
        ArgumentError: `size` or `mode` is not one of these, or the frames are no such array.
    """

def decode_audio(source: str | PathLike[str] | bytes, sample_rate: int = 16000) -> NDArray[np.float32]:
    """Decode the sound of a file, or the bytes of one, to mono: ``float32 [n]``, full scale ±1, not clipped.

    Everything that FFmpeg reads, told by content and not by name; of a video, its sound. The samples are those of
    ``ffmpeg -i source -ac 1 -ar sample_rate -f f32le -``, bit for bit, wherever that command succeeds: damaged packets
    are skipped, and a file that ends early gives what is there.

    An ``.npz`` file holds ``audio`` (float32, float64, int16 or int32, one axis or two, of which the shorter one counts
    the channels) and ``sr``, the rate in Hz (16,000 if it is missing).

    Args:
        source: a path or bytes.
        sample_rate: of the result, in Hz (1,000 to 384,000).

    Raises:
        FileNotFoundError, PermissionError, IsADirectoryError: the file cannot be read.
        DecodeError: empty, of an unknown format, without sound, more than two thirds damaged, with samples that are not
            finite, or more than an hour of sound. The message names the file and the reason.
        ArgumentError: the rate is not one of these.
    """

def preprocess_audio(
    waveform: NDArray[np.float32],
    sample_rate: int = 16000,
    duration_seconds: float = 6.0,
    crop: str = "center",
    seed: int = 0,
    epoch: int = 0,
    sample: int = 0,
) -> NDArray[np.float32]:
    """Cut a window of ``sample_rate * duration_seconds`` samples out of a waveform ``[n]``; zeros follow a shorter one.

    Args:
        waveform: float32 ``[n]``, finite.
        sample_rate: of the waveform, in Hz.
        duration_seconds: of the window.
        crop: ``center`` starts at ``(n - N) // 2``, as the competition does; ``random`` starts anywhere, as the loader
            does for the sample number `sample` of `epoch`.
        seed: the run's seed.
        epoch: counted from zero.
        sample: the sample's place in the dataset.

    Raises:
        ArgumentError: the array, the duration or the crop is not one of these.
    """

# ---------------------------------------------------------------------------------------------------------------------
# Augment
# ---------------------------------------------------------------------------------------------------------------------

def augment_image(
    image: NDArray[np.uint8],
    level: int = 2,
    seed: int = 0,
    table: Mapping[int, Sequence[object]] | None = None,
    epoch: int = 0,
    sample: int = 0,
    *,
    max_operations: int = 2,
    flip: bool = True,
) -> NDArray[np.uint8]:
    """Augment an image ``[H, W, 3]`` as the loader does for the sample number `sample` of `epoch`.

    Between one and `max_operations` distinct operations of ``table[level]``, in random order, and then a flip left to
    right for every other sample. The result is a function of the arguments alone. Level 0 changes nothing.

    Args:
        image: uint8 ``[H, W, 3]``; it is not changed.
        level: a key of the table.
        seed: the run's seed.
        table: levels and their operations, as ``dfresearch.transforms.AUGMENTATION_LEVELS``, which None stands for.
        epoch: counted from zero.
        sample: the sample's place in the dataset.
        max_operations: how many operations are applied at most.
        flip: False leaves the flip out.

    Raises:
        ArgumentError: for an image of another shape or type, or a level that the table does not have.
        AugmentError: for an unknown operation, a bad range, or an operation that failed; it names the operation.

    """

def jpeg_compress(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """Encode `image` as JPEG of `quality` (1 to 100) with 4:2:0 chroma, and decode it again."""

def gaussian_blur(image: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    """Blur `image` with a Gaussian of `sigma` pixels (0.01 to 100).

    The kernel has ``int(6 * sigma + 1) | 1`` pixels a side; the result is ``cv2.GaussianBlur``'s on every pixel.
    """

def gaussian_noise(image: NDArray[np.uint8], sigma: float, seed: int = 0) -> NDArray[np.uint8]:
    """Add a normal of standard deviation `sigma` (grey levels) to every value; clip at 0 and 255 and truncate."""

def color_shift(image: NDArray[np.uint8], shifts: Sequence[float]) -> NDArray[np.uint8]:
    """Add `shifts`, one number a channel, in float32; clip at 0 and 255 and truncate."""

def color_contrast(image: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    """Move every value away from its channel's mean by `factor` (0 to 100); clip at 0 and 255 and truncate."""

def horizontal_flip(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mirror `image` left to right."""

def augment_audio(
    waveform: NDArray[np.float32],
    level: int = 1,
    seed: int = 0,
    table: Mapping[int, Sequence[object]] | None = None,
    epoch: int = 0,
    sample: int = 0,
    *,
    sample_rate: int = 16000,
    max_operations: int = 2,
) -> NDArray[np.float32]:
    """Augment a waveform ``[n]`` as the loader does for the sample number `sample` of `epoch`.

    Between one and `max_operations` distinct operations of ``table[level]``, in random order. The result is a function
    of the arguments alone, and nothing is clipped. Level 0 changes nothing.

    Args:
        waveform: float32 ``[n]``, finite; it is not changed.
        level: a key of the table.
        seed: the run's seed.
        table: levels and their operations, as ``dfresearch.audio_transforms.AUDIO_AUGMENTATION_LEVELS``, which None
            stands for.
        epoch: counted from zero.
        sample: the sample's place in the dataset.
        sample_rate: of the waveform, in Hz.
        max_operations: how many operations are applied at most.

    Raises:
        ArgumentError: for an array of another shape or type, or a level that the table does not have.
        AugmentError: for an unknown operation, a bad range, an encoder that FFmpeg lacks, or an operation that failed;
            it names the operation.

    """

def gain(waveform: NDArray[np.float32], decibels: float) -> NDArray[np.float32]:
    """Multiply `waveform` by ``10 ** (decibels / 20)`` (-150 to 150 dB)."""

def additive_noise(waveform: NDArray[np.float32], snr_decibels: float, seed: int = 0) -> NDArray[np.float32]:
    """Add white Gaussian noise of the power ``mean(waveform ** 2) / 10 ** (snr_decibels / 10)`` (-60 to 150 dB)."""

def low_pass(waveform: NDArray[np.float32], cutoff_hertz: float, sample_rate: int = 16000) -> NDArray[np.float32]:
    """Take away what lies above `cutoff_hertz` (100 to 192,000), where the response is down to a half.

    The filter is ``scipy.signal.firwin(513, cutoff_hertz, fs=sample_rate)``, its delay taken out. A cut-off from half
    the sampling rate on changes nothing.
    """

def reverberation(
    waveform: NDArray[np.float32], rt60_seconds: float, seed: int = 0, sample_rate: int = 16000
) -> NDArray[np.float32]:
    """Convolve `waveform` with a synthetic room: the direct sound, and exponentially decaying noise of the same energy.

    The noise falls by 60 dB in `rt60_seconds` (0.01 to 5) and ends there; the room's energy is 1. What rings on after
    the end of `waveform` is cut off.
    """

def mp3_compress(
    waveform: NDArray[np.float32], kilobits_per_second: int, sample_rate: int = 16000
) -> NDArray[np.float32]:
    """Encode `waveform` as MP3 (8 to 160 kbit/s), and decode it again: in time with the original and as long."""

def opus_compress(
    waveform: NDArray[np.float32], kilobits_per_second: int, sample_rate: int = 16000
) -> NDArray[np.float32]:
    """Encode `waveform` as Opus (6 to 256 kbit/s), and decode it again: in time with the original and as long."""

def check_audio_operation(operation: str, low: float, high: float) -> None:
    """Check that an audio augmentation exists here and takes parameters between `low` and `high`.

    Raises:
        AugmentError: otherwise, and when FFmpeg lacks its encoder.

    """

def check_operation(operation: str, low: float, high: float) -> None:
    """Check that an augmentation operation exists and takes parameters between `low` and `high`.

    Raises:
        AugmentError: otherwise.

    """

# ---------------------------------------------------------------------------------------------------------------------
# Definitions, cache folder, samples
# ---------------------------------------------------------------------------------------------------------------------

def load_catalog(
    upstream_dir: str | PathLike[str], own_dir: str | PathLike[str], modality: str
) -> tuple[list[dict[str, str | int | float | bool | list[str]]], list[str]]:
    """Read the dataset definitions of a modality: the competition's, and a person's own on top of them.

    Args:
        upstream_dir: folder with the competition's files, for example ``real_images.yaml`` and
            ``synthetic_images.yaml``; the earlier ``image_datasets.yaml`` is read when those are not there.
        own_dir: folder with a person's ``{modality}.yaml``; its definitions replace those of the same name.
        modality: ``image``, ``video`` or ``audio``.

    Returns:
        The definitions, each with the fields that it gives (``source`` is always there), and warnings.

    Raises:
        DefinitionError: a file or a definition is not valid; the message begins with ``file:line``.
    """

@final
class Samples(Sequence[tuple[Path, int]]):
    """Media files and their labels (0 real, 1 synthetic) in a fixed order: a lazy sequence of ``(Path, int)``."""

    def __new__(cls, pairs: Sequence[tuple[str | PathLike[str], int]]) -> Samples:
        """List files from anywhere.

        Raises:
            ArgumentError: a label is neither 0 nor 1, or a path is not valid UTF-8.
        """
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, index: SupportsIndex, /) -> tuple[Path, int]: ...
    @overload
    def __getitem__(self, index: slice, /) -> Samples: ...
    def index(self, value: object) -> int:  # type: ignore[override]
        """Return the position of ``value``; ``ValueError`` when it is not among the samples."""
    def count(self, value: object) -> int:
        """Return how often ``value`` is among the samples."""
    def select(self, indices: Sequence[int]) -> Samples:
        """Return the samples at these positions, in that order, with what is known of their files.

        Raises:
            IndexError: a position is none of the samples'.
        """
    def dataset(self, index: int) -> str:
        """Return the name of the dataset that a sample belongs to; empty for files from anywhere."""

@final
class DatasetReport:
    """A definition and what lies in its folder."""

    name: Final[str]
    media_type: Final[str]
    status: Final[str]
    """``OK``: every media file is a sample. ``PARTIAL``: some are, or the fetch is not finished. ``GATED``: a person
    has to be let in first. ``FAILED``: none is, or it could not be fetched. ``MISSING``: there are none."""
    samples: Final[int]
    """Usable files."""
    quarantined: Final[int]
    """Files that cannot be used."""
    conflicting: Final[int]
    """Files left out because the same bytes stand under the other label."""
    other_files: Final[int]
    """Files with extensions that are not the modality's."""
    wanted: Final[int | None]
    """How many samples the fetch was to bring; None where nothing was fetched."""
    gone: Final[int]
    """Files that were fetched and are not there any more."""
    reason: Final[str]
    """Why the status is not ``OK``, and what a fetch has to say."""

@final
class StoreReport:
    """What was found in a cache folder."""

    datasets: Final[list[DatasetReport]]
    """One per definition."""
    undefined_folders: Final[list[Path]]
    """Folders that no definition names; they are left out."""
    quarantined: Final[list[tuple[Path, str]]]
    """Files that cannot be used, with the reason."""
    conflicts: Final[list[tuple[list[Path], list[Path]]]]
    """Real and synthetic files with the same bytes; they are left out."""
    unknown_manifest_files: Final[list[tuple[Path, int, str]]]
    """Lines of manifests whose file is not there: manifest, line, file."""
    duplicates: Final[int]
    """How many samples are copies of another one with the same label."""
    read: Final[int]
    """How many files were read now; the index knew the others."""
    notices: Final[list[str]]
    """What happened to the index, when something did."""

def gather_samples(
    cache_dir: str | PathLike[str],
    modality: str,
    definitions: Sequence[tuple[str, str]],
    split: str = "train",
    max_per_class: int | None = None,
    seed: int = 42,
    rescan: bool = False,
) -> tuple[Samples, StoreReport]:
    """List the samples of a split. New and changed files are read once; the index remembers them.

    Args:
        cache_dir: the folder with ``datasets/{modality}/{name}/`` and the index.
        modality: ``image``, ``video`` or ``audio``.
        definitions: name and media type of each dataset.
        split: ``train``, ``val``, or anything else for all samples.
        max_per_class: keep the lowest hash ranks of each label, before the split.
        seed: of the split.
        rescan: look at every file. Otherwise the files of a dataset whose folders have not changed are taken to be as
            they were, but for quarantined ones; one that is overwritten in place is noticed with the folder's next
            change, or when it does not decode.

    Raises:
        ArgumentError: a name leaves the cache or has two media types, or a word is unknown.
        DefinitionError: a ``manifest.jsonl`` is not valid; the message begins with ``file:line``.
        CacheIndexError: the index is of another program or of a newer version.
    """

def survey_cache(
    cache_dir: str | PathLike[str], modality: str, definitions: Sequence[tuple[str, str]], rescan: bool = False
) -> StoreReport:
    """Report on everything that the cache holds of a modality; arguments and errors as in `gather_samples`."""

def quarantine(cache_dir: str | PathLike[str], entries: Sequence[tuple[str | PathLike[str], str]]) -> int:
    """Remember files that cannot be used, each with its reason, until the file itself changes.

    Returns how many of them the index of the cache knows; others are left alone.
    """

@final
class ConfigRefresh:
    """What a refresh of the competition's definitions came to."""

    state: Final[str]
    """``replaced``, ``unchanged``, ``recent`` (less than a day old: not asked), ``kept`` (the source failed) or ``own``
    (files that a person put there)."""
    folder: Final[Path]
    """The folder of the definitions."""
    url: Final[str | None]
    """Where the definitions are from; None when they are a person's."""
    commit: Final[str | None]
    """The repository's commit, where there is one."""
    age_seconds: Final[float]
    """For how long the source was not asked."""
    reason: Final[str]
    """Why the earlier definitions stay; empty otherwise."""
    set_aside: Final[Path | None]
    """Where a person's files lie now."""
    lines: Final[list[str]]
    """What happened and what changed, in words."""

def refresh_configs(cache_dir: str | PathLike[str], force: bool = False) -> ConfigRefresh:
    """Bring the competition's definitions in ``{cache_dir}/gasbench_configs`` up to date.

    They come from the competition's repository, or from the address or folder in ``DFRESEARCH_CONFIG_URL``. Unless
    ``force``, the source is asked once a day, and a person's own files stay.

    Raises:
        FetchError: the source fails, and there are no definitions to go on with.
        DefinitionError: the same for definitions that are not valid.
    """

# ---------------------------------------------------------------------------------------------------------------------
# Fetching
# ---------------------------------------------------------------------------------------------------------------------

@final
class DatasetOutcome:
    """How the fetch of a dataset ended."""

    name: Final[str]
    status: Final[str]
    """``OK`` (all that is wanted, or all there is), ``PARTIAL`` (the next run goes on), ``GATED`` (a person has to be
    let in), ``FAILED`` (no samples), ``BUSY`` (another process fetches it) or ``KEPT`` (filled by hand)."""
    samples: Final[int]
    """How many it has now."""
    wanted: Final[int]
    """How many were asked for at most."""
    bytes: Final[int]
    """What came over the network."""
    reason: Final[str]
    """What a person should know; empty when there is nothing."""

@final
class PrepareReport:
    """How a fetch ended."""

    datasets: Final[list[DatasetOutcome]]
    """One for each definition, in their order."""

@final
class PrepareProgress:
    """How far a fetch is."""

    datasets: Final[list[tuple[str, str, int, int, int]]]
    """Name, state (``waiting``, ``listing``, ``fetching``, or its status once it has ended), samples, samples that are
    wanted, and bytes that came, of each dataset."""
    samples: Final[int]
    wanted: Final[int]
    bytes: Final[int]
    bytes_per_second: Final[float]
    seconds_left: Final[float | None]
    """None while there is no rate to tell it from."""

@final
class DatasetPlan:
    """What would be fetched of a dataset."""

    name: Final[str]
    media_type: Final[str]
    status: Final[str]
    """``complete``, ``fetch``, ``unknown`` (the source cannot be asked), ``kept`` (filled by hand) or ``refused``."""
    files: Final[int | None]
    """Source files that would be read at most; None when neither the definition nor the source tells."""
    samples: Final[int | None]
    """Samples that it would have at most."""
    bytes: Final[int | None]
    """What would come over the network at most; of archives only parts may be read."""
    note: Final[str]
    """What a person should know; empty when there is nothing."""

def prepare_datasets(
    cache_dir: str | PathLike[str],
    definitions: Sequence[Mapping[str, object]],
    *,
    max_samples: int = 500,
    workers: int = 4,
    seed: int = 42,
    retry: bool = False,
    max_disk_bytes: int | None = None,
    progress: Callable[[PrepareProgress], object] | None = None,
) -> PrepareReport:
    """Fetch datasets into the cache; one that fails does not stop the others.

    Ctrl-C ends it cleanly; the next call goes on.

    Which samples a dataset gets, and their order, is a function of its definition, of the revision that is pinned when
    it is begun, and of ``seed``. What is there already is not fetched again.

    Args:
        cache_dir: the cache folder; made when it is not there.
        definitions: dictionaries with the fields of the definition files.
        max_samples: of each dataset.
        workers: transfers at a time, over all datasets.
        seed: another one takes other samples.
        retry: try source files again that failed for good.
        max_disk_bytes: what the datasets of the cache may take; None leaves only a reserve free.
        progress: called several times a second with how far it is; an exception from it ends the fetch.

    Raises:
        ArgumentError: a definition or a number is not valid.
    """

def plan_datasets(
    cache_dir: str | PathLike[str],
    definitions: Sequence[Mapping[str, object]],
    *,
    max_samples: int = 500,
    workers: int = 4,
    seed: int = 42,
    retry: bool = False,
    max_disk_bytes: int | None = None,
    progress: Callable[[PrepareProgress], object] | None = None,
) -> list[DatasetPlan]:
    """Tell what `prepare_datasets` would fetch; nothing is written. A source that cannot be reached is asked once."""

# ---------------------------------------------------------------------------------------------------------------------
# Load
# ---------------------------------------------------------------------------------------------------------------------

@final
class Loader:
    """Batches from files; each iteration goes through one epoch and yields ``(inputs, labels)``.

    Inputs are ``uint8 [B, 3, H, W]`` for images, ``uint8 [B, T, 3, H, W]`` for video and ``float32 [B, n]`` for audio,
    labels ``int64 [B]`` (0 real, 1 synthetic): tensors in libtorch's own memory, pinned when there is a GPU, and never
    overwritten by a later batch. A batch is a function of the samples that were not quarantined when the epoch began,
    the seed, the epoch and the step, whatever the number of workers.

    A file that cannot be loaded is named in `quarantined`: its slot is dropped, so that the batch is shorter (an empty
    one is skipped), and from the next epoch on it is not listed. With `world_size` above 1 it stays listed and is
    dropped again, since the other processes do not know of it.
    """

    def __new__(
        cls,
        samples: Samples | Sequence[tuple[str | PathLike[str], int]],
        *,
        modality: str,
        batch_size: int = 32,
        size: Sequence[int] = (224, 224),
        mode: str = "competition",
        recompress: bool = True,
        sampling: str = "first",
        num_frames: int = 16,
        frame_rate: float | None = None,
        sample_rate: int = 16000,
        duration_seconds: float = 6.0,
        crop: str = "center",
        augment: int | tuple[Mapping[int, Sequence[object]], int] | None = None,
        shuffle: bool = False,
        drop_last: bool = False,
        num_workers: int | None = None,
        prefetch: int = 4,
        seed: int = 42,
        epoch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        sample_cache: str | PathLike[str] | None = None,
        sample_cache_gb: float | None = None,
    ) -> Loader:
        """Prepare a loader; nothing is read before it is iterated.

        Args:
            samples: media files and labels.
            modality: ``image``, ``video`` or ``audio``; keywords of the other modalities have no effect.
            batch_size: samples in a batch.
            size: (height, width) of images and frames in pixels.
            mode: ``competition`` or ``stretch`` for images and frames, see `preprocess_image`.
            recompress: in ``competition`` mode, first save JPEG and WebP images again as the competition's download
                does.
            sampling: which frames of a clip: ``first``, ``rate`` or ``uniform``, see `decode_video`.
            num_frames: frames of a clip; a shorter clip repeats its last one.
            frame_rate: frames per second, for the sampling ``rate`` alone.
            sample_rate: of recordings, in hertz.
            duration_seconds: of the window that is cut out of a recording, or padded with zeros on the right.
            crop: where the window lies: ``center``, or ``random``, anew in every epoch.
            augment: a level of ``dfresearch.transforms.AUGMENTATION_LEVELS`` (for audio of
                ``dfresearch.audio_transforms.AUDIO_AUGMENTATION_LEVELS``), or a table and a level of it. A clip's
                frames share their parameters and are not mirrored; noise is drawn for each.
            shuffle: draw a new order for every epoch.
            drop_last: leave out an incomplete last batch, unless it is the only one.
            num_workers: threads that load; by default one per core.
            prefetch: batches that may be in work or waiting at any time.
            seed: of order and augmentation.
            epoch: the first epoch.
            rank: which share of every epoch this process goes through, from 0.
            world_size: how many processes share it.
            sample_cache: a folder in which preprocessed samples are kept, so that later epochs, and other processes, do
                not decode them again; the batches are the same with and without it. None keeps nothing. Images and
                clips are kept at their size in the batch, recordings of up to a minute whole.
            sample_cache_gb: how many gigabytes the folder may take; by default a quarter of the free disk, at most 50.
                When it is full, what is there stays, and the rest is decoded every time.

        Raises:
            ArgumentError: a setting is not one of these.
            AugmentError: the table is not valid.
            OSError: the folder of the sample cache cannot be made or read.
        """
    def __len__(self) -> int:
        """Return the number of batches of the running epoch, or of the next one."""
    def __iter__(self) -> LoaderIterator:
        """Begin the next epoch, or the position that `set_epoch` or `load_state_dict` named."""
    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be this epoch; a running one ends."""
    def state_dict(self) -> dict[str, Any]:
        """Return the position after the last batch that was taken, and what was quarantined: plain Python objects."""
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration go on from a position; the loader must have been made with the same settings.

        Raises:
            ArgumentError: the state is of a loader with other settings or another number of samples.
        """
    @property
    def num_samples(self) -> int:
        """How many samples were given, the quarantined ones included."""
    @property
    def quarantined(self) -> list[tuple[Path, str]]:
        """The files that could not be loaded so far, each with the reason."""
    @property
    def undecodable(self) -> list[tuple[Path, str]]:
        """Those of the quarantined files whose content was refused; the others could not be read, and may come back."""
    @property
    def data_wait_seconds(self) -> float:
        """Seconds that the consumer has waited for batches, over all iterations."""
    def warm(
        self, progress: Callable[[int, int], object] | None = None, *, num_workers: int | None = None
    ) -> WarmReport:
        """Fill the sample cache with all samples before the first epoch.

        It takes `num_workers` threads, by default one per core, whatever the loader has. ``progress(done, total)`` is
        called several times a second; what it raises ends the work, as Ctrl-C does. What was kept until then stays.

        Raises:
            ArgumentError: the loader was made without a `sample_cache`.
        """
    def sample_cache_report(self) -> SampleCacheReport | None:
        """Return what the sample cache holds and did for this loader; None without one."""
    def close(self) -> None:
        """End the running epoch and wait for its threads."""

@final
class SampleCacheReport:
    """What a loader's sample cache holds, and what came of asking it."""

    folder: Final[Path]
    """Where the records of these settings are."""
    records: Final[int]
    """Samples that can be had from it."""
    bytes: Final[int]
    """What the records of these settings take on the disk."""
    max_bytes: Final[int]
    """What all records of all settings together may take."""
    hits: Final[int]
    """Samples that came from it."""
    misses: Final[int]
    """Samples that were asked for and had to be decoded."""
    inserted: Final[int]
    """Samples that this loader put there."""
    damaged: Final[int]
    """Records that did not have their checksum, and were decoded anew."""
    is_full: Final[bool]
    """Whether nothing more is kept."""
    notices: Final[list[str]]
    """What a person should know: why nothing is kept, what was damaged, what was removed."""

@final
class SampleStore:
    """The records of one modality and preprocessing, as they lie on the disk."""

    folder: Final[Path]
    modality: Final[str | None]
    """None, as `preprocessing`, where the store does not say what it is; it is never used."""
    preprocessing: Final[str | None]
    """In words."""
    records: Final[int]
    bytes: Final[int]
    """On the disk."""
    last_use: Final[datetime]
    """In UTC."""
    is_current: Final[bool]
    """Whether this build on this machine would use it; another decoder's store makes way first."""
    is_open: Final[bool]
    """Whether some process uses it now."""

def survey_sample_cache(folder: str | PathLike[str]) -> list[SampleStore]:
    """Say what a sample cache holds, the most recently used store first; nothing where there is no such folder.

    Raises:
        OSError: it cannot be read.
    """

def clear_sample_cache(folder: str | PathLike[str]) -> tuple[int, int, list[Path]]:
    """Remove all stores that no process uses.

    Returns how many they were, what they took in bytes, and the folders of those that are in use and stay.

    Raises:
        OSError: one cannot be removed.
    """

@final
class WarmReport:
    """What `Loader.warm` did."""

    present: Final[int]
    """Samples that were in the cache already."""
    added: Final[int]
    """Samples that were decoded and kept."""
    not_kept: Final[int]
    """Samples that are decoded in training every time: too large to be kept, or the cache is full."""
    failed: Final[list[tuple[Path, str]]]
    """The files that could not be loaded, each with the reason."""
    undecodable: Final[list[tuple[Path, str]]]
    """Those of them whose content was refused."""

@final
class LoaderIterator:
    """One epoch of a `Loader`."""

    def __iter__(self) -> LoaderIterator: ...
    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the next batch.

        Raises:
            LoaderError: all samples failed; another iteration has begun; or the process is a fork of the loader's.
            AugmentError: a custom operation failed.
        """

# ---------------------------------------------------------------------------------------------------------------------
# Score and submit
# ---------------------------------------------------------------------------------------------------------------------

@final
class Score:
    """What a detector's probabilities are worth; synthetic is the positive class.

    Of no samples at all the scores, `mcc` and `accuracy` are 0, and the losses are those of a detector that
    always answers 0.5.
    """

    @property
    def sn34_score(self) -> float:
        """The documented formula, `sqrt(((mcc + 1) / 2)^alpha * (1 - brier)^beta)`."""
    @property
    def gasbench_sn34_score(self) -> float:
        """The live benchmark's formula, `sqrt(max(1e-12, ((mcc + 1) / 2)^1.2 * max(0, (0.25 - brier) / 0.25)^1.8))`.

        It takes `gasbench_mcc` and `gasbench_brier`.
        """
    @property
    def mcc(self) -> float:
        """Matthews correlation at `p >= 0.5`; 0 where it is undefined."""
    @property
    def mcc_norm(self) -> float:
        """`(mcc + 1) / 2`."""
    @property
    def brier(self) -> float:
        """Mean of `(p - label)^2`."""
    @property
    def brier_norm(self) -> float:
        """`1 - brier`."""
    @property
    def accuracy(self) -> float:
        """Share of the samples on the right side of `p >= 0.5`."""
    @property
    def cross_entropy(self) -> float:
        """Mean negative logarithm of the label's probability, in nats; probabilities are kept 2.2e-16 from 0 and 1."""
    @property
    def true_positives(self) -> int | float:
        """Synthetic, called synthetic; like all counts a sum of weights where weights were given."""
    @property
    def false_positives(self) -> int | float:
        """Real, called synthetic."""
    @property
    def true_negatives(self) -> int | float:
        """Real, called real."""
    @property
    def false_negatives(self) -> int | float:
        """Synthetic, called real."""
    @property
    def gasbench_mcc(self) -> float:
        """Matthews correlation at `p > 0.5`: the live benchmark calls a tie real."""
    @property
    def gasbench_brier(self) -> float:
        """Mean of `(clip(p, 1e-7, 1 - 1e-7) - label)^2`."""
    @property
    def count(self) -> int:
        """Number of samples."""
    def as_dict(self) -> dict[str, int | float]:
        """All attributes by name."""

@final
class SubmissionMember:
    """One file of a submission."""

    @property
    def name(self) -> str:
        """Its name in the archive."""
    @property
    def size(self) -> int:
        """Its size in bytes."""
    @property
    def sha256(self) -> str:
        """SHA-256 of its content, in hexadecimal digits."""

@final
class SubmissionReport:
    """What was packed."""

    @property
    def path(self) -> Path:
        """Where the archive is."""
    @property
    def size(self) -> int:
        """The archive's size in bytes."""
    @property
    def members(self) -> list[SubmissionMember]:
        """The three files in their order."""
    @property
    def warnings(self) -> list[str]:
        """What does not stop a submission but may spoil it."""

@final
class ModelConfig:
    """The parts of a `model_config.yaml` that the evaluator acts on."""

    @property
    def name(self) -> str:
        """The model's name; empty when there is none."""
    @property
    def modality(self) -> str:
        """image, video or audio."""
    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) in pixels; None for audio."""
    @property
    def num_frames(self) -> int | None:
        """Frames of a clip; None unless it is video."""
    @property
    def frame_rate(self) -> float | None:
        """Frames a second; None takes the first consecutive frames."""
    @property
    def dtype(self) -> str:
        """The dtype that the evaluator casts the model to."""

def sn34_score(
    labels: _RealVector,
    probs: _RealVector,
    weights: _RealVector | None = None,
    alpha: float = 1.2,
    beta: float = 1.8,
) -> Score:
    """Score probabilities of synthetic against labels.

    Args:
        labels: [n], 0 (real) or 1 (synthetic). Tensors of any device and real dtype, arrays and sequences are taken.
        probs: [n], from 0 to 1.
        weights: [n], at least 0; a weight of w counts as w copies of its sample.
        alpha: exponent of the normalised Matthews correlation in the documented formula.
        beta: exponent of the normalised Brier score in the documented formula.

    Raises:
        ArgumentError: naming the argument and the index.

    >>> dfresearch_rs.sn34_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).accuracy
    0.75
    """

def provenance_weights(
    datasets: Sequence[str], *, public: float, holdout: float, gasstation: float
) -> NDArray[np.float64]:
    """Weights for `sn34_score` that give each provenance its share of the score, one a sample.

    The provenance of a sample stands in its dataset's name: `gasstation`, `-holdout-`, or neither for public. The
    shares are renormalised over the provenances that are present; the weights add up to the number of samples.

    Raises:
        ArgumentError: a share is negative or not finite, or no provenance that is present has one.
    """

def blend_robustness(base: float, robust: float) -> float:
    """The score with a robustness pass blended in: `0.8 * base + 0.2 * robust`."""

def save_safetensors(state_dict: Mapping[str, torch.Tensor], path: str | PathLike[str]) -> None:
    """Write a state dict as a safetensors file, whole or not at all; the same tensors give the same bytes.

    Tensors of any device and layout in memory are taken, and go straight from CPU memory to the file when they are
    contiguous there. Tensors that share memory are written under each of their names. `_orig_mod.` (torch.compile)
    leaves the names wherever it stands, a leading `module.` (data parallel) when every name carries it.

    Raises:
        ArgumentError: a value is no dense tensor, its dtype is not one of safetensors, or two names become one.
    """

def write_checkpoint(
    checkpoint_dir: str | PathLike[str],
    config: Mapping[str, object] | str,
    model_source: str,
    state_dict: Mapping[str, torch.Tensor],
) -> None:
    """Replace `model_config.yaml`, `model.py` and `model.safetensors` of a folder together.

    Whoever looks, a crash included, finds the old three files or the new three. Other files in the folder stay.

    Args:
        checkpoint_dir: the folder; it is made where it is missing.
        config: the configuration as a dict or as YAML text.
        model_source: the text of `model.py`.
        state_dict: as in `save_safetensors`.

    Raises:
        SubmissionError: the configuration or the source is not one that the competition would accept.
        ArgumentError: as in `save_safetensors`.
    """

def write_submission(
    checkpoint_dir: str | PathLike[str],
    zip_path: str | PathLike[str],
    verify: Callable[[Path], object] | None = None,
) -> SubmissionReport:
    """Check a checkpoint folder, pack it into a ZIP and read it back; the same files give the same bytes.

    Args:
        checkpoint_dir: the folder with the three files.
        zip_path: where the archive goes, in place of what is there.
        verify: called with the path of the finished archive before it gets its name; an exception stops it.
            `dfresearch.submission.check_archive_loads` loads and runs the model.

    Raises:
        FileNotFoundError: one of the three files is missing.
        SubmissionError: a file is not one that the competition would accept, or the archive reads back differently.
    """

def read_model_config(path: str | PathLike[str]) -> ModelConfig:
    """Read and validate a `model_config.yaml`.

    Raises:
        SubmissionError: naming the key, or the line where the file is no YAML.
    """

def check_model_source(source: str, path: str | PathLike[str] = "model.py") -> list[str]:
    """Check the text of a `model.py` against the competition's rules; the result is what may be refused.

    Raises:
        SubmissionError: naming `path`, the line, the construct and what is allowed.
    """
