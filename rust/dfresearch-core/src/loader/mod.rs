//! Batches from files: a dedicated pool of threads, a bounded queue, and an order that never depends on timing.
//!
//! ```text
//!            claim (step, slot)            write                    take in order
//!   order ───────────────────► workers ───────────► open batches ───────────────► consumer
//!   f(seed, epoch)                │                  at most `prefetch`            drops failed slots,
//!                                 │                  allocated, each sample        skips empty batches
//!                                 │                  in its own slot
//!                                 └─ file ─► preprocess ─► record ─► finish: augment, final layout ─► slot
//!                                              (or the record from the sample cache)
//! ```
//!
//! A batch is a function of (samples not quarantined when the epoch began, seed, epoch, step) alone.
//! A sample that fails is named and its slot is dropped; nothing stands in for it.

mod audio;
mod epoch;
mod image;
mod order;
mod planes;
mod record_cache;
mod video;
mod warm;
mod worker;

use std::fmt;
use std::path::{Path, PathBuf};

pub use audio::{AudioPipeline, AudioPipelineScratch};
pub use epoch::{Epoch, NextBatch};
pub use image::ImagePipeline;
pub use order::{EpochOrder, Shard};
pub use record_cache::RecordCache;
pub use video::VideoPipeline;
pub use warm::{WarmReport, warm};

use crate::error::{DecodeError, Error, Result};
use crate::modality::Modality;
use crate::rng::RandomKey;

/// A media file that is to be preprocessed.
#[derive(Debug, Clone, Copy)]
pub struct Medium<'a> {
    /// The file, or a folder of frames.
    pub path: &'a Path,
    /// Its content, where it has been read already.
    pub bytes: Option<&'a [u8]>,
}

/// What turns one file into one slot of a batch, in two stages with a record between them.
///
/// The record is a function of the file's content alone, and the sample cache may keep it; what is random comes after.
pub trait SamplePipeline: Send + Sync + 'static {
    /// Buffers that one worker keeps between samples.
    type Scratch;
    /// Fresh buffers for one worker.
    fn scratch(&self) -> Self::Scratch;
    /// What the files are.
    fn modality(&self) -> Modality;
    /// Bytes of one sample in a batch.
    fn slot_bytes(&self) -> usize;
    /// Records of more bytes are too large to be kept.
    fn max_record_bytes(&self) -> usize;
    /// In words, what happens to every sample: two pipelines with the same description make the same slots, as long as
    /// custom operations of one name do the same.
    fn describe(&self) -> String;
    /// In words, what [`SamplePipeline::preprocess`] does: pipelines with the same description make the same records.
    fn describe_preprocessing(&self) -> String;
    /// Decodes and preprocesses a file into `record`, whose memory is used again.
    ///
    /// # Errors
    /// [`Error::Decode`], [`Error::NotFound`] or [`Error::Io`] when the file is to blame: it is then
    /// quarantined. Any other error ends the epoch.
    fn preprocess(&self, medium: Medium<'_>, scratch: &mut Self::Scratch, record: &mut Vec<u8>)
    -> Result<()>;
    /// Makes the sample of a record, and writes it into `slot`, which holds [`SamplePipeline::slot_bytes`] bytes.
    ///
    /// # Errors
    /// As [`SamplePipeline::preprocess`]; `path` is the file that they name.
    fn finish(
        &self,
        path: &Path,
        record: &[u8],
        key: RandomKey,
        scratch: &mut Self::Scratch,
        slot: &mut [u8],
    ) -> Result<()>;
}

/// Where batches are allocated; libtorch's memory in the binding, plain vectors in tests.
pub trait BatchAllocator: Send + Sync + 'static {
    /// A batch that is being filled.
    type Batch: Send;
    /// One sample's part of a batch; slots of a batch never overlap.
    type Slot: Send + AsMut<[u8]>;
    /// Allocates a batch of `slots` samples of `slot_bytes` bytes each.
    ///
    /// # Errors
    /// [`Error::Loader`] when there is no memory.
    fn allocate(&self, slots: usize, slot_bytes: usize) -> Result<(Self::Batch, Vec<Self::Slot>)>;
    /// Keeps only the slots listed in `kept` (ascending), in that order.
    ///
    /// # Errors
    /// [`Error::Loader`] when there is no memory.
    fn keep(&self, batch: Self::Batch, kept: &[usize]) -> Result<Self::Batch>;
}

