//! The loader with a sample cache: the same batches, decoded once, and never a record of another content.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dfresearch_core::loader::{
    BatchAllocator, Epoch, EpochOrder, LoaderSettings, Medium, NextBatch, Quarantined, RecordCache,
    SamplePipeline, Shard, WarmReport, warm,
};
use dfresearch_core::rng::RandomKey;
use dfresearch_core::sample_cache::SampleCache;
use dfresearch_core::samples::{KnownContent, SampleList, SampleListBuilder};
use dfresearch_core::stop::StopFlag;
use dfresearch_core::store::{ContentHash, FileState};
use dfresearch_core::{DecodeError, Error, Label, Modality, Result};
use proptest::prelude::*;

const RECORD_BYTES: usize = 100;
const ROOM: u64 = 1 << 30;

/// Files of one byte each: what is in them fills the record. `!` is refused, `L` gives a record too large to be kept.
#[derive(Default)]
struct BytePipeline {
    decoded: AtomicUsize,
    read_before: AtomicUsize,
}

impl SamplePipeline for BytePipeline {
    type Scratch = ();

    fn scratch(&self) {}

    fn modality(&self) -> Modality {
        Modality::Image
    }

    fn slot_bytes(&self) -> usize {
        RECORD_BYTES + 1
    }

    fn max_record_bytes(&self) -> usize {
        RECORD_BYTES
    }

    fn describe(&self) -> String {
        "bytes".into()
    }

    fn describe_preprocessing(&self) -> String {
        "bytes".into()
    }

    fn preprocess(&self, medium: Medium<'_>, _: &mut (), record: &mut Vec<u8>) -> Result<()> {
        self.decoded.fetch_add(1, Ordering::Relaxed);
        self.read_before.fetch_add(usize::from(medium.bytes.is_some()), Ordering::Relaxed);
        let content = match medium.bytes {
            Some(bytes) => bytes.to_vec(),
            None => fs::read(medium.path).map_err(|error| Error::io(medium.path, error))?,
        };
        if content[0] == b'!' {
            return Err(Error::decode(medium.path, DecodeError::Empty));
        }
        record.clear();
        record.resize(if content[0] == b'L' { RECORD_BYTES + 1 } else { RECORD_BYTES }, content[0]);
        Ok(())
    }

    fn finish(&self, _: &Path, record: &[u8], key: RandomKey, _: &mut (), slot: &mut [u8]) -> Result<()> {
        slot[..RECORD_BYTES].copy_from_slice(&record[..RECORD_BYTES]);
        slot[RECORD_BYTES] = (key.sample * 31 + key.epoch) as u8;
        Ok(())
    }
}

struct Slots;

type Home = Arc<std::sync::Mutex<Vec<u8>>>;

struct Slot {
    bytes: Vec<u8>,
    home: Home,
}

impl AsMut<[u8]> for Slot {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.home.lock().unwrap() = std::mem::take(&mut self.bytes);
    }
}

impl BatchAllocator for Slots {
    type Batch = Vec<Home>;
    type Slot = Slot;

    fn allocate(&self, slots: usize, slot_bytes: usize) -> Result<(Vec<Home>, Vec<Slot>)> {
        let homes: Vec<Home> = (0..slots).map(|_| Home::default()).collect();
        let slot = |home: &Home| Slot { bytes: vec![0; slot_bytes], home: home.clone() };
        Ok((homes.clone(), homes.iter().map(slot).collect()))
    }

    fn keep(&self, batch: Vec<Home>, kept: &[usize]) -> Result<Vec<Home>> {
        Ok(kept.iter().map(|&position| batch[position].clone()).collect())
    }
}

/// Files in a folder, and a sample cache in another.
struct World {
    folder: tempfile::TempDir,
    pipeline: Arc<BytePipeline>,
}

