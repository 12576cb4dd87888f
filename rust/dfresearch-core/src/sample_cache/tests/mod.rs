//! The store as a whole, with small windows and steps, so that all edges are met.

mod damage;
mod eviction;
mod model;
mod sharing;

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;

/// A page a window, 64 KiB a log.
const SMALL: Layout =
    Layout { window_bytes: 4096, log_bytes: 64 << 10, reserve_bytes: 2048, index_reserve_bytes: 256 };

const NO_CAP: u64 = 1 << 40;

struct Root(TempDir);

impl Root {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn open(&self) -> SampleCache {
        self.open_with(settings("plain"), NO_CAP)
    }

    fn open_with(&self, settings: StoreSettings, max_bytes: u64) -> SampleCache {
        SampleCache::open_with(self.path(), settings, max_bytes, SMALL).unwrap()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(settings("plain").folder_name()).join(name)
    }

    fn bytes(&self) -> u64 {
        capacity::bytes_below(self.path()).unwrap()
    }
}

fn settings(preprocessing: &str) -> StoreSettings {
    StoreSettings::new(Modality::Image, preprocessing, decoder_version())
}

fn content(number: u64) -> ContentHash {
    ContentHash::of(&number.to_le_bytes())
}

/// Some bytes that differ from number to number, 1 to 1500 of them.
fn record(number: u64) -> Vec<u8> {
    let length = 1 + (number * 389) % 1500;
    (0..length).map(|position| (number * 31 + position * 7 + position / 251) as u8).collect()
}

fn fill(cache: &SampleCache, numbers: impl IntoIterator<Item = u64>) {
    numbers.into_iter().for_each(|number| cache.insert(&content(number), &record(number)));
}

/// How many of these are there; those that are must be right.
fn count_right(cache: &SampleCache, numbers: impl IntoIterator<Item = u64>) -> usize {
    let right = |number: &u64| {
        let found = cache.get(&content(*number));
        if let Some(bytes) = found {
            assert_eq!(bytes, record(*number), "record {number}");
            assert_eq!(bytes.as_ptr().align_offset(64), 0);
        }
        found.is_some()
    };
    numbers.into_iter().filter(right).count()
}

#[test]
fn what_was_inserted_is_there_now_and_after_opening_again() {
    let root = Root::new();
    let cache = root.open();
    assert_eq!(cache.get(&content(0)), None);
    fill(&cache, 0..300);
    assert_eq!(count_right(&cache, 0..400), 300);
    let report = cache.report();
    let bytes: usize = (0..300).map(|number| record(number).len()).sum();
    assert_eq!((report.records, report.bytes, report.inserted), (300, bytes as u64, 300));
    assert_eq!((report.hits, report.misses, report.damaged), (300, 101, 0));
    assert!(!report.is_full && report.notices.is_empty(), "{report:?}");
    drop(cache);
    let again = root.open();
    (0..300).for_each(|number| again.will_need(&content(number)));
    assert_eq!(count_right(&again, 0..400), 300);
    assert_eq!((again.report().records, again.report().inserted), (300, 0));
}

#[test]
fn a_record_that_is_there_is_not_written_again() {
    let root = Root::new();
    let cache = root.open();
    fill(&cache, 0..3);
    let before = root.bytes();
    fill(&cache, 0..3);
    cache.insert(&content(0), b"something else");
    assert_eq!(count_right(&cache, 0..3), 3);
    assert_eq!((cache.report().inserted, root.bytes()), (3, before));
    drop(cache);
    let again = root.open();
    fill(&again, 0..3);
    assert_eq!(again.report().inserted, 0);
}

#[test]
fn empty_and_oversized_records_are_not_kept() {
    let root = Root::new();
    let cache = root.open();
    cache.insert(&content(1), &[]);
    cache.insert(&content(2), &[7; 4097]);
    cache.insert(&content(3), &[7; 4096]);
    assert_eq!((cache.get(&content(1)), cache.get(&content(2))), (None, None));
    assert_eq!(cache.get(&content(3)), Some(&[7; 4096][..]));
    let notices = cache.report().notices;
    assert!(notices.len() == 1 && notices[0].contains("are not kept"), "{notices:?}");
}

#[test]
fn a_log_of_full_length_is_followed_by_another() {
    let root = Root::new();
    let cache = root.open();
    fill(&cache, 0..400);
    assert!(root.file("log-003.records").exists());
    let is_within =
        |number| root.file(&format!("log-{number:03}.records")).metadata().unwrap().len() <= 64 << 10;
    assert!((0..4).all(is_within));
    assert_eq!(count_right(&cache, 0..400), 400);
    drop(cache);
    let again = root.open();
    fill(&again, 400..410);
    assert_eq!(count_right(&again, 0..410), 410);
}

#[test]
fn stores_with_other_settings_share_nothing() {
    let root = Root::new();
    fill(&root.open(), 0..5);
    let other = root.open_with(settings("other"), NO_CAP);
    assert_eq!(count_right(&other, 0..5), 0);
    let video = StoreSettings { modality: Modality::Video, ..settings("plain") };
    assert_eq!(count_right(&root.open_with(video, NO_CAP), 0..5), 0);
    let version = StoreSettings { decoder_version: "older".into(), ..settings("plain") };
    assert_eq!(count_right(&root.open_with(version, NO_CAP), 0..5), 0);
    assert_eq!(count_right(&root.open(), 0..5), 5);
}

#[test]
fn what_is_reserved_and_not_used_is_given_back() {
    let root = Root::new();
    let cache = root.open();
    fill(&cache, 0..2);
    let length = |name| root.file(name).metadata().unwrap().len();
    assert!(length("log-000.records") > 64 + 390 && length("log-000.index") > 128);
    drop(cache);
    assert_eq!((length("log-000.records"), length("log-000.index")), (64 + 390, 128));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let root = Root::new();
    fs::write(root.path().join("file"), b"").unwrap();
    let error = SampleCache::open(&root.path().join("file/cache"), Modality::Image, "plain", 1).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("file/cache") && message.contains("DFRESEARCH_SAMPLE_CACHE_DIR"), "{message}");
}

#[test]
fn the_default_cap_is_a_quarter_of_the_free_disk_and_what_is_held() {
    let root = Root::new();
    let there = default_max_bytes(root.path()).unwrap();
    assert!(there > 0 && there <= 50_000_000_000);
    // The file is sparse: it takes nothing of the disk, and counts as held.
    fs::File::create(root.path().join("held")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(default_max_bytes(root.path()).unwrap(), 50_000_000_000);
    assert!(default_max_bytes(&root.path().join("not/there")).unwrap() > 0);
}

#[test]
fn a_record_takes_less_than_a_hundred_bytes_of_memory() {
    const COUNT: u16 = 50_000;
    let root = Root::new();
    let open = || SampleCache::open_with(root.path(), settings("plain"), NO_CAP, Layout::DEFAULT).unwrap();
    let memory = |cache: &SampleCache| cache.lookup.memory_bytes() / usize::from(COUNT);
    let cache = open();
    (0..COUNT).for_each(|number| cache.insert(&content(number.into()), &number.to_le_bytes()));
    assert!(memory(&cache) < 100, "{}", memory(&cache));
    drop(cache);
    let again = open();
    assert!(memory(&again) < 100, "{}", memory(&again));
    assert_eq!(again.report().records, u64::from(COUNT));
}
