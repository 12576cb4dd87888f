//! The loader with a sample cache and real media: whatever two files have in common, each gets its own record.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dfresearch_core::decode::video::FrameSampling;
use dfresearch_core::loader::{
    AudioPipeline, BatchAllocator, Epoch, EpochOrder, LoaderSettings, Medium, NextBatch, Quarantined,
    RecordCache, SamplePipeline, Shard, VideoPipeline, warm,
};
use dfresearch_core::preprocess::{AudioCrop, AudioWindow, PreprocessMode, VideoPreprocess};
use dfresearch_core::rng::RandomKey;
use dfresearch_core::sample_cache::SampleCache;
use dfresearch_core::samples::SampleList;
use dfresearch_core::stop::StopFlag;
use dfresearch_core::{Label, Modality, Result};

const ROOM: u64 = 1 << 30;

/// A pipeline that tells what record every file had.
struct Watched<P> {
    pipeline: P,
    records: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
}

impl<P: SamplePipeline> SamplePipeline for Watched<P> {
    type Scratch = P::Scratch;

    fn scratch(&self) -> P::Scratch {
        self.pipeline.scratch()
    }

    fn modality(&self) -> Modality {
        self.pipeline.modality()
    }

    fn slot_bytes(&self) -> usize {
        self.pipeline.slot_bytes()
    }

    fn max_record_bytes(&self) -> usize {
        self.pipeline.max_record_bytes()
    }

    fn describe(&self) -> String {
        self.pipeline.describe()
    }

    fn describe_preprocessing(&self) -> String {
        self.pipeline.describe_preprocessing()
    }

    fn preprocess(&self, medium: Medium<'_>, scratch: &mut P::Scratch, record: &mut Vec<u8>) -> Result<()> {
        self.pipeline.preprocess(medium, scratch, record)
    }

    fn finish(
        &self,
        path: &Path,
        record: &[u8],
        key: RandomKey,
        scratch: &mut P::Scratch,
        slot: &mut [u8],
    ) -> Result<()> {
        self.records.lock().unwrap().insert(path.to_path_buf(), record.to_vec());
        self.pipeline.finish(path, record, key, scratch, slot)
    }
}

/// Batches that nobody looks at.
struct Slots;

struct Slot(Vec<u8>);

impl AsMut<[u8]> for Slot {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl BatchAllocator for Slots {
    type Batch = ();
    type Slot = Slot;

    fn allocate(&self, slots: usize, slot_bytes: usize) -> Result<((), Vec<Slot>)> {
        Ok(((), (0..slots).map(|_| Slot(vec![0; slot_bytes])).collect()))
    }

