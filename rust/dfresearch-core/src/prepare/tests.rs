//! Runs that are disturbed, against runs that are not: the same hub, kept in memory, behind a small server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::plan::{SourceFiles, choose_files};
use super::*;
use crate::error::FetchErrorKind;
use crate::http::Request;
use crate::http::test_server::{Answer, TestServer};
use crate::hub::{Checksum, RemoteEntry};
use crate::modality::{MediaType, Modality};
use crate::store::{FetchState, modality_folder};

const SEED: u64 = 42;

/// So many samples are committed before the next source file is asked for.
const COMMITTED: u32 = 64;

/// A BMP of one pixel that is another one for each number.
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

fn zip_of(media: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, content) in media {
        writer.start_file(name, stored).unwrap();
        writer.write_all(&content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A zip archive of so many images, which are other ones for each `first`.
fn archive(first: u32, count: u32) -> Vec<u8> {
    zip_of((first..first + count).map(|number| (format!("{number}.bmp"), image(number))))
}

/// What a request for a file is answered with in place of its content.
type Trouble = Box<dyn Fn(&str) -> Option<Answer> + Send + Sync>;

/// A repository with its server, a definition of it, and a folder with caches.
struct Place {
    folder: tempfile::TempDir,
    files: Arc<BTreeMap<String, Vec<u8>>>,
    server: TestServer,
    trouble: Arc<Mutex<Trouble>>,
    /// Why the repository says nothing.
    unreachable: Mutex<Option<FetchErrorKind>>,
    definition: DatasetDefinition,
}

struct FakeHub {
    entries: Vec<RemoteEntry>,
    base: String,
    unreachable: Option<FetchErrorKind>,
}

impl Hub for FakeHub {
    fn resolve(&self, repository: &str, _: Option<&str>) -> Result<String> {
        self.unreachable.map_or_else(|| Ok(revision()), |kind| Err(Error::fetch(repository, kind, "a test")))
    }

    fn list(&self, repository: &str, asked: &str, keep: &dyn Fn(&str) -> bool) -> Result<Vec<RemoteEntry>> {
        assert!(!repository.contains("panic"), "the panic of a test");
        self.resolve(repository, None)?;
        if asked != revision() {
            return Err(Error::fetch(repository, FetchErrorKind::NotFound, "no such revision"));
        }
        Ok(self.entries.iter().filter(|entry| keep(&entry.path)).cloned().collect())
    }

    fn request(&self, _: &str, _: &str, entry: &RemoteEntry) -> Result<Request> {
        Ok(Request::new(format!("{}{}", self.base, entry.path)))
    }

    fn page(&self, repository: &str) -> String {
        repository.to_owned()
    }
}

fn paths_in_order(definition: &DatasetDefinition, entries: Vec<RemoteEntry>) -> Vec<String> {
    match choose_files(definition, entries, SEED).unwrap() {
        SourceFiles::Media(media) => media.into_iter().map(|entry| entry.path).collect(),
        SourceFiles::Archives(archives) => archives.into_iter().map(|file| file.entry.path).collect(),
        SourceFiles::Frames(folders) => panic!("{folders:?}"),
    }
}

fn revision() -> String {
    "a".repeat(40)
}

impl Place {
    /// `files` by their numbers in the order in which they are read.
    fn new(extension: &str, files: Vec<Vec<u8>>) -> Self {
        let definition = DatasetDefinition {
            source_format: Some(extension.to_owned()),
            ..DatasetDefinition::new("cats", "owner/cats", Modality::Image, MediaType::Synthetic)
        };
        let names = (0..files.len()).map(|number| format!("{number}.{extension}"));
        let entries = names.map(|path| RemoteEntry { path, size: 1, checksum: None }).collect();
        let order = paths_in_order(&definition, entries);
        let files: Arc<BTreeMap<_, _>> = Arc::new(order.into_iter().zip(files).collect());
        let trouble: Arc<Mutex<Trouble>> = Arc::new(Mutex::new(Box::new(|_| None)));
        let (served, troubled) = (files.clone(), trouble.clone());
        let server = TestServer::start(move |request, _| {
            let path = request.target.trim_start_matches('/');
            let answer = (troubled.lock().unwrap())(path);
            answer.unwrap_or_else(|| Answer::file(request, &served[path], Some("\"one\"")))
        });
        let (folder, unreachable) = (tempfile::tempdir().unwrap(), Mutex::new(None));
        Self { folder, files, server, trouble, unreachable, definition }
    }

    /// The path of a file by its number in the order in which they are read.
    fn path(&self, number: usize) -> String {
        paths_in_order(&self.definition, self.entries()).swap_remove(number)
    }

    fn entries(&self) -> Vec<RemoteEntry> {
        let entry = |(path, content): (&String, &Vec<u8>)| RemoteEntry {
            path: path.clone(),
            size: content.len() as u64,
            checksum: Some(Checksum::Sha256(Sha256::digest(content).into())),
        };
        self.files.iter().map(entry).collect()
    }

    fn cache(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn options(&self, cache: &str) -> PrepareOptions {
        PrepareOptions {
            cache_dir: self.cache(cache),
            max_samples: 10_000,
            workers: 1,
            seed: SEED,
            retry: false,
            max_disk_bytes: None,
            http: HttpSettings {
                connect_timeout: Duration::from_secs(20),
                stall_timeout: Duration::from_secs(20),
                attempts: 1,
                first_delay: Duration::from_millis(1),
            },
        }
    }

    fn run(&self, options: &PrepareOptions) -> Result<DatasetOutcome> {
        self.run_until(options, &StopFlag::default())
    }

    fn run_until(&self, options: &PrepareOptions, stop: &StopFlag) -> Result<DatasetOutcome> {
        let definitions = std::slice::from_ref(&self.definition);
        self.run_all(definitions, options, stop).map(|mut outcomes| outcomes.remove(0))
    }

    fn run_all(
        &self,
        definitions: &[DatasetDefinition],
        options: &PrepareOptions,
        stop: &StopFlag,
    ) -> Result<Vec<DatasetOutcome>> {
        let connect = |_: Source, _: &HttpClient| -> Result<Box<dyn Hub>> {
            let unreachable = *self.unreachable.lock().unwrap();
            Ok(Box::new(FakeHub { entries: self.entries(), base: self.server.url("/"), unreachable }))
        };
        prepare_from(&connect, definitions, options, stop, &mut |_| Ok(()))
    }

    fn cause(&self, trouble: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static) {
        *self.trouble.lock().unwrap() = Box::new(trouble);
    }

    /// Files by number that answer with a status, until the next trouble.
    fn fail(&self, failing: &[(usize, u16)]) {
        let failing: Vec<(String, u16)> =
            failing.iter().map(|&(number, status)| (self.path(number), status)).collect();
        self.cause(move |path| {
            let (_, status) = failing.iter().find(|(failing, _)| failing == path)?;
            Some(Answer::new(*status, ""))
        });
    }

    /// As [`Place::fail`], and when a file is asked for, the cache is copied as a kill would leave it.
    fn fail_and_kill_at(&self, cache: &str, failing: &[(usize, u16)], number: usize, copy: &str) {
        self.fail(failing);
        let fails = std::mem::replace(&mut *self.trouble.lock().unwrap(), Box::new(|_| None));
        let (path, from, to) = (self.path(number), self.cache(cache), self.cache(copy));
        self.cause(move |asked| {
            if asked == path && !to.exists() {
                copy_folder(&from, &to);
            }
            fails(asked)
        });
    }

    fn dataset(&self, cache: &str) -> PathBuf {
        modality_folder(&self.cache(cache), Modality::Image).join("cats")
    }

    fn state(&self, cache: &str) -> FetchState {
        FetchState::read(&self.dataset(cache)).unwrap().unwrap()
    }

    /// The media's names and bytes, the manifest among them.
    fn media(&self, cache: &str) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(self.dataset(cache)).unwrap().map(|entry| entry.unwrap());
        let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
        let media = named.filter(|(name, path)| !name.starts_with('.') && path.is_file());
        media.map(|(name, path)| (name, fs::read(path).unwrap())).collect()
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Three archives, each of which gives a commit.
fn three_archives() -> Place {
    Place::new("zip", (0..3).map(|number| archive(number * 1000, COMMITTED)).collect())
}

#[test]
fn an_archive_that_was_passed_over_before_a_kill_is_told_of_by_the_next_run() {
    let place = three_archives();
    place.fail_and_kill_at("undisturbed", &[(0, 404)], 2, "killed");
    let undisturbed = place.run(&place.options("undisturbed")).unwrap();
    assert_eq!(undisturbed.status, OutcomeStatus::Partial);
    assert_eq!(undisturbed.samples, 2 * COMMITTED as usize);

    let killed = place.run(&place.options("killed")).unwrap();
    assert_eq!(killed, DatasetOutcome { bytes: killed.bytes, ..undisturbed });
    assert_eq!(place.state("killed").failures, place.state("undisturbed").failures);
    assert_eq!(place.media("killed"), place.media("undisturbed"));
}

#[test]
fn an_archive_that_came_in_the_end_is_no_failure_after_a_kill() {
    let place = three_archives();
    place.fail(&[(0, 503)]);
    assert_eq!(place.run(&place.options("killed")).unwrap().status, OutcomeStatus::Failed);
    place.fail_and_kill_at("killed", &[], 2, "rest");
    assert_eq!(place.run(&place.options("killed")).unwrap().status, OutcomeStatus::Ok);
    let rest = place.run(&place.options("rest")).unwrap();
    assert_eq!((rest.status, rest.reason.as_str()), (OutcomeStatus::Ok, "all there is: 192 of 10000"));
    assert_eq!(place.media("rest"), place.media("killed"));
}

#[test]
fn what_archives_held_besides_media_is_counted_whatever_happens() {
    let mut files: Vec<Vec<u8>> = (0..3).map(|number| archive(number * 1000, COMMITTED)).collect();
    // An image whose bytes contradict their checksum, before the run is ended and after it.
    for number in [0, 2] {
        let at = files[number].windows(2).position(|bytes| bytes == *b"BM").unwrap();
        files[number][at + 2] ^= 1;
    }
    let place = Place::new("zip", files);
    place.fail_and_kill_at("undisturbed", &[], 1, "killed");
    let undisturbed = place.run(&place.options("undisturbed")).unwrap();
    assert!(undisturbed.reason.ends_with("2 skipped: corrupt"), "{}", undisturbed.reason);
    let few = PrepareOptions { max_samples: 70, ..place.options("raised") };
    assert_eq!(place.run(&few).unwrap().status, OutcomeStatus::Ok);
    for cache in ["killed", "raised"] {
        let outcome = place.run(&place.options(cache)).unwrap();
        assert_eq!(outcome, DatasetOutcome { bytes: outcome.bytes, ..undisturbed.clone() });
        assert_eq!(place.state(cache).skipped, place.state("undisturbed").skipped);
        assert_eq!(place.media(cache), place.media("undisturbed"));
    }
    assert_eq!(place.run(&place.options("undisturbed")).unwrap().reason, undisturbed.reason);
}

#[test]
fn a_run_without_a_network_forgets_no_failure() {
    let place = three_archives();
    place.fail(&[(0, 404), (2, 503)]);
    assert_eq!(place.run(&place.options("cache")).unwrap().status, OutcomeStatus::Partial);
    *place.unreachable.lock().unwrap() = Some(FetchErrorKind::Unavailable);
    let without = place.run(&place.options("cache")).unwrap();
    assert_eq!((without.status, without.samples), (OutcomeStatus::Partial, COMMITTED as usize));
    *place.unreachable.lock().unwrap() = None;
    place.fail(&[(0, 404)]);
    let outcome = place.run(&place.options("cache")).unwrap();
    assert_eq!((outcome.status, outcome.samples), (OutcomeStatus::Partial, 2 * COMMITTED as usize));
    assert!(outcome.reason.contains(&place.path(0)), "{}", outcome.reason);
}

#[test]
fn an_interruption_is_no_failure_of_the_file_that_it_met() {
    for (extension, files) in
        [("zip", vec![archive(0, 3), archive(10, 3)]), ("bmp", vec![image(1), image(2), image(3)])]
    {
        let place = Place::new(extension, files);
        let (stop, path) = (StopFlag::default(), place.path(1));
        let raised = stop.clone();
        place.cause(move |asked| {
            if asked == path {
                raised.stop();
            }
            None
        });
        assert!(matches!(place.run_until(&place.options("cache"), &stop), Err(Error::Stopped)));
        assert_eq!(place.state("cache").failures, []);
        // One outage is not the second in a row.
        place.fail(&[(1, 503)]);
        let outcome = place.run(&place.options("cache")).unwrap();
        assert!(!place.state("cache").is_final, "{outcome:?}");
        place.fail(&[]);
        assert_eq!(place.run(&place.options("cache")).unwrap().status, OutcomeStatus::Ok);
    }
}

#[test]
fn a_refusal_that_a_kill_has_taken_is_found_again() {
    let media = vec![image(1), b"no image".to_vec(), image(3), image(4)];
    let place = Place::new("bmp", media);
    place.fail(&[(3, 503)]);
    assert_eq!(place.run(&place.options("cache")).unwrap().samples, 2);
    assert_eq!(place.state("cache").refused.len(), 1);
    // As between the manifest and the state of one commit.
    let path = place.dataset("cache").join(".fetch.json");
    let mut state: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    state["refused"] = serde_json::json!([]);
    state["failures"] = serde_json::json!([]);
    fs::write(&path, state.to_string()).unwrap();
    place.fail(&[]);
    let outcome = place.run(&place.options("cache")).unwrap();
    assert_eq!((outcome.status, outcome.samples), (OutcomeStatus::Ok, 3), "{}", outcome.reason);
    assert_eq!(place.state("cache").refused.len(), 1);
}

/// An archive that is too large to be fetched whole before it is read.
fn large_archive(first: u32) -> Vec<u8> {
    let media = (first..first + 40).map(|number| {
        let mut content = image(number);
        content.resize(300_000, 7);
        (format!("{number}.bmp"), content)
    });
    zip_of(media)
}

#[test]
fn an_archive_with_a_wrong_checksum_takes_only_itself_away() {
    let place = Place::new("zip", vec![archive(0, 5), large_archive(1000), archive(2000, 5)]);
    let (path, mut wrong) = (place.path(1), place.files[&place.path(1)].clone());
    // In the content of a medium, where nothing but the checksum tells.
    let at = wrong.windows(5).position(|bytes| bytes == [7; 5]).unwrap();
    wrong[at] = 8;
    let mut samples = Vec::new();
    place.cause(move |asked| (asked == path).then(|| Answer::new(200, wrong.clone())));
    for _ in 0..3 {
        samples.push(place.run(&place.options("cache")).unwrap().samples);
    }
    assert_eq!(samples.last(), Some(&10), "{samples:?}");
    assert!(place.state("cache").failures.iter().any(|(path, _)| *path == place.path(1)));
    place.fail(&[]);
    let again = PrepareOptions { retry: true, ..place.options("cache") };
    let outcome = place.run(&again).unwrap();
    assert_eq!((outcome.status, outcome.samples), (OutcomeStatus::Ok, 50), "{}", outcome.reason);
}

#[test]
fn a_panic_is_one_datasets_failure() {
    let place = three_archives();
    let definitions = [
        DatasetDefinition {
            name: "dogs".to_owned(),
            path: "owner/panic".to_owned(),
            ..place.definition.clone()
        },
        place.definition.clone(),
    ];
    let options = place.options("cache");
    let outcomes = place.run_all(&definitions, &options, &StopFlag::default()).unwrap();
    assert_eq!(outcomes[0].status, OutcomeStatus::Failed);
    assert!(outcomes[0].reason.contains("panic"), "{}", outcomes[0].reason);
    assert_eq!((outcomes[1].status, outcomes[1].samples), (OutcomeStatus::Ok, 3 * COMMITTED as usize));
}

#[test]
fn samples_of_an_earlier_definition_stay_until_there_are_new_ones() {
    let mut place = three_archives();
    assert_eq!(place.run(&place.options("cache")).unwrap().status, OutcomeStatus::Ok);
    let before = place.media("cache");
    place.definition.media_per_archive = Some(10);
    for kind in [FetchErrorKind::Unavailable, FetchErrorKind::NotFound] {
        *place.unreachable.lock().unwrap() = Some(kind);
        let outcome = place.run(&place.options("cache")).unwrap();
        assert_eq!((outcome.status, outcome.samples), (OutcomeStatus::Partial, before.len() - 1));
        assert_eq!(place.media("cache"), before);
    }
    *place.unreachable.lock().unwrap() = None;
    // What is listed and cannot be had, for the source's reasons or for want of room, removes nothing either.
    place.fail(&[(0, 503), (1, 503), (2, 503)]);
    let full = PrepareOptions { max_disk_bytes: Some(1), ..place.options("cache") };
    for options in [place.options("cache"), full] {
        let outcome = place.run(&options).unwrap();
        assert_eq!((outcome.status, outcome.samples), (OutcomeStatus::Partial, before.len() - 1));
        assert_eq!(place.media("cache"), before);
        place.fail(&[]);
    }
    assert_eq!(place.run(&place.options("cache")).unwrap().samples, 30);
}
