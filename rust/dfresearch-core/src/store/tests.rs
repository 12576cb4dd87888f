//! Scans and the index together, on real folders.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use super::index::INDEX_FILE;
use super::*;

/// A media file of the tests is `W`, the width, and anything after it; everything else has no header.
fn probe(bytes: &[u8]) -> Result<(usize, usize), DecodeError> {
    match bytes {
        [b'W', width, ..] => Ok((usize::from(*width), 1)),
        _ => Err(DecodeError::UnknownFormat { medium: "image", found: "test".to_owned() }),
    }
}

struct Cache(tempfile::TempDir);

impl Cache {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let cache = Self(tempfile::tempdir().unwrap());
        for (name, bytes) in files {
            cache.write(name, bytes);
        }
        cache
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        modality_folder(self.path(), Modality::Image).join("cats").join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::create_dir_all(self.file(name).parent().unwrap()).unwrap();
        fs::write(self.file(name), bytes).unwrap();
    }

    /// Gives a file a time of change that no write of this test has.
    fn touch(&self, name: &str, seconds: u64) {
        let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        File::options().write(true).open(self.file(name)).unwrap().set_times(times).unwrap();
    }

    fn scan(&self) -> DatasetScan {
        self.scan_counting(&AtomicUsize::new(0))
    }

    fn scan_counting(&self, probed: &AtomicUsize) -> DatasetScan {
        let counting = |bytes: &[u8]| {
            probed.fetch_add(1, Ordering::Relaxed);
            probe(bytes)
        };
        let mut index = Index::open(self.path()).unwrap();
        scan_dataset(&mut index, self.path(), Modality::Image, "cats", &counting, &|_| Ok(())).unwrap()
    }
}

fn record<'a>(scan: &'a DatasetScan, name: &str) -> &'a FileRecord {
    &scan.files.iter().find(|file| file.name == name).unwrap().record
}

fn reason<'a>(scan: &'a DatasetScan, name: &str) -> &'a str {
    record(scan, name).quarantine_reason.as_deref().unwrap()
}

fn some_record() -> FileRecord {
    FileRecord {
        size: 2,
        modified_ns: 1,
        content: Some(ContentHash::of(b"W\x01")),
        dimensions: Some((1, 1)),
        accepted: true,
        ..FileRecord::default()
    }
}

#[test]
fn a_first_scan_reads_everything_and_a_second_one_nothing() {
    let cache = Cache::new(&[("a.jpg", b"W\x07a"), ("deep/b.png", b"W\x08b"), ("bad.jpg", b"<html>")]);
    let first = cache.scan();
    assert_eq!(first.read, 3);
    assert_eq!(record(&first, "a.jpg").dimensions, Some((7, 1)));
    assert_eq!(record(&first, "a.jpg").content, Some(ContentHash::of(b"W\x07a")));
    assert!(reason(&first, "bad.jpg").starts_with("not a known image format"));

    let probed = AtomicUsize::new(0);
    let second = cache.scan_counting(&probed);
    assert_eq!((second.read, probed.load(Ordering::Relaxed)), (0, 0));
    assert_eq!(second.files, first.files);
}

#[test]
fn content_that_changes_behind_the_same_size_and_time_is_not_opened_again() {
    let cache = Cache::new(&[("a.jpg", b"W\x07a")]);
    cache.touch("a.jpg", 1000);
    let before = cache.scan();
    cache.write("a.jpg", b"W\x07b");
    cache.touch("a.jpg", 1000);
    assert_eq!(cache.scan().files, before.files, "the file was opened");
    cache.touch("a.jpg", 1001);
    assert_eq!(record(&cache.scan(), "a.jpg").content, Some(ContentHash::of(b"W\x07b")));
}

#[test]
fn only_what_is_new_or_changed_is_read_and_what_is_gone_is_forgotten() {
    let cache = Cache::new(&[("a.jpg", b"W\x01"), ("b.jpg", b"W\x02"), ("c.jpg", b"W\x03")]);
    cache.scan();
    cache.write("a.jpg", b"W\x01 longer");
    cache.write("d.jpg", b"W\x04");
    fs::remove_file(cache.file("c.jpg")).unwrap();
    let scan = cache.scan();
    assert_eq!(scan.read, 2);
    let names: Vec<&str> = scan.files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["a.jpg", "b.jpg", "d.jpg"]);
    assert_eq!(Index::open(cache.path()).unwrap().files(Modality::Image, "cats").unwrap().len(), 3);
}

