"""Batches of one split, epoch after epoch: what `dfresearch.data.make_dataloader` returns."""

import contextlib
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

import dfresearch_rs
from dfresearch import samples
from dfresearch.sample_cache import SampleCacheSettings, failure


class BatchLoader:
    """Iterates over `(inputs, labels)` batches; every iteration is a new epoch.

    Inputs are images `[B, 3, H, W]` uint8, clips `[B, T, 3, H, W]` uint8 or recordings `[B, 96000]` float32 (six
    seconds, mono, 16 kHz), labels `[B]` int64 (0 real, 1 synthetic). A batch is a function of the samples that
    were listed when the epoch began, the seed, the epoch and its place in the epoch, whatever the number of workers.

    A sample that cannot be decoded is left out of its batch and named in `quarantined`. When the epoch ends, the index
    of the cache learns of it, and later epochs do not list it.

    Where processes share an epoch, none of them knows what failed in another's share. They keep their listing, since
    their shares would not be disjoint otherwise, and what fails is left out of its batch again. A batch of which every
    sample fails is skipped, after which a process has one less than `len` says:
    `torch.nn.parallel.DistributedDataParallel.join` is made for that.
    """

    def __init__(
        self,
        cache_dir: Path,
        gather: Callable[[], dfresearch_rs.Samples],
        *,
        batch_size: int,
        drop_last: bool,
        seed: int,
        sample_cache: SampleCacheSettings | None = None,
        rank: int = 0,
        world_size: int = 1,
        **options: Any,
    ) -> None:
        """Load what `gather` lists, now and after a quarantine; `options` are `dfresearch_rs.Loader`'s."""
        if batch_size < 1:
            raise dfresearch_rs.ArgumentError(f"batch_size: {batch_size} is less than one sample")
        self._cache_dir = Path(cache_dir)
        self._gather = gather
        self._batch_size = batch_size
        self._drop_last = drop_last
        self._seed = seed
        self._sample_cache = sample_cache
        self._rank, self._world_size = rank, world_size
        self._options = options
        self._epoch = 0
        self._is_mid_epoch = False
        self._is_resumed = False
        self._listing_is_stale = False
        self._quarantined: dict[Path, str] = {}
        self._data_wait_seconds = 0.0
        self._held_position: dict[str, Any] | None = None
        self._packed_listing: dict[str, bytes] | None = None
        self._native: dfresearch_rs.Loader | None = None
        self._open(gather())
        self._had_samples = self._native is not None

    dataset: dfresearch_rs.Samples
    """The samples that are listed now."""

    def __len__(self) -> int:
        """Return the number of batches of an epoch; a quarantine may make the epoch that finds it shorter."""
        return 0 if self._native is None else len(self._native)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Load the next epoch, or the rest of the epoch that `load_state_dict` names."""
        self.hold_position(None)
        return self._timed(self._batches())

    def _batches(self) -> Generator[tuple[Tensor, Tensor]]:
        if not self._is_resumed and self._listing_is_stale and self._world_size == 1:
            self._open(self._gather_again())
        native = self._native
        if native is None:
            if self._had_samples:
                raise dfresearch_rs.LoaderError(
                    f"no sample is left in {self._cache_dir}: its files are gone or quarantined"
                )
            return
        if not self._is_resumed:
            native.set_epoch(self._epoch)
            self._epoch += 1
        self._is_resumed = False
        self._is_mid_epoch = True
        try:
            yield from native
            self._is_mid_epoch = False
        finally:
            self._record_quarantine(native)

    def _timed(self, batches: Generator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Count the time that passes inside of `batches`: what listing and threads take between epochs, too."""
        with contextlib.closing(batches):
            while True:
                begun = time.perf_counter()
                try:
                    batch = next(batches, None)
                finally:
                    self._data_wait_seconds += time.perf_counter() - begun
                if batch is None:
                    return
                yield batch

    @property
    def quarantined(self) -> list[tuple[Path, str]]:
        """The samples that this loader could not decode, each with the reason."""
        found = dict(self._quarantined)
        if self._native is not None:
            found.update((Path(path), reason) for path, reason in self._native.quarantined)
        return list(found.items())

    @property
    def data_wait_seconds(self) -> float:
        """Seconds that the consumer waited for batches, over all epochs, the start and the end of each included."""
        return self._data_wait_seconds

    def warm(self, progress: Callable[[int, int], object] | None = None) -> "dfresearch_rs.WarmReport | None":
        """Decode every sample that the sample cache lacks, before the first epoch; None where none is kept.

        `progress(done, total)` is called several times a second. What cannot be decoded is quarantined.
        """
        if self._native is None or self._sample_cache is None:
            return None
        report = self._native.warm(progress)
        if report.undecodable:
            dfresearch_rs.quarantine(self._cache_dir, report.undecodable)
            self._quarantined.update((Path(path), reason) for path, reason in report.undecodable)
            self._listing_is_stale = True
        return report

    def sample_cache_report(self) -> "dfresearch_rs.SampleCacheReport | None":
        """Return what the sample cache holds and did for this loader; None where none is kept."""
        return None if self._native is None else self._native.sample_cache_report()

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch` (from 0) the next one; without it, epochs count up by themselves."""
        self._epoch = epoch
        self._is_mid_epoch = False
        self._is_resumed = False
        self.hold_position(None)

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands, for `load_state_dict` in this or another process: plain Python objects.

        It is after the last batch that was handed out, also where `device_batches` has taken one ahead. In the middle
        of an epoch the samples of that epoch are part of it, since the cache's listing may change before the epoch is
        resumed.
        """
        state = self.position() if self._held_position is None else self._held_position
        if "loader" not in state:
            return state
        if self._packed_listing is None:
            self._packed_listing = samples.pack_listing(self.dataset, self._cache_dir)
        return state | {"samples": self._packed_listing}

    def position(self) -> dict[str, Any]:
        """Return the position after the last batch that was taken, without the samples."""
        state: dict[str, Any] = {"seed": self._seed, "batch_size": self._batch_size, "epoch": self._epoch}
        if self._is_mid_epoch and self._native is not None:
            state["loader"] = self._native.state_dict()
        return state

    def hold_position(self, position: dict[str, Any] | None) -> None:
        """Let `state_dict` tell `position` until the next iteration; None is where the loader stands itself."""
        self._held_position = position

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken: the next batch is the one that came next there.

        Raises:
            ValueError: the state is of a loader with another seed or batch size.
        """
        for key, value in (("seed", self._seed), ("batch_size", self._batch_size)):
            if state[key] != value:
                raise ValueError(f"{key}: the state was taken with {state[key]}, this loader has {value}")
        self.set_epoch(state["epoch"])
        if "loader" in state:
            self._open(samples.unpack_listing(state["samples"], self._cache_dir))
            assert self._native is not None
            self._native.load_state_dict(state["loader"])
            self._is_resumed = self._is_mid_epoch = True
            self._listing_is_stale = True

    def close(self) -> None:
        """Stop the workers; a later iteration starts them again."""
        if self._native is not None:
            self._native.close()

    def _gather_again(self) -> dfresearch_rs.Samples:
        """List the samples anew, without those that failed here, even if their files have changed since."""
        listing = self._gather()
        kept = [position for position, (path, _) in enumerate(listing) if path not in self._quarantined]
        return listing if len(kept) == len(listing) else listing.select(kept)

    def _open(self, listing: dfresearch_rs.Samples) -> None:
        """Load `listing` from now on."""
        if self._native is not None:
            self._quarantined = dict(self.quarantined)
            self._native.close()
        self.dataset = listing
        self._listing_is_stale = False
        self._packed_listing = None
        share = len(listing) // self._world_size
        if listing and not share:
            raise dfresearch_rs.ArgumentError(
                f"world_size: {self._world_size} processes cannot share {len(listing)} samples"
            )
        self._native = self._native_loader(listing, share) if share else None

    def _native_loader(self, listing: dfresearch_rs.Samples, share: int) -> dfresearch_rs.Loader:
        options = self._options | {
            "batch_size": min(self._batch_size, share),
            "drop_last": self._drop_last and share > self._batch_size,
            "seed": self._seed,
            "rank": self._rank,
            "world_size": self._world_size,
        }
        kept = self._sample_cache
        if kept is None:
            return dfresearch_rs.Loader(listing, **options)
        try:
            return dfresearch_rs.Loader(listing, sample_cache=kept.folder, sample_cache_gb=kept.gigabytes, **options)
        except OSError as error:
            if kept.is_chosen:
                raise dfresearch_rs.LoaderError(f"the sample cache cannot be used: {failure(error)}") from error
            # Nobody asked for it: training goes on as if there were none.
            self._sample_cache = None
            # Where make_dataloader was called.
            warnings.warn(f"no samples are kept between epochs: {failure(error)}", stacklevel=5)
            return dfresearch_rs.Loader(listing, **options)

    def _record_quarantine(self, native: "dfresearch_rs.Loader") -> None:
        """Tell the cache's index what the epoch could not decode.

        A file that could not even be read is not marked: it may lie on a disk that comes back.
        """
        found = [(Path(path), reason) for path, reason in native.quarantined if Path(path) not in self._quarantined]
        if found:
            undecodable = {Path(path) for path, _ in native.undecodable}
            dfresearch_rs.quarantine(self._cache_dir, [entry for entry in found if entry[0] in undecodable])
            self._quarantined.update(found)
            self._listing_is_stale = True