/// A sample that could not be loaded, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// The sample's index in the source.
    pub index: usize,
    /// Its file.
    pub path: PathBuf,
    /// The reason, without the path.
    pub reason: String,
    /// Whether the file was read and its content refused; a file that could not be read may come back, and one whose
    /// decoder hung may do better another time.
    pub is_undecodable: bool,
}

impl Quarantined {
    /// The sample at `index` and what its file is to blame for.
    fn new(index: usize, path: PathBuf, error: &Error) -> Self {
        Self { index, path, reason: error.reason(), is_undecodable: is_undecodable(error) }
    }
}

impl fmt::Display for Quarantined {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path.display(), self.reason)
    }
}

/// How an epoch is cut into batches and worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoaderSettings {
    /// Samples in a batch.
    pub batch_size: usize,
    /// Whether the order is drawn anew every epoch.
    pub shuffle: bool,
    /// Whether an incomplete last batch is left out, unless it is the only one.
    pub drop_last: bool,
    /// Threads that load samples.
    pub num_workers: usize,
    /// Batches that may be open or waiting at any time.
    pub prefetch: usize,
    /// What all randomness is keyed by, with epoch and sample.
    pub seed: u64,
    /// Which share of every epoch this loader goes through.
    pub shard: Shard,
}

impl LoaderSettings {
    /// Batches of an epoch in which this loader's share is `samples`.
    pub fn steps(&self, samples: usize) -> usize {
        if self.drop_last && samples >= self.batch_size {
            samples / self.batch_size
        } else {
            samples.div_ceil(self.batch_size)
        }
    }

    /// Refuses settings under which no batch could ever be made.
    ///
    /// # Errors
    /// [`Error::Argument`] naming the setting.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [
            ("batch_size", self.batch_size),
            ("num_workers", self.num_workers),
            ("prefetch", self.prefetch),
            ("world_size", self.shard.world_size),
        ] {
            if value == 0 {
                return Err(Error::argument(name, "must be at least 1"));
            }
        }
        if self.shard.rank >= self.shard.world_size {
            let reason = format!("{} is not below world_size {}", self.shard.rank, self.shard.world_size);
            return Err(Error::argument("rank", reason));
        }
        Ok(())
    }
}

/// Refuses a record, or room for a sample, of another size than the pipeline's: a defect of the loader.
fn check_bytes(what: &str, bytes: usize, expected: usize) -> Result<()> {
    if bytes == expected {
        return Ok(());
    }
    Err(Error::Loader { reason: format!("a {what} of {bytes} bytes instead of {expected}") })
}

/// A panic inside of a decoder costs the file that it was given.
fn panicked(path: &Path) -> Error {
    Error::decode(path, DecodeError::Corrupt { format: "media", reason: "the decoder panicked".into() })
}

/// Whether the content itself was refused, which no other run will change.
fn is_undecodable(error: &Error) -> bool {
    matches!(error, Error::Decode { reason, .. } if !matches!(reason, DecodeError::TimedOut { .. }))
}

/// Whether the file is to blame, so that the epoch can go on without it.
///
/// Running out of file handles or memory says nothing about the file: such an error ends the epoch.
fn is_sample_failure(error: &Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    match error {
        Error::Decode { reason: DecodeError::OutOfMemory { .. }, .. } => false,
        Error::Decode { .. } | Error::NotFound { .. } => true,
        Error::Io { source, .. } => {
            !matches!(source.raw_os_error(), Some(ENOMEM | ENFILE | EMFILE))
                && source.kind() != std::io::ErrorKind::OutOfMemory
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_run_may_change_is_not_held_against_the_content() {
        let path = Path::new("clip.mp4");
        let hung = Error::decode(path, DecodeError::TimedOut { seconds: 120 });
        assert!(is_sample_failure(&hung) && !is_undecodable(&hung));
        let empty = Error::decode(path, DecodeError::Empty);
        assert!(is_sample_failure(&empty) && is_undecodable(&empty));
        let gone = Error::NotFound { path: path.into() };
        assert!(is_sample_failure(&gone) && !is_undecodable(&gone));
        let starved = Error::decode(path, DecodeError::OutOfMemory { bytes: 1 });
        assert!(!is_sample_failure(&starved));
    }
}