#[test]
fn a_file_that_is_repaired_comes_back() {
    let cache = Cache::new(&[("a.jpg", b"")]);
    assert_eq!(reason(&cache.scan(), "a.jpg"), "the file is empty");
    cache.write("a.jpg", b"W\x01");
    assert_eq!(record(&cache.scan(), "a.jpg").quarantine_reason, None);
}

#[test]
fn what_cannot_be_read_is_quarantined_and_tried_again_every_time() {
    let cache = Cache::new(&[("good.jpg", b"W\x01")]);
    // Reading another process's memory at address 0 fails for everybody, root included.
    symlink("/proc/self/mem", cache.file("unreadable.jpg")).unwrap();
    fs::create_dir(cache.file("folder.jpg")).unwrap();
    for _ in 0..2 {
        let scan = cache.scan();
        assert!(reason(&scan, "unreadable.jpg").starts_with("cannot be read: "));
        assert_eq!(reason(&scan, "folder.jpg"), "a folder, not a file");
        assert_eq!(record(&scan, "unreadable.jpg").content, None);
    }
    fs::remove_file(cache.file("unreadable.jpg")).unwrap();
    cache.write("unreadable.jpg", b"W\x02");
    assert_eq!(record(&cache.scan(), "unreadable.jpg").dimensions, Some((2, 1)));
}

#[test]
fn a_quarantine_from_a_decoder_lasts_until_the_file_changes() {
    let cache = Cache::new(&[("a.jpg", b"W\x01"), ("b.jpg", b"W\x02")]);
    cache.scan();
    let entries = [
        (cache.file("a.jpg"), "truncated JPEG".to_owned()),
        (cache.file("never-seen.jpg"), "gone".to_owned()),
        (PathBuf::from("/elsewhere/x.jpg"), "gone".to_owned()),
    ];
    assert_eq!(quarantine(cache.path(), &entries).unwrap(), 1);
    let scan = cache.scan();
    assert_eq!(scan.read, 0);
    assert_eq!(reason(&scan, "a.jpg"), "truncated JPEG");
    assert!(record(&scan, "a.jpg").accepted, "it goes on linking its group");
    assert_eq!(record(&scan, "b.jpg").quarantine_reason, None);
    cache.write("a.jpg", b"W\x01 whole");
    assert_eq!(record(&cache.scan(), "a.jpg").quarantine_reason, None);
}

#[test]
fn a_file_that_changed_after_it_was_listed_stays_quarantined() {
    let cache = Cache::new(&[("a.jpg", b"W\x01"), ("gone.jpg", b"W\x02")]);
    cache.scan();
    cache.write("a.jpg", b"W\x01 cut off");
    fs::remove_file(cache.file("gone.jpg")).unwrap();
    let refused = ["a.jpg", "gone.jpg"].map(|name| (cache.file(name), "truncated JPEG".to_owned()));
    assert_eq!(quarantine(cache.path(), &refused).unwrap(), 2);
    let scan = cache.scan();
    assert_eq!((scan.read, scan.files.len()), (0, 1));
    assert_eq!(reason(&scan, "a.jpg"), "truncated JPEG");
    cache.touch("a.jpg", 5);
    assert_eq!(record(&cache.scan(), "a.jpg").quarantine_reason, None);
}

#[test]
fn groups_follow_the_manifest_without_reading_a_file() {
    let cache = Cache::new(&[("a.jpg", b"W\x01"), ("b.jpg", b"W\x02")]);
    cache.scan();
    let line = |file, group| format!("{{\"file\": \"{file}\", \"group\": \"{group}\"}}\n");
    cache.write("manifest.jsonl", (line("a.jpg", "one") + &line("gone.jpg", "two")).as_bytes());
    let scan = cache.scan();
    assert_eq!(scan.read, 0);
    assert_eq!(record(&scan, "a.jpg").group.as_deref(), Some("one"));
    assert_eq!(record(&scan, "b.jpg").group, None);
    assert_eq!(scan.unknown_manifest_files, [(2, "gone.jpg".to_owned())]);
    cache.write("manifest.jsonl", b"nonsense\n");
    let mut index = Index::open(cache.path()).unwrap();
    let refused = scan_dataset(&mut index, cache.path(), Modality::Image, "cats", &probe, &|_| Ok(()));
    assert!(refused.unwrap_err().to_string().contains("manifest.jsonl:1: "));
}

#[test]
fn a_missing_folder_has_no_files_and_costs_the_index_nothing() {
    let cache = Cache::new(&[("a.jpg", b"W\x01")]);
    cache.scan();
    let hidden = cache.path().join("unmounted");
    fs::rename(cache.file(""), &hidden).unwrap();
    let scan = cache.scan();
    assert!(!scan.folder_exists && scan.files.is_empty());
    fs::rename(&hidden, cache.file("")).unwrap();
    assert_eq!(cache.scan().read, 0);
}