    fn keep(&self, (): (), _: &[usize]) -> Result<()> {
        Ok(())
    }
}

fn open<P: SamplePipeline>(folder: &Path, pipeline: &P, samples: &Arc<SampleList>) -> Arc<RecordCache> {
    let preprocessing = pipeline.describe_preprocessing();
    let store = SampleCache::open(&folder.join("records"), pipeline.modality(), &preprocessing, ROOM);
    Arc::new(RecordCache::new(store.unwrap(), samples.clone()))
}

fn list(paths: &[PathBuf]) -> Arc<SampleList> {
    Arc::new(SampleList::from_pairs(paths.iter().map(|path| (path.clone(), Label::Real))).unwrap())
}

fn start<P: SamplePipeline>(
    pipeline: &Arc<P>,
    samples: &Arc<SampleList>,
    cache: Option<Arc<RecordCache>>,
) -> Result<Epoch<Slots>> {
    let shard = Shard::WHOLE;
    let settings = LoaderSettings {
        batch_size: 1,
        shuffle: false,
        drop_last: false,
        num_workers: 1,
        prefetch: 1,
        seed: 0,
        shard,
    };
    let order = EpochOrder::new(0..samples.len() as u32, &settings, 0);
    Epoch::start(samples.clone(), pipeline.clone(), Slots, cache, &settings, order, 0)
}

/// The record of every file that could be loaded in an epoch, and those that could not.
fn records<P: SamplePipeline>(
    pipeline: &Arc<Watched<P>>,
    samples: &Arc<SampleList>,
    cache: Option<Arc<RecordCache>>,
) -> (BTreeMap<PathBuf, Vec<u8>>, Vec<Quarantined>) {
    let mut epoch = start(pipeline, samples, cache).unwrap();
    loop {
        match epoch.next_batch(Duration::from_secs(20)).unwrap() {
            NextBatch::Ready { .. } => {}
            NextBatch::TimedOut => panic!("the loader hangs"),
            NextBatch::End => break,
        }
    }
    (std::mem::take(&mut *pipeline.records.lock().unwrap()), epoch.take_quarantined().unwrap())
}

fn watched<P>(pipeline: P) -> Arc<Watched<P>> {
    Arc::new(Watched { pipeline, records: Mutex::default() })
}

fn clips() -> Arc<Watched<VideoPipeline>> {
    let preprocess =
        VideoPreprocess::new((4, 4), PreprocessMode::Competition, 3, FrameSampling::First).unwrap();
    watched(VideoPipeline::new(preprocess, None).unwrap())
}

/// An image of 4x4 pixels, all of this grey.
fn bitmap(grey: u8) -> Vec<u8> {
    const PIXELS: usize = 4 * 4 * 3;
    let mut bytes = b"BM".to_vec();
    for number in [54 + PIXELS as u32, 0, 54, 40, 4, 4, 1 | 24 << 16, 0, PIXELS as u32, 2835, 2835, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.resize(54 + PIXELS, grey);
    bytes
}

/// A clip as a folder of frames, each of one grey.
fn frame_folder(path: PathBuf, frames: &[(&str, u8)]) -> PathBuf {
    fs::create_dir(&path).unwrap();
    for (name, grey) in frames {
        fs::write(path.join(name), bitmap(*grey)).unwrap();
    }
    path
}

/// The greys of a clip's frames.
fn greys(record: &[u8]) -> Vec<u8> {
    record.iter().step_by(4 * 4 * 3).copied().collect()
}

#[test]
fn the_same_frames_in_another_order_are_another_clip() {
    let folder = tempfile::tempdir().unwrap();
    // Frames are taken in the order of their numbers: 1, 2, 10.
    let counted = frame_folder(folder.path().join("a"), &[("1.bmp", 10), ("10.bmp", 20), ("2.bmp", 30)]);
    let padded = frame_folder(folder.path().join("b"), &[("01.bmp", 10), ("02.bmp", 20), ("10.bmp", 30)]);
    let (pipeline, samples) = (clips(), list(&[counted.clone(), padded.clone()]));
    let cache = open(folder.path(), &*pipeline, &samples);
    let (records, _) = records(&pipeline, &samples, Some(cache));
    assert_eq!(greys(&records[&counted]), [10, 30, 20]);
    assert_eq!(greys(&records[&padded]), [10, 20, 30]);
}

#[test]
fn every_frame_that_is_decoded_tells_clips_apart_whatever_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let first = frame_folder(folder.path().join("a"), &[("1.bmp", 10), ("2.tmp.bmp", 20)]);
    let second = frame_folder(folder.path().join("b"), &[("1.bmp", 10), ("2.tmp.bmp", 30)]);
    let (pipeline, samples) = (clips(), list(&[first.clone(), second.clone()]));
    let cache = open(folder.path(), &*pipeline, &samples);
    let (records, _) = records(&pipeline, &samples, Some(cache));
    assert_eq!(greys(&records[&first]), [10, 20, 20]);
    assert_eq!(greys(&records[&second]), [10, 30, 30]);
}

fn recordings() -> Arc<Watched<AudioPipeline>> {
    let window = AudioWindow::new(8000, 0.01, AudioCrop::Center).unwrap();
    watched(AudioPipeline::new(window, None).unwrap())
}

/// A recording of 16-bit mono at 8 kHz.
fn wave(samples: &[i16]) -> Vec<u8> {
    let bytes = samples.len() as u32 * 2;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + bytes).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(8000u32.to_le_bytes());
    file.extend(16_000u32.to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(bytes.to_le_bytes());
    samples.iter().for_each(|sample| file.extend(sample.to_le_bytes()));
    file
}

#[test]
fn what_is_no_file_is_refused_and_never_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let sound = folder.path().join("sound.wav");
    fs::write(&sound, wave(&[1000; 200])).unwrap();
    let pipe = folder.path().join("pipe.wav");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let endless = PathBuf::from("/dev/zero");
    let (pipeline, samples) = (recordings(), list(&[sound.clone(), pipe.clone(), endless.clone()]));
    let without = records(&pipeline, &samples, None);
    let cache = open(folder.path(), &*pipeline, &samples);
    let with = records(&pipeline, &samples, Some(cache));
    assert_eq!(with, without);
    assert_eq!(with.0.keys().collect::<Vec<_>>(), [&sound]);
    let refused: Vec<&PathBuf> = with.1.iter().map(|sample| &sample.path).collect();
    assert_eq!(refused, [&pipe, &endless]);
}

#[test]
fn a_cache_of_one_list_is_refused_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let paths = [folder.path().join("a.wav"), folder.path().join("b.wav")];
    for (path, loudness) in paths.iter().zip([1000, 2000]) {
        fs::write(path, wave(&[loudness; 200])).unwrap();
        // As unpacked from an archive.
        fs::File::options().write(true).open(path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    }
    let pipeline = recordings();
    let (one, other) = (list(&paths), list(&[paths[1].clone(), paths[0].clone()]));
    let cache = open(folder.path(), &*pipeline, &one);
    let without = records(&pipeline, &one, None);
    assert!(records(&pipeline, &one, Some(cache.clone())) == without);
    // Sizes and times are the same, and so are the numbers of the samples: nothing else would tell them apart.
    let refused = start(&pipeline, &other, Some(cache.clone())).err().unwrap().to_string();
    assert!(refused.contains("another list of samples"), "{refused}");
    let done = AtomicUsize::new(0);
    assert!(warm(&other, &*pipeline, &cache, 1, &done, &StopFlag::default()).is_err());
    // The same list once more is the same.
    assert!(records(&pipeline, &list(&paths), Some(cache)) == without);
}
