//! What is said of datasets that were fetched, and which files are not looked at.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::catalog::DatasetDefinition;
use crate::modality::{MediaType, Modality};
use crate::store::{
    DatasetWriter, FetchIdentity, FetchOutcome, FetchStatus, INDEX_FILE, Opened, SampleOrigin,
    modality_folder,
};

/// An image that is another one for each number: a BMP of one pixel, with some bytes behind it.
fn image(number: u32) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    for value in [62u32, 0, 54, 40, 1, 1] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend([1, 0, 24, 0]);
    bytes.extend([0; 24]);
    bytes.extend([1, 2, 3, 0]);
    bytes.extend(number.to_le_bytes());
    bytes
}

struct Cache(tempfile::TempDir);

impl Cache {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str) -> PathBuf {
        modality_folder(self.0.path(), Modality::Image).join("cats").join(name)
    }

    fn writer(&self) -> Box<DatasetWriter> {
        let definition = DatasetDefinition {
            generator_family: Some("diffusion".to_owned()),
            content_category: Some("animals".to_owned()),
            ..DatasetDefinition::new("cats", "owner/cats", Modality::Image, MediaType::Synthetic)
        };
        match DatasetWriter::open(self.0.path(), &definition).unwrap() {
            Opened::Writer(writer) => writer,
            Opened::Busy { holder } => panic!("busy: {holder}"),
        }
    }

    fn fetch(&self, count: u32, status: FetchStatus, reason: &str) {
        let mut writer = self.writer();
        let identity = FetchIdentity {
            source: "huggingface".to_owned(),
            path: "owner/cats".to_owned(),
            revision: "r1".to_owned(),
            seed: 42,
            selection: "all".to_owned(),
        };
        writer.begin(&identity).unwrap();
        for number in 0..count {
            let staged = writer.stager().stage(&mut image(number).as_slice()).unwrap().unwrap();
            let origin =
                crate::archive::Origin { member: Some(format!("{number}.bmp")), ..Default::default() };
            let origin = SampleOrigin { source_file: "a.zip".to_owned(), origin };
            writer.accept(staged, origin, None).unwrap();
        }
        writer.finish(outcome(status, reason)).unwrap();
    }

    fn survey(&self, rescan: bool) -> StoreReport {
        self.survey_counting(rescan, &AtomicUsize::new(0))
    }

    fn survey_counting(&self, rescan: bool, scans: &AtomicUsize) -> StoreReport {
        let probe = |bytes: &[u8]| {
            scans.fetch_add(1, Ordering::Relaxed);
            crate::decode::read_dimensions(bytes, &crate::decode::ImageLimits::default())
        };
        let definitions = [LabelledDataset { name: "cats".to_owned(), media_type: MediaType::Synthetic }];
        let options = ScanOptions { probe: &probe, progress: &|_| Ok(()), rescan };
        survey(self.0.path(), Modality::Image, &definitions, &options).unwrap().report
    }

    fn only(&self) -> DatasetReport {
        let [dataset] = <[DatasetReport; 1]>::try_from(self.survey(false).datasets).unwrap();
        dataset
    }

    fn index(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.0.path().join(INDEX_FILE)).unwrap()
    }

    /// Scans, and makes the next scan believe that the folders had been left alone for long before.
    fn settle(&self) {
        self.survey(true);
        self.index().execute("UPDATE dataset SET is_settled = 1", []).unwrap();
        // More than the clock of any file system here takes for one tick.
        std::thread::sleep(Duration::from_millis(50));
    }

    /// Overwrites a file without any change to its folder.
    fn overwrite(&self, name: &str, content: &[u8]) {
        fs::write(self.file(name), content).unwrap();
    }
}

fn outcome(status: FetchStatus, reason: &str) -> FetchOutcome {
    FetchOutcome {
        status,
        reason: reason.to_owned(),
        wanted: 5,
        is_final: false,
        skipped: BTreeMap::new(),
        failures: Vec::new(),
    }
}

#[test]
fn files_of_a_fetch_that_are_gone_are_counted_and_the_dataset_is_partial() {
    let cache = Cache::new();
    cache.fetch(5, FetchStatus::Ok, "");
    let dataset = cache.only();
    assert_eq!((dataset.status, dataset.samples, dataset.wanted), (DatasetStatus::Ok, 5, Some(5)));
    assert_eq!(dataset.reason, "");
    fs::remove_file(cache.file("000001.bmp")).unwrap();
    fs::remove_file(cache.file("000003.bmp")).unwrap();
    let dataset = cache.only();
    assert_eq!((dataset.status, dataset.samples, dataset.gone), (DatasetStatus::Partial, 3, 2));
    assert_eq!(dataset.reason, "3 of 5: 2 files are gone; the next prepare.py fetches them");
    assert_eq!(cache.survey(false).unknown_manifest_files, []);
    for entry in fs::read_dir(cache.file("")).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.file_name().unwrap() != crate::store::FETCH_STATE_FILE {
            fs::remove_file(entry).unwrap();
        }
    }
    let dataset = cache.only();
    assert_eq!((dataset.status, dataset.samples), (DatasetStatus::Missing, 0));
    assert_eq!(dataset.reason, "0 of 5: 5 files are gone; the next prepare.py fetches them");
}