#[test]
fn more_files_than_one_write_takes_are_all_read_in_order() {
    let files: Vec<(String, Vec<u8>)> =
        (0..600u32).map(|n| (format!("{n:04}.jpg"), [b"W\x01", &n.to_le_bytes()[..]].concat())).collect();
    let named: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let cache = Cache::new(&named);
    let scan = cache.scan();
    assert_eq!(scan.read, 600);
    for (file, (name, bytes)) in scan.files.iter().zip(&files) {
        assert_eq!((&file.name, file.record.content), (name, Some(ContentHash::of(bytes))));
    }
}

#[test]
fn a_scan_that_is_stopped_keeps_what_it_has_read() {
    let files: Vec<(String, Vec<u8>)> =
        (0..300u16).map(|n| (format!("{n}.jpg"), [b"W\x01", &n.to_le_bytes()[..]].concat())).collect();
    let named: Vec<(&str, &[u8])> =
        files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let cache = Cache::new(&named);
    let stop = |progress: ScanProgress<'_>| match progress.read {
        0 => Ok(()),
        _ => Err(Error::Loader { reason: "stopped".to_owned() }),
    };
    let mut index = Index::open(cache.path()).unwrap();
    let stopped = scan_dataset(&mut index, cache.path(), Modality::Image, "cats", &probe, &stop);
    assert!(stopped.unwrap_err().to_string().contains("stopped"));
    drop(index);
    assert_eq!(cache.scan().read, 300 - 256);
}

#[test]
fn video_and_audio_files_are_hashed_and_empty_ones_refused() {
    let cache = tempfile::tempdir().unwrap();
    let folder = modality_folder(cache.path(), Modality::Audio).join("voices");
    fs::create_dir_all(&folder).unwrap();
    let long: Vec<u8> = (0..700_000u32).map(|n| n as u8).collect();
    fs::write(folder.join("long.wav"), &long).unwrap();
    fs::write(folder.join("empty.wav"), b"").unwrap();
    let mut index = Index::open(cache.path()).unwrap();
    let scan =
        scan_dataset(&mut index, cache.path(), Modality::Audio, "voices", &probe, &|_| Ok(())).unwrap();
    assert_eq!(record(&scan, "long.wav").content, Some(ContentHash::of(&long)));
    assert_eq!(reason(&scan, "empty.wav"), "the file is empty");
}

#[test]
fn a_damaged_index_is_set_aside_and_built_anew() {
    let cache = Cache::new(&[("a.jpg", b"W\x01")]);
    let before = cache.scan();
    fs::write(cache.path().join(INDEX_FILE), b"this is no database, but long enough to be looked at")
        .unwrap();
    let index = Index::open(cache.path()).unwrap();
    let [notice] = index.notices() else { panic!("{:?}", index.notices()) };
    assert!(notice.contains("damaged") && notice.contains("read again"), "{notice}");
    drop(index);
    assert!(cache.path().join("index.sqlite3.unusable").exists());
    let after = cache.scan();
    assert_eq!((after.read, &after.files), (1, &before.files));
    assert_eq!(Index::open(cache.path()).unwrap().notices(), [] as [&str; 0]);
}

fn change_index(cache: &Cache, sql: &str) {
    rusqlite::Connection::open(cache.path().join(INDEX_FILE)).unwrap().execute_batch(sql).unwrap();
}

#[test]
fn an_older_schema_is_built_anew_and_a_newer_one_refused() {
    let cache = Cache::new(&[("a.jpg", b"W\x01")]);
    cache.scan();
    change_index(&cache, "PRAGMA user_version = 0");
    assert!(Index::open(cache.path()).unwrap().notices()[0].contains("older version"));
    assert_eq!(cache.scan().read, 1);
    change_index(&cache, "PRAGMA user_version = 99");
    let refused = Index::open(cache.path()).unwrap_err().to_string();
    assert!(refused.contains("newer version (schema 99"), "{refused}");
}

#[test]
fn another_program_s_database_is_left_alone() {
    let cache = Cache::new(&[("a.jpg", b"W\x01")]);
    change_index(&cache, "CREATE TABLE recipes (name TEXT); INSERT INTO recipes VALUES ('soup')");
    let refused = Index::open(cache.path()).unwrap_err().to_string();
    assert!(refused.contains("another program"), "{refused}");
}

