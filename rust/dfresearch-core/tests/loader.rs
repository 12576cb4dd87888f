//! The loader's promises, on a pipeline whose samples are numbers and whose failures are chosen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dfresearch_core::loader::{
    BatchAllocator, Epoch, EpochOrder, LoaderSettings, Medium, NextBatch, Quarantined, SamplePipeline, Shard,
};
use dfresearch_core::rng::RandomKey;
use dfresearch_core::samples::SampleList;
use dfresearch_core::{DecodeError, Error, Label, Modality, Result};
use proptest::prelude::*;

/// Slots are vectors of their own, gathered again in order when the batch is kept or read.
struct VectorAllocator {
    allocated: Arc<AtomicUsize>,
}

type SharedSlot = Arc<std::sync::Mutex<Vec<u8>>>;

struct VectorSlot {
    bytes: Vec<u8>,
    home: SharedSlot,
}

impl AsMut<[u8]> for VectorSlot {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for VectorSlot {
    fn drop(&mut self) {
        *self.home.lock().unwrap() = std::mem::take(&mut self.bytes);
    }
}

impl BatchAllocator for VectorAllocator {
    type Batch = Vec<SharedSlot>;
    type Slot = VectorSlot;

    fn allocate(&self, slots: usize, slot_bytes: usize) -> Result<(Self::Batch, Vec<Self::Slot>)> {
        self.allocated.fetch_add(1, Ordering::SeqCst);
        let homes: Vec<SharedSlot> = (0..slots).map(|_| SharedSlot::default()).collect();
        let slots =
            homes.iter().map(|home| VectorSlot { bytes: vec![0; slot_bytes], home: home.clone() }).collect();
        Ok((homes, slots))
    }

    fn keep(&self, batch: Self::Batch, kept: &[usize]) -> Result<Self::Batch> {
        Ok(kept.iter().map(|&position| batch[position].clone()).collect())
    }
}

/// A sample's bytes are its number, the epoch and the seed; chosen numbers fail or panic.
#[derive(Clone)]
struct NumberPipeline {
    bad: Vec<u64>,
    panicking: Vec<u64>,
    fatal: Vec<u64>,
    uneven: bool,
}

impl NumberPipeline {
    fn good() -> Self {
        Self { bad: vec![], panicking: vec![], fatal: vec![], uneven: false }
    }
}

impl SamplePipeline for NumberPipeline {
    type Scratch = ();

    fn scratch(&self) {}

    fn slot_bytes(&self) -> usize {
        24
    }

    fn modality(&self) -> Modality {
        Modality::Image
    }

    fn max_record_bytes(&self) -> usize {
        8
    }

    fn describe(&self) -> String {
        "numbers".into()
    }

    fn describe_preprocessing(&self) -> String {
        "numbers".into()
    }

    fn preprocess(&self, medium: Medium<'_>, _: &mut (), record: &mut Vec<u8>) -> Result<()> {
        let number: u64 = medium.path.to_str().unwrap().parse().unwrap();
        if self.uneven && number % 7 == 3 {
            std::thread::sleep(Duration::from_micros(500));
        }
        assert!(!self.panicking.contains(&number), "chosen to panic");
        if self.bad.contains(&number) {
            return Err(Error::decode(medium.path, DecodeError::Empty));
        }
        record.clear();
        record.extend(number.to_le_bytes());
        Ok(())
    }