impl World {
    fn new(contents: &[u8]) -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap(), pipeline: Arc::default() };
        contents.iter().enumerate().for_each(|(number, content)| world.write(number, *content));
        world
    }

    fn path(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("{number}.png"))
    }

    fn write(&self, number: usize, content: u8) {
        fs::write(self.path(number), [content]).unwrap();
    }

    fn samples(&self, count: usize) -> Arc<SampleList> {
        let pairs = (0..count).map(|number| (self.path(number), Label::Real));
        Arc::new(SampleList::from_pairs(pairs).unwrap())
    }

    fn cache(&self, samples: &Arc<SampleList>, max_bytes: u64) -> Arc<RecordCache> {
        let folder = self.folder.path().join("records");
        let store =
            SampleCache::open(&folder, Modality::Image, &self.pipeline.describe_preprocessing(), max_bytes);
        Arc::new(RecordCache::new(store.unwrap(), samples.clone()))
    }

    fn decoded(&self) -> usize {
        self.pipeline.decoded.swap(0, Ordering::Relaxed)
    }

    fn epoch(
        &self,
        samples: &Arc<SampleList>,
        cache: Option<&Arc<RecordCache>>,
        epoch: u64,
    ) -> (Vec<Vec<Vec<u8>>>, Vec<Quarantined>) {
        self.rest_of_epoch(samples, cache, epoch, 0)
    }

    fn rest_of_epoch(
        &self,
        samples: &Arc<SampleList>,
        cache: Option<&Arc<RecordCache>>,
        epoch: u64,
        first_step: usize,
    ) -> (Vec<Vec<Vec<u8>>>, Vec<Quarantined>) {
        let settings = LoaderSettings {
            batch_size: 4,
            shuffle: true,
            drop_last: false,
            num_workers: 3,
            prefetch: 2,
            seed: 5,
            shard: Shard::WHOLE,
        };
        let order = EpochOrder::new(0..samples.len() as u32, &settings, epoch);
        let (pipeline, cache) = (self.pipeline.clone(), cache.cloned());
        let mut running =
            Epoch::start(samples.clone(), pipeline, Slots, cache, &settings, order, first_step).unwrap();
        let mut batches = Vec::new();
        loop {
            match running.next_batch(Duration::from_secs(60)).unwrap() {
                NextBatch::Ready { batch, .. } => {
                    batches.push(batch.iter().map(|slot| slot.lock().unwrap().clone()).collect());
                }
                NextBatch::End => return (batches, running.take_quarantined().unwrap()),
                NextBatch::TimedOut => panic!("the loader hangs"),
            }
        }
    }
}

fn letters(count: usize) -> Vec<u8> {
    (0..count).map(|number| b'a' + (number % 26) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn batches_are_the_same_with_and_without_a_cache(
        contents in proptest::collection::vec(prop_oneof![8 => b'a'..b'f', 1 => Just(b'!'), 1 => Just(b'L')], 1..40),
        first_step in 0usize..6,
    ) {
        prop_assume!(contents.iter().any(|content| *content != b'!'));
        let world = World::new(&contents);
        let samples = world.samples(contents.len());
        let cache = world.cache(&samples, ROOM);
        for epoch in 0..3 {
            let without = world.epoch(&samples, None, epoch);
            let with = world.epoch(&samples, Some(&cache), epoch);
            prop_assert_eq!(&with, &without);
            let rest = world.rest_of_epoch(&samples, Some(&cache), epoch, first_step);
            prop_assert_eq!(&rest.0[..], without.0.get(first_step..).unwrap_or(&[]));
        }
    }
}

#[test]
fn every_content_is_decoded_once_and_what_cannot_be_kept_every_time() {
    let world = World::new(b"abcdL!abc");
    let samples = world.samples(9);
    let cache = world.cache(&samples, ROOM);
    world.epoch(&samples, Some(&cache), 0);
    // Two threads may meet the same new content at the same time.
    assert!((6..=9).contains(&world.decoded()));
    world.epoch(&samples, Some(&cache), 1);
    assert_eq!(world.decoded(), 2, "the one too large and the one refused");
    drop(cache);
    let another_process = world.cache(&samples, ROOM);
    world.epoch(&samples, Some(&another_process), 2);
    assert_eq!(world.decoded(), 2);
}

#[test]
fn a_changed_file_is_never_taken_for_what_it_was() {
    let world = World::new(&letters(8));
    let samples = world.samples(8);
    let cache = world.cache(&samples, ROOM);
    world.epoch(&samples, Some(&cache), 0);
    world.write(3, b'z');
    filetime_later(&world.path(3));
    let (batches, _) = world.epoch(&samples, Some(&cache), 1);
    assert_eq!(batches, world.epoch(&samples, None, 1).0);
    assert!(batches.iter().flatten().any(|slot| slot[0] == b'z'));
}

/// A file system may keep times so coarse that a change within a moment shows none.
fn filetime_later(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now() + Duration::from_secs(5)).unwrap();
}