#[test]
fn without_a_place_to_write_the_index_works_in_memory_and_says_so() {
    // Nobody can create files in /proc, root included.
    let index = Index::open(Path::new("/proc/self")).unwrap();
    let [notice] = index.notices() else { panic!("{:?}", index.notices()) };
    assert!(notice.contains("in memory only") && notice.contains("index.sqlite3"), "{notice}");

    let cache = Cache::new(&[("a.jpg", b"W\x01")]);
    fs::create_dir(cache.path().join(INDEX_FILE)).unwrap();
    let scan = cache.scan();
    assert_eq!(record(&scan, "a.jpg").dimensions, Some((1, 1)));
}

#[test]
fn two_processes_may_scan_at_once() {
    let cache = Cache::new(&[("a.jpg", b"W\x01"), ("b.jpg", b"W\x02")]);
    let scans: Vec<DatasetScan> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(|| cache.scan())).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    for scan in &scans {
        assert_eq!(scan.files, scans[0].files);
    }
    assert_eq!(cache.scan().read, 0);
}

/// Opens the index from many threads at once, each of which adds a row and quarantines it. Returns all
/// notices.
fn open_at_once(cache: &Cache) -> Vec<String> {
    const OPENERS: usize = 6;
    let start = Barrier::new(OPENERS);
    let opener = |number: usize| {
        let (name, record) = (format!("{number}.jpg"), some_record());
        start.wait();
        let mut index = Index::open(cache.path()).unwrap();
        index.update(Modality::Image, "cats", &[(&name, &record)], &[]).unwrap();
        index.quarantine(Modality::Image, "cats", &name, None, "refused").unwrap();
        index.notices().to_vec()
    };
    let opener = &opener;
    let notices = std::thread::scope(|scope| {
        let openers: Vec<_> = (0..OPENERS).map(|number| scope.spawn(move || opener(number))).collect();
        openers.into_iter().flat_map(|opener| opener.join().unwrap()).collect()
    });
    let files = Index::open(cache.path()).unwrap().files(Modality::Image, "cats").unwrap();
    assert_eq!(files.len(), OPENERS);
    assert!(files.values().all(|file| file.quarantine_reason.as_deref() == Some("refused")));
    notices
}

#[test]
fn a_fresh_index_may_be_opened_by_many_at_once() {
    for _ in 0..30 {
        let cache = Cache::new(&[]);
        assert_eq!(open_at_once(&cache), [] as [&str; 0]);
        assert!(!cache.path().join("index.sqlite3.unusable").exists());
    }
}

#[test]
fn one_of_many_sets_a_damaged_index_aside() {
    for _ in 0..10 {
        let cache = Cache::new(&[]);
        fs::write(cache.path().join(INDEX_FILE), b"no database ".repeat(100)).unwrap();
        let notices = open_at_once(&cache);
        assert!(notices.len() == 1 && notices[0].contains("damaged"), "{notices:?}");
    }
}

#[test]
fn names_that_leave_the_cache_are_refused() {
    for name in ["", ".", "..", "../x", "a/b", "/etc", "a\\b", "a\0b", "a\nb"] {
        assert!(check_dataset_name(name).is_err(), "{name:?}");
    }
    for name in ["cats", "v14-vil100.jpeg", "..a", "två ord"] {
        check_dataset_name(name).unwrap();
    }
}

#[test]
fn a_hash_is_printed_as_sha256sum_does() {
    assert_eq!(
        ContentHash::of(b"abc").to_string(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn a_file_of_the_cache_is_found_by_its_path() {
    let cache = Path::new("/somewhere/cache");
    let found = place_in_cache(cache, Path::new("/somewhere/cache/datasets/image/cats/a/b.jpg"));
    assert_eq!(found, Some((Modality::Image, "cats".to_owned(), "a/b.jpg".to_owned())));
    for outside in ["/elsewhere/datasets/image/cats/b.jpg", "/somewhere/cache/datasets/text/cats/b.jpg"] {
        assert_eq!(place_in_cache(cache, Path::new(outside)), None);
    }
}

#[test]
fn an_index_in_memory_starts_with_what_the_file_knows() {
    let cache = Cache::new(&[("a.jpg", b"W\x01")]);
    let before = cache.scan();
    let path = cache.path().join(INDEX_FILE);
    let mut index = Index::in_memory(path, Some("attempt to write a readonly database")).unwrap();
    assert!(index.notices()[0].contains("(1 files were known)"), "{}", index.notices()[0]);
    cache.write("b.jpg", b"W\x02");
    let scan = scan_dataset(&mut index, cache.path(), Modality::Image, "cats", &probe, &|_| Ok(())).unwrap();
    assert_eq!((scan.read, &scan.files[..1]), (1, &before.files[..]));
    assert_eq!(cache.scan().read, 1, "nothing was written to the file");
}