#[test]
fn a_fetch_that_did_not_end_well_says_so() {
    for (status, expected) in [
        (FetchStatus::Partial, DatasetStatus::Partial),
        (FetchStatus::Gated, DatasetStatus::Gated),
        (FetchStatus::Failed, DatasetStatus::Failed),
    ] {
        let cache = Cache::new();
        cache.fetch(3, status, "the network went away");
        let dataset = cache.only();
        assert_eq!((dataset.status, dataset.samples), (expected, 3));
        assert_eq!(dataset.reason, "the network went away");
    }
    let cache = Cache::new();
    cache.writer().finish(outcome(FetchStatus::Gated, "ask at owner/cats")).unwrap();
    let dataset = cache.only();
    assert_eq!((dataset.status, dataset.status.name(), dataset.samples), (DatasetStatus::Gated, "GATED", 0));
    assert_eq!(dataset.reason, "ask at owner/cats");
}

#[test]
fn ok_never_stands_beside_no_samples() {
    let cache = Cache::new();
    cache.fetch(0, FetchStatus::Ok, "");
    assert_eq!(cache.only().status, DatasetStatus::Missing);
}

#[test]
fn the_view_shows_every_column_of_a_sample() {
    let cache = Cache::new();
    cache.fetch(2, FetchStatus::Ok, "");
    let index = cache.index();
    let columns = "id, dataset, file, label, media_type, generator_family, content_category, size, width, height, \
                   duration_seconds, codec, source_file, revision, member, \"row\", status, reason";
    let seen: String = index
        .query_row(
            &format!("SELECT json_array({columns}) FROM sample WHERE file = '000001.bmp'"),
            [],
            |row| row.get(0),
        )
        .unwrap();
    let expected = format!(
        "[\"{}\",\"cats\",\"000001.bmp\",1,\"synthetic\",\"diffusion\",\"animals\",{},1,1,null,\"bmp\",\"a.zip\",\
         \"r1\",\"1.bmp\",null,\"ok\",null]",
        crate::store::ContentHash::of(&image(1)),
        image(1).len(),
    );
    assert_eq!(seen, expected);
}

#[test]
fn files_of_an_unchanged_folder_are_not_looked_at_unless_asked() {
    let cache = Cache::new();
    cache.fetch(3, FetchStatus::Ok, "");
    cache.settle();
    let expected = cache.survey(false);
    cache.overwrite("000001.bmp", b"no image any more");
    let read = AtomicUsize::new(0);
    let report = cache.survey_counting(false, &read);
    assert_eq!((report.datasets, read.load(Ordering::Relaxed)), (expected.datasets, 0));
    let rescanned = cache.survey(true);
    assert_eq!((rescanned.read, rescanned.datasets[0].quarantined), (1, 1));
}

#[test]
fn a_change_of_a_folder_or_of_the_manifest_is_noticed() {
    let cache = Cache::new();
    cache.fetch(3, FetchStatus::Ok, "");
    fs::create_dir(cache.file("deep")).unwrap();
    fs::write(cache.file("deep/a.bmp"), image(100)).unwrap();
    for change in 0..5 {
        cache.settle();
        assert_eq!(cache.survey(false).read, 0);
        match change {
            0 => fs::write(cache.file("deep/b.bmp"), image(101)).unwrap(),
            1 => fs::remove_file(cache.file("deep/a.bmp")).unwrap(),
            2 => fs::rename(cache.file("deep"), cache.file("deeper")).unwrap(),
            3 => fs::write(cache.file("mine.bmp"), image(102)).unwrap(),
            _ => {
                let manifest = fs::read_to_string(cache.file("manifest.jsonl")).unwrap();
                fs::write(
                    cache.file("manifest.jsonl"),
                    manifest + "{\"file\": \"no.bmp\", \"group\": \"x\"}\n",
                )
                .unwrap();
            }
        }
        let report = cache.survey(false);
        let expected = [(1, 5, 0), (0, 4, 0), (1, 4, 0), (1, 5, 0), (0, 5, 1)][change];
        let unknown = report.unknown_manifest_files.len();
        assert_eq!((report.read, report.samples(), unknown), expected, "change {change}");
    }
    cache.settle();
    assert_eq!(cache.survey(false).unknown_manifest_files.len(), 1, "it is remembered");
}

#[test]
fn a_quarantined_file_is_looked_at_every_time() {
    let cache = Cache::new();
    cache.fetch(3, FetchStatus::Ok, "");
    cache.survey(false);
    let bad = cache.file("000001.bmp");
    crate::store::quarantine(cache.0.path(), &[(bad, "truncated".to_owned())]).unwrap();
    cache.settle();
    assert_eq!(cache.survey(false).quarantined.len(), 1);
    cache.overwrite("000001.bmp", &[image(1), b"repaired".to_vec()].concat());
    let report = cache.survey(false);
    assert_eq!((report.read, report.quarantined.len(), report.samples()), (1, 0, 3));
}

#[test]
fn a_folder_that_has_just_changed_is_not_trusted() {
    let cache = Cache::new();
    cache.fetch(3, FetchStatus::Ok, "");
    cache.survey(false);
    cache.overwrite("000001.bmp", b"no image any more");
    assert_eq!(cache.survey(false).quarantined.len(), 1);
}