#[test]
fn a_file_that_the_index_knows_is_not_read_when_its_record_is_there() {
    let world = World::new(b"a");
    let metadata = fs::metadata(world.path(0)).unwrap();
    let since = metadata.modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    let state = FileState { size: 1, modified_ns: since.as_nanos() as i64 };
    let listed = |hash, state| {
        let mut builder = SampleListBuilder::default();
        let dataset = builder.add_dataset("d", world.folder.path(), Label::Real);
        builder.push(dataset, "0.png", Some(KnownContent { hash, state }));
        Arc::new(builder.build())
    };
    // What the list says of this state is believed.
    let samples = listed(ContentHash::of(b"as listed"), state);
    let cache = world.cache(&samples, ROOM);
    cache.store().insert(&ContentHash::of(b"as listed"), &[7; RECORD_BYTES]);
    let (batches, _) = world.epoch(&samples, Some(&cache), 0);
    assert_eq!((batches[0][0][0], world.decoded()), (7, 0));
    // Of another state it is not.
    let samples = listed(ContentHash::of(b"as listed"), FileState { modified_ns: 1, ..state });
    let cache = world.cache(&samples, ROOM);
    let (batches, _) = world.epoch(&samples, Some(&cache), 0);
    assert_eq!((batches[0][0][0], world.decoded()), (b'a', 1));
    assert_eq!(world.pipeline.read_before.load(Ordering::Relaxed), 1, "read once, hashed and decoded");
}

#[test]
fn a_missing_file_is_missed_even_if_its_record_is_there() {
    let world = World::new(b"ab");
    let samples = world.samples(2);
    let cache = world.cache(&samples, ROOM);
    world.epoch(&samples, Some(&cache), 0);
    fs::remove_file(world.path(0)).unwrap();
    let (batches, quarantined) = world.epoch(&samples, Some(&cache), 1);
    assert_eq!((batches[0].len(), quarantined.len()), (1, 1));
    assert!(!quarantined[0].is_undecodable);
}

fn warm_all(world: &World, samples: &SampleList, cache: &RecordCache) -> WarmReport {
    let done = AtomicUsize::new(0);
    let report = warm(samples, &*world.pipeline, cache, 2, &done, &StopFlag::default()).unwrap();
    assert_eq!(done.into_inner(), samples.len());
    report
}

#[test]
fn warming_decodes_what_is_missing_and_names_what_fails() {
    let world = World::new(b"a!cdL!");
    let samples = world.samples(6);
    let cache = world.cache(&samples, ROOM);
    let report = warm_all(&world, &samples, &cache);
    assert_eq!((report.present, report.added, report.not_kept), (0, 3, 1));
    let failed: Vec<_> = report.failed.iter().map(|sample| (sample.index, sample.is_undecodable)).collect();
    assert_eq!(failed, [(1, true), (5, true)]);
    assert_eq!(world.decoded(), 6);
    let again = warm_all(&world, &samples, &cache);
    assert_eq!((again.present, again.added, again.not_kept), (3, 0, 1));
    world.decoded();
    world.epoch(&samples, Some(&cache), 0);
    assert_eq!(world.decoded(), 3, "the one too large and the two refused");
}

#[test]
fn warming_counts_copies_as_kept_whichever_thread_keeps_them() {
    let world = World::new(&[b'a'; 200]);
    let samples = world.samples(200);
    for attempt in 0..20 {
        // A content that nobody has seen yet.
        (0..200).for_each(|number| fs::write(world.path(number), [b'a', attempt]).unwrap());
        let report = warm_all(&world, &samples, &world.cache(&samples, ROOM));
        assert_eq!((report.not_kept, report.added + report.present), (0, 200), "attempt {attempt}");
    }
}

#[test]
fn warming_decodes_nothing_that_it_could_not_keep() {
    let world = World::new(&letters(20));
    let samples = world.samples(20);
    let cache = world.cache(&samples, 0);
    let report = warm_all(&world, &samples, &cache);
    assert_eq!((report.added, report.not_kept), (0, 20));
    // Each thread may find out by itself that there is no room.
    assert!(world.decoded() <= 2);
    assert!(!cache.store().is_admitting() && cache.store().report().is_full);
}

#[test]
fn warming_stops_when_it_is_asked_to() {
    let world = World::new(&letters(20));
    let samples = world.samples(20);
    let cache = world.cache(&samples, ROOM);
    let stop = StopFlag::default();
    stop.stop();
    let outcome = warm(&samples, &*world.pipeline, &cache, 2, &AtomicUsize::default(), &stop);
    assert!(matches!(outcome, Err(Error::Stopped)));
    assert_eq!(world.decoded(), 0);
}
