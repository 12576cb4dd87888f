//! One worker's way from a sample to its slot.

use std::path::Path;

use super::record_cache::{self, RecordCache};
use super::warm::Warmed;
use super::{Medium, SamplePipeline};
use crate::error::Result;
use crate::media_file::read_media_file;
use crate::modality::Modality;
use crate::rng::RandomKey;
use crate::store::{ContentHash, FileState};

/// Larger records do not leave their memory to the next one: a recording of an hour has 230 MB.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// A pipeline with the buffers of one thread.
pub(super) struct Worker<'a, P: SamplePipeline> {
    pipeline: &'a P,
    cache: Option<&'a RecordCache>,
    scratch: P::Scratch,
    /// A file that was read to learn what it holds.
    file: Vec<u8>,
    record: Vec<u8>,
}

/// What a file holds and the state that it was in.
#[derive(Clone, Copy)]
struct Identity {
    content: ContentHash,
    state: FileState,
    /// Whether the file is in the worker's buffer.
    is_read: bool,
}

impl<'a, P: SamplePipeline> Worker<'a, P> {
    /// Fresh buffers.
    pub fn new(pipeline: &'a P, cache: Option<&'a RecordCache>) -> Self {
        Self { pipeline, cache, scratch: pipeline.scratch(), file: Vec::new(), record: Vec::new() }
    }

    /// Loads the sample that `key` names into its slot. Errors as [`SamplePipeline::preprocess`].
    pub fn load(&mut self, path: &Path, key: RandomKey, slot: &mut [u8]) -> Result<()> {
        let outcome = self.load_sample(path, key, slot);
        self.free_large_buffers();
        outcome
    }

    fn load_sample(&mut self, path: &Path, key: RandomKey, slot: &mut [u8]) -> Result<()> {
        let Some(cache) = self.cache else {
            self.preprocess(path, None)?;
            return self.pipeline.finish(path, &self.record, key, &mut self.scratch, slot);
        };
        let identity = self.identify(cache, path, key.sample as usize)?;
        if let Some(record) = identity.and_then(|identity| cache.store().get(&identity.content)) {
            return self.pipeline.finish(path, record, key, &mut self.scratch, slot);
        }
        self.preprocess(path, identity)?;
        self.keep(cache, path, identity);
        self.pipeline.finish(path, &self.record, key, &mut self.scratch, slot)
    }

    /// Sees to it that the record of a sample is in the cache. Errors as [`SamplePipeline::preprocess`].
    pub fn warm(&mut self, path: &Path, index: usize) -> Result<Warmed> {
        let Some(cache) = self.cache else { return Ok(Warmed::NotKept) };
        let identity = self.identify(cache, path, index)?;
        if identity.is_some_and(|identity| cache.store().contains(&identity.content)) {
            return Ok(Warmed::Present);
        }
        if !cache.store().is_admitting() {
            return Ok(Warmed::NotKept);
        }
        self.preprocess(path, identity)?;
        let is_kept = self.keep(cache, path, identity);
        self.free_large_buffers();
        Ok(if is_kept { Warmed::Added } else { Warmed::NotKept })
    }

    fn free_large_buffers(&mut self) {
        let largest = MAX_KEPT_BYTES.max(self.pipeline.max_record_bytes());
        for buffer in [&mut self.file, &mut self.record] {
            if buffer.capacity() > largest {
                *buffer = Vec::new();
            }
        }
    }

    /// Puts the record into the cache, unless it is too large, or what was decoded may not be what was identified.
    fn keep(&self, cache: &RecordCache, path: &Path, identity: Option<Identity>) -> bool {
        let Some(Identity { content, state, .. }) = identity else { return false };
        let is_keepable = self.record.len() <= self.pipeline.max_record_bytes();
        if is_keepable && record_cache::state(path, self.pipeline.modality()) == Some(state) {
            cache.store().insert(&content, &self.record);
            return cache.store().is_kept(&content);
        }
        cache.store().contains(&content)
    }

    fn preprocess(&mut self, path: &Path, identity: Option<Identity>) -> Result<()> {
        let is_read = identity.is_some_and(|identity| identity.is_read);
        let bytes = is_read.then_some(self.file.as_slice());
        self.pipeline.preprocess(Medium { path, bytes }, &mut self.scratch, &mut self.record)
    }

    /// What the file holds; none where that cannot be told, so that no record is asked for or kept.
    fn identify(&mut self, cache: &RecordCache, path: &Path, index: usize) -> Result<Option<Identity>> {
        let modality = self.pipeline.modality();
        let Some(state) = record_cache::state(path, modality) else { return Ok(None) };
        if let Some(content) = cache.content(index, state) {
            return Ok(Some(Identity { content, state, is_read: false }));
        }
        let is_read = modality == Modality::Image;
        let content = if is_read {
            // An image is decoded from memory: it is read once for both.
            read_media_file(path, &mut self.file)?;
            Some(ContentHash::of(&self.file))
        } else {
            record_cache::hash(path, modality, state)
        };
        let Some(content) = content else { return Ok(None) };
        // What changed while it was read is learned the next time.
        if record_cache::state(path, modality) != Some(state) {
            return Ok(None);
        }
        cache.learn(index, content, state);
        Ok(Some(Identity { content, state, is_read }))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Every sample is one record of so many bytes.
    struct Records(usize);

    impl SamplePipeline for Records {
        type Scratch = ();

        fn scratch(&self) {}

        fn modality(&self) -> Modality {
            Modality::Audio
        }

        fn slot_bytes(&self) -> usize {
            1
        }

        fn max_record_bytes(&self) -> usize {
            1 << 20
        }

        fn describe(&self) -> String {
            "bytes".into()
        }

        fn describe_preprocessing(&self) -> String {
            "bytes".into()
        }

        fn preprocess(&self, _: Medium<'_>, (): &mut (), record: &mut Vec<u8>) -> Result<()> {
            record.resize(self.0, 0);
            Ok(())
        }

        fn finish(&self, _: &Path, _: &[u8], _: RandomKey, (): &mut (), _: &mut [u8]) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn one_long_recording_does_not_keep_its_memory() {
        let key = RandomKey { seed: 0, epoch: 0, sample: 0 };
        let capacity_after = |bytes| {
            let pipeline = Records(bytes);
            let mut worker = Worker::new(&pipeline, None);
            worker.load(Path::new("recording.wav"), key, &mut [0]).unwrap();
            worker.record.capacity()
        };
        assert_eq!(capacity_after(MAX_KEPT_BYTES + 1), 0);
        assert!(capacity_after(MAX_KEPT_BYTES / 2) > 0);
    }
}