    fn finish(&self, path: &Path, record: &[u8], key: RandomKey, _: &mut (), slot: &mut [u8]) -> Result<()> {
        assert_eq!(path, Path::new(&key.sample.to_string()));
        if self.fatal.contains(&key.sample) {
            slot.fill(0xff);
            return Err(Error::argument("table", "chosen to end the epoch"));
        }
        for (word, value) in
            slot.chunks_exact_mut(8).zip([record, &key.epoch.to_le_bytes(), &key.seed.to_le_bytes()])
        {
            word.copy_from_slice(value);
        }
        Ok(())
    }
}

fn samples(total: usize) -> Arc<SampleList> {
    let label = |index| if index % 3 == 0 { Label::Synthetic } else { Label::Real };
    let pairs = (0..total).map(|i| (PathBuf::from(i.to_string()), label(i)));
    Arc::new(SampleList::from_pairs(pairs).unwrap())
}

fn settings(batch_size: usize, num_workers: usize, prefetch: usize) -> LoaderSettings {
    LoaderSettings {
        batch_size,
        shuffle: true,
        drop_last: false,
        num_workers,
        prefetch,
        seed: 9,
        shard: Shard::WHOLE,
    }
}

type Batches = Vec<(Vec<u64>, Vec<Label>)>;

fn start(
    total: usize,
    pipeline: &NumberPipeline,
    settings: &LoaderSettings,
    first_step: usize,
) -> Epoch<VectorAllocator> {
    let order = EpochOrder::new(0..total as u32, settings, 4);
    let allocator = VectorAllocator { allocated: Arc::default() };
    Epoch::start(samples(total), Arc::new(pipeline.clone()), allocator, None, settings, order, first_step)
        .unwrap()
}

fn drain(mut epoch: Epoch<VectorAllocator>) -> (Batches, Vec<Quarantined>, Option<Error>) {
    let mut batches = Vec::new();
    let error = loop {
        match epoch.next_batch(Duration::from_secs(20)) {
            Ok(NextBatch::Ready { batch, labels, .. }) => {
                let numbers = batch.iter().map(|slot| {
                    let slot = slot.lock().unwrap();
                    let word = |n: usize| u64::from_le_bytes(slot[n * 8..n * 8 + 8].try_into().unwrap());
                    assert_eq!((word(1), word(2)), (4, 9), "epoch and seed reach the pipeline");
                    word(0)
                });
                batches.push((numbers.collect(), labels));
            }
            Ok(NextBatch::End) => break None,
            Ok(NextBatch::TimedOut) => panic!("the loader hangs"),
            Err(error) => break Some(error),
        }
    };
    (batches, epoch.take_quarantined().unwrap(), error)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn batches_do_not_depend_on_the_number_of_threads(
        total in 1usize..90, batch in 1usize..12, prefetch in 1usize..5,
        bad in proptest::collection::vec(0u64..90, 0..20),
    ) {
        let pipeline = NumberPipeline { bad: bad.clone(), uneven: true, ..NumberPipeline::good() };
        let reference = drain(start(total, &pipeline, &settings(batch, 1, 1), 0));
        for workers in [2, 8] {
            let (batches, quarantined, _) = drain(start(total, &pipeline, &settings(batch, workers, prefetch), 0));
            prop_assert_eq!(&batches, &reference.0);
            prop_assert_eq!(&quarantined, &reference.1);
        }
    }

    #[test]
    fn every_good_sample_comes_once_and_every_bad_one_is_named(
        total in 1usize..90, batch in 1usize..12, bad in proptest::collection::vec(0u64..90, 0..20),
    ) {
        let pipeline = NumberPipeline { bad: bad.clone(), ..NumberPipeline::good() };
        let (batches, quarantined, error) = drain(start(total, &pipeline, &settings(batch, 3, 2), 0));
        let (failing, good): (Vec<u64>, Vec<u64>) = (0..total as u64).partition(|n| bad.contains(n));
        let mut seen: Vec<u64> = batches.iter().flat_map(|(numbers, _)| numbers.clone()).collect();
        seen.sort_unstable();
        prop_assert_eq!(&seen, &good);
        let mut named: Vec<u64> = quarantined.iter().map(|q| q.index as u64).collect();
        named.sort_unstable();
        prop_assert_eq!(named, failing);
        for (numbers, labels) in &batches {
            prop_assert!(!numbers.is_empty());
            let expected: Vec<Label> = numbers
                .iter()
                .map(|number| if number % 3 == 0 { Label::Synthetic } else { Label::Real })
                .collect();
            prop_assert_eq!(labels, &expected);
        }
        prop_assert_eq!(error.is_some(), good.is_empty(), "all samples bad is an error, nothing else");
    }

    #[test]
    fn an_epoch_goes_on_where_it_stopped(total in 1usize..90, batch in 1usize..12, step in 0usize..9) {
        let (whole, ..) = drain(start(total, &NumberPipeline::good(), &settings(batch, 2, 2), 0));
        let (rest, ..) = drain(start(total, &NumberPipeline::good(), &settings(batch, 2, 2), step));
        prop_assert_eq!(&rest[..], whole.get(step..).unwrap_or(&[]));
    }
}

#[test]
fn a_panicking_decoder_costs_one_sample() {
    let pipeline = NumberPipeline { panicking: vec![5], ..NumberPipeline::good() };
    let (batches, quarantined, error) = drain(start(20, &pipeline, &settings(4, 2, 2), 0));
    assert!(error.is_none());
    assert_eq!(batches.iter().map(|(numbers, _)| numbers.len()).sum::<usize>(), 19);
    assert_eq!(quarantined.len(), 1);
    assert!(quarantined[0].reason.contains("panicked"));
}

#[test]
fn an_error_that_no_file_is_to_blame_for_ends_the_epoch() {
    let pipeline = NumberPipeline { fatal: vec![7], ..NumberPipeline::good() };
    let (_, _, error) = drain(start(20, &pipeline, &settings(4, 2, 2), 0));
    assert!(matches!(error, Some(Error::Argument { argument: "table", .. })));
}

#[test]
fn an_abandoned_epoch_stops_and_allocates_no_more_than_its_queue() {
    let allocated = Arc::new(AtomicUsize::new(0));
    let settings = settings(4, 2, 3);
    let order = EpochOrder::new(0..4000, &settings, 4);
    let allocator = VectorAllocator { allocated: allocated.clone() };
    let pipeline = Arc::new(NumberPipeline::good());
    let mut epoch = Epoch::start(samples(4000), pipeline, allocator, None, &settings, order, 0).unwrap();
    for _ in 0..2 {
        assert!(matches!(epoch.next_batch(Duration::from_secs(20)).unwrap(), NextBatch::Ready { .. }));
    }
    drop(epoch);
    assert!(allocated.load(Ordering::SeqCst) <= 2 + settings.prefetch);
}

#[test]
fn nothing_within_the_given_time_is_said_so() {
    let pipeline = NumberPipeline { uneven: true, ..NumberPipeline::good() };
    let mut epoch = start(4000, &pipeline, &settings(4000, 1, 1), 0);
    assert!(matches!(epoch.next_batch(Duration::from_millis(1)).unwrap(), NextBatch::TimedOut));
}
