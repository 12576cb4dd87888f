//! Fetches that are killed at every step, and what the next run makes of them.

mod clips;
mod random;

use std::io::{self, Read};

use super::commit::STEPS;
use super::*;
use crate::archive::Origin;
use crate::modality::MediaType;
use crate::store::fetch_state::{FETCH_STATE_FILE, FetchStatus};
use crate::store::index::FileRecord;
use crate::store::manifest::MANIFEST_FILE;

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

fn origin(number: u32) -> SampleOrigin {
    let origin = Origin { row: Some(u64::from(number)), ..Origin::default() };
    SampleOrigin { source_file: "data/0.parquet".to_owned(), origin }
}

fn identity(revision: &str) -> FetchIdentity {
    FetchIdentity {
        source: "huggingface".to_owned(),
        path: "owner/cats".to_owned(),
        revision: revision.to_owned(),
        seed: 42,
        selection: "all".to_owned(),
    }
}

fn definition(modality: Modality) -> DatasetDefinition {
    DatasetDefinition {
        generator_family: Some("diffusion".to_owned()),
        ..DatasetDefinition::new("cats", "owner/cats", modality, MediaType::Synthetic)
    }
}

fn outcome(status: FetchStatus, wanted: usize) -> FetchOutcome {
    FetchOutcome {
        status,
        reason: String::new(),
        wanted,
        is_final: false,
        skipped: BTreeMap::new(),
        failures: Vec::new(),
    }
}

/// A cache of one dataset: of images, or of clips that are folders of images.
struct Cache(tempfile::TempDir, Modality);

impl Cache {
    fn new() -> Self {
        Self::of(Modality::Image)
    }

    fn of(modality: Modality) -> Self {
        Self(tempfile::tempdir().unwrap(), modality)
    }

    fn folder(&self) -> PathBuf {
        modality_folder(self.0.path(), self.1).join("cats")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn open(&self) -> Box<DatasetWriter> {
        match DatasetWriter::open(self.0.path(), &definition(self.1)).unwrap() {
            Opened::Writer(writer) => writer,
            Opened::Busy { holder } => panic!("busy: {holder}"),
        }
    }

    fn begin(&self, revision: &str) -> Box<DatasetWriter> {
        let mut writer = self.open();
        writer.begin(&identity(revision)).unwrap();
        writer
    }

    /// Fetches what is not there yet of `media`, to the end; every third medium is refused.
    fn run(&self, revision: &str, media: u32) {
        let mut writer = self.begin(revision);
        for number in 0..media {
            offer(&mut writer, number);
        }
        writer.finish(outcome(FetchStatus::Ok, media as usize)).unwrap();
    }

    fn manifest(&self) -> String {
        fs::read_to_string(self.file(MANIFEST_FILE)).unwrap_or_default()
    }

    /// All that a run leaves: files with their bytes, and the index but for times.
    fn all(&self) -> Everything {
        let mut files = BTreeMap::new();
        let mut open = vec![self.folder()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.folder()).unwrap().to_str().unwrap().to_owned();
                if path.is_dir() {
                    open.push(path);
                } else if name != FETCH_STATE_FILE {
                    files.insert(name, fs::read(path).unwrap());
                }
            }
        }
        let state = FetchState::read(&self.folder()).unwrap().unwrap();
        let rows = Index::open(self.0.path()).unwrap().files(self.1, "cats").unwrap();
        let rows = rows.into_iter().map(|(name, record)| (name, FileRecord { modified_ns: 0, ..record }));
        (files, FetchState { finished_at: None, ..state }, rows.collect())
    }
}

type Everything = (BTreeMap<String, Vec<u8>>, FetchState, BTreeMap<String, FileRecord>);

fn is_refused(number: u32) -> bool {
    number % 3 == 2
}

/// What a fetch does with one medium.
fn offer(writer: &mut DatasetWriter, number: u32) {
    if writer.is_known(&origin(number)) || writer.is_refused(&origin(number)) {
        return;
    }
    if is_refused(number) {
        let refusal = writer.stager().stage(&mut &b"<html>"[..]).unwrap().unwrap_err();
        writer.refuse(origin(number), refusal.reason).unwrap();
        return;
    }
    let staged = match writer.modality() {
        Modality::Video => clips::stage(&writer.stager(), &clips::frames(number)),
        _ => writer.stager().stage(&mut image(number).as_slice()).unwrap().unwrap(),
    };
    let group = number.is_multiple_of(2).then(|| format!("cats:data/0.parquet:{number}"));
    writer.accept(staged, origin(number), group).unwrap();
}

fn undisturbed(media: u32) -> Everything {
    undisturbed_of(Modality::Image, media)
}

fn undisturbed_of(modality: Modality, media: u32) -> Everything {
    let cache = Cache::of(modality);
    cache.run("r1", media);
    cache.all()
}

#[test]
fn what_is_fetched_lies_numbered_beside_its_manifest_and_in_the_index() {
    let (files, state, rows) = undisturbed(4);
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        ["000000.bmp", "000001.bmp", "000002.bmp", "manifest.jsonl"]
    );
    assert_eq!(files["000002.bmp"], image(3));
    let content = crate::store::ContentHash::of(&image(1));
    let lines = String::from_utf8(files["manifest.jsonl"].clone()).unwrap();
    let expected = format!(
        "{{\"file\":\"000001.bmp\",\"sha256\":\"{content}\",\"source\":\"data/0.parquet\",\"row\":1,\"revision\":\"r1\"}}"
    );
    assert_eq!(lines.lines().nth(1), Some(expected.as_str()));
    assert!(lines.lines().next().unwrap().ends_with(",\"group\":\"cats:data/0.parquet:0\"}"));
    let expected = FileRecord {
        size: image(1).len() as u64,
        content: Some(content),
        dimensions: Some((1, 1)),
        codec: Some("bmp".to_owned()),
        accepted: true,
        origin: Some(origin(1)),
        ..FileRecord::default()
    };
    assert_eq!(rows["000001.bmp"], expected);
    assert_eq!((state.samples, state.wanted, state.status), (3, Some(4), FetchStatus::Ok));
    assert_eq!(state.refused.len(), 1);
    assert_eq!(state.refused[0].origin, origin(2));
    assert!(state.refused[0].reason.starts_with("not a known image format"), "{}", state.refused[0].reason);
}

#[test]
fn a_kill_between_any_two_steps_of_a_commit_changes_nothing_in_the_end() {
    kill_between_steps(Modality::Image);
}

fn kill_between_steps(modality: Modality) {
    let expected = undisturbed_of(modality, 9);
    for steps in 0..=STEPS.len() {
        let cache = Cache::of(modality);
        let mut writer = cache.begin("r1");
        (0..4).for_each(|number| offer(&mut writer, number));
        writer.commit().unwrap();
        (4..7).for_each(|number| offer(&mut writer, number));
        STEPS[..steps].iter().for_each(|step| step(&mut writer).unwrap());
        // A killed process removes no temporary files.
        std::mem::forget(std::mem::take(&mut writer.session.as_mut().unwrap().pending));
        drop(writer);
        let resumed = cache.begin("r1");
        let committed = resumed.committed().len();
        assert_eq!(committed, if steps < 5 { 3 } else { 5 }, "after {steps} steps");
        assert!(!cache.file(STAGING_FOLDER).exists());
        drop(resumed);
        cache.run("r1", 9);
        assert_eq!(cache.all(), expected, "after {steps} steps");
    }
}

#[test]
fn a_manifest_that_was_cut_anywhere_goes_on_from_its_last_whole_line() {
    let expected = undisturbed(4);
    let whole = expected.0["manifest.jsonl"].clone();
    for length in (0..whole.len()).step_by(17) {
        let cache = Cache::new();
        cache.run("r1", 4);
        let zeros = if length % 2 == 0 { vec![] } else { b"\0\0\n\0".to_vec() };
        fs::write(cache.file(MANIFEST_FILE), [&whole[..length], &zeros].concat()).unwrap();
        cache.run("r1", 4);
        assert_eq!(cache.all(), expected, "cut to {length} bytes");
    }
}

#[test]
fn a_file_that_is_gone_or_damaged_comes_back_under_its_name() {
    let expected = undisturbed(10);
    let cache = Cache::new();
    cache.run("r1", 10);
    fs::remove_file(cache.file("000001.bmp")).unwrap();
    fs::write(cache.file("000003.bmp"), &image(7)[..60]).unwrap();
    let writer = cache.begin("r1");
    assert_eq!(writer.committed().len(), 5);
    assert!(writer.is_known(&origin(0)) && !writer.is_known(&origin(1)) && !writer.is_known(&origin(4)));
    drop(writer);
    assert!(cache.file("000002.bmp").exists(), "what follows a gap stays");
    cache.run("r1", 10);
    assert_eq!(cache.all(), expected);
}

#[test]
fn a_medium_that_comes_back_as_another_one_has_its_line_changed() {
    let cache = Cache::new();
    cache.run("r1", 5);
    let before = cache.manifest();
    fs::remove_file(cache.file("000001.bmp")).unwrap();
    fs::write(cache.file(MANIFEST_FILE), "{\"file\": \"mine.png\", \"group\": \"x\"}\n".to_owned() + &before)
        .unwrap();
    let mut writer = cache.begin("r1");
    let staged = writer.stager().stage(&mut image(77).as_slice()).unwrap().unwrap();
    writer.accept(staged, origin(1), None).unwrap();
    offer(&mut writer, 6);
    writer.commit().unwrap();
    writer.finish(outcome(FetchStatus::Ok, 5)).unwrap();
    let after = cache.manifest();
    let lines: Vec<&str> = after.lines().collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0], "{\"file\": \"mine.png\", \"group\": \"x\"}");
    assert!(lines[2].contains(&crate::store::ContentHash::of(&image(77)).to_string()), "{}", lines[2]);
    assert_eq!(lines[1], before.lines().next().unwrap());
    let writer = cache.begin("r1");
    assert_eq!(writer.committed().len(), 5);
}

#[test]
fn another_identity_starts_over_and_leaves_a_persons_files_and_lines_alone() {
    let cache = Cache::new();
    cache.run("r1", 10);
    fs::write(cache.file("mine.bmp"), image(1000)).unwrap();
    let mine = "{\"file\": \"mine.bmp\", \"group\": \"my own\"}\n";
    fs::write(cache.file(MANIFEST_FILE), cache.manifest() + mine.trim_end()).unwrap();
    let mut writer = cache.begin("r2");
    assert_eq!((writer.committed(), cache.manifest().as_str()), (&[][..], mine));
    offer(&mut writer, 1);
    writer.finish(outcome(FetchStatus::Ok, 1)).unwrap();
    let (files, state, rows) = cache.all();
    assert_eq!(files.keys().collect::<Vec<_>>(), ["000000.bmp", "manifest.jsonl", "mine.bmp"]);
    assert_eq!(state.identity, Some(identity("r2")));
    assert_eq!(rows["mine.bmp"].group.as_deref(), Some("my own"));
    assert_eq!(rows.len(), 2);
}

#[test]
fn a_kill_while_starting_over_leaves_nothing_of_either_fetch() {
    let expected = undisturbed(4);
    let cache = Cache::new();
    cache.run("r0", 8);
    // The manifest's lines are gone, the files are not yet.
    fs::remove_file(cache.file(MANIFEST_FILE)).unwrap();
    fs::remove_file(cache.file("000001.bmp")).unwrap();
    cache.run("r1", 4);
    assert_eq!(cache.all(), expected);
}

#[test]
fn a_folder_filled_by_hand_is_foreign_and_stays_as_it_is() {
    let cache = Cache::new();
    fs::create_dir_all(cache.folder()).unwrap();
    assert!(!cache.open().is_foreign().unwrap(), "nothing is in it");
    fs::write(cache.file("000000.bmp"), image(0)).unwrap();
    let mut writer = cache.open();
    assert!(writer.is_foreign().unwrap());
    let refused = writer.begin(&identity("r1")).unwrap_err().to_string();
    assert!(refused.contains("not fetched"), "{refused}");
    assert!(writer.finish(outcome(FetchStatus::Gated, 1)).is_err());
    assert_eq!(fs::read_dir(cache.folder()).unwrap().count(), 1);
}

#[test]
fn a_gated_dataset_says_so_and_media_put_in_by_hand_stay_foreign() {
    let cache = Cache::new();
    let reason = "ask at https://example.org/owner/cats".to_owned();
    cache.open().finish(FetchOutcome { reason: reason.clone(), ..outcome(FetchStatus::Gated, 500) }).unwrap();
    let state = cache.open().state().cloned().unwrap();
    assert_eq!((state.status, state.reason, state.identity), (FetchStatus::Gated, reason, None));
    fs::write(cache.file("000000.bmp"), image(0)).unwrap();
    assert!(cache.open().is_foreign().unwrap());
    assert!(cache.file("000000.bmp").exists());
}

#[test]
fn two_openers_exclude_each_other() {
    let cache = Cache::new();
    let writer = cache.begin("r1");
    let Opened::Busy { holder } = DatasetWriter::open(cache.0.path(), &definition(cache.1)).unwrap() else {
        panic!("opened twice")
    };
    assert!(holder.starts_with(&format!("process {} on ", std::process::id())), "{holder}");
    drop(writer);
    assert!(modality_folder(cache.0.path(), Modality::Image).join(".cats.lock").exists());
    cache.open();
}

#[test]
fn a_commit_that_fails_may_be_made_again_and_leaves_no_line_twice() {
    let cache = Cache::new();
    let mut writer = cache.begin("r1");
    offer(&mut writer, 0);
    writer.commit().unwrap();
    offer(&mut writer, 1);
    let whole = cache.manifest();
    // Nobody can write to a folder as to a file, root included.
    fs::rename(cache.file(MANIFEST_FILE), cache.file("aside")).unwrap();
    fs::create_dir(cache.file(MANIFEST_FILE)).unwrap();
    assert!(writer.commit().is_err());
    fs::remove_dir(cache.file(MANIFEST_FILE)).unwrap();
    fs::rename(cache.file("aside"), cache.file(MANIFEST_FILE)).unwrap();
    assert_eq!(cache.manifest(), whole);
    offer(&mut writer, 3);
    // What a full disk leaves of a line, and a state that cannot be written.
    writer.write_first_steps(5);
    fs::write(cache.file(MANIFEST_FILE), cache.manifest() + "{\"file\":\"0000").unwrap();
    (4..10).for_each(|number| offer(&mut writer, number));
    writer.finish(outcome(FetchStatus::Ok, 10)).unwrap();
    let expected = undisturbed(10);
    assert_eq!(cache.manifest().into_bytes(), expected.0["manifest.jsonl"]);
}

impl DatasetWriter {
    fn write_first_steps(&mut self, count: usize) {
        STEPS[..count].iter().for_each(|step| step(self).unwrap());
    }
}

#[test]
fn a_manifest_that_a_person_writes_to_meanwhile_is_not_cut() {
    let cache = Cache::new();
    let mut writer = cache.begin("r1");
    offer(&mut writer, 0);
    writer.commit().unwrap();
    offer(&mut writer, 1);
    let edited = cache.manifest() + "{\"file\": \"mine.bmp\", \"group\": \"x\"}\n";
    fs::write(cache.file(MANIFEST_FILE), &edited).unwrap();
    let refused = writer.commit().unwrap_err().to_string();
    assert!(refused.contains("somebody else has written to it"), "{refused}");
    drop(writer);
    assert_eq!(cache.manifest(), edited);
    let mut writer = cache.begin("r1");
    offer(&mut writer, 1);
    writer.commit().unwrap();
    assert_eq!(writer.committed().len(), 2);
}

#[test]
fn a_manifest_that_is_spoilt_in_the_middle_is_refused_with_its_line() {
    let cache = Cache::new();
    cache.run("r1", 5);
    fs::write(cache.file(MANIFEST_FILE), cache.manifest().replacen("{\"file\":\"000001", "{file:000001", 1))
        .unwrap();
    let refused = cache.open().begin(&identity("r1")).unwrap_err().to_string();
    assert!(refused.contains("manifest.jsonl:2: "), "{refused}");
    assert!(cache.file("000001.bmp").exists());
}

#[test]
fn what_another_process_sees_of_a_running_fetch_is_no_error() {
    let cache = Cache::new();
    let mut writer = cache.begin("r1");
    offer(&mut writer, 0);
    writer.commit().unwrap();
    offer(&mut writer, 1);
    writer.write_first_steps(3);
    let text = cache.manifest();
    fs::write(cache.file(MANIFEST_FILE), text + "{\"file\":\"000001.b").unwrap();
    let mut index = Index::open(cache.0.path()).unwrap();
    let probe = |_: &[u8]| Ok((1, 1));
    let scan =
        crate::store::scan_dataset(&mut index, cache.0.path(), Modality::Image, "cats", &probe, &|_| Ok(()));
    let scan = scan.unwrap();
    assert_eq!(scan.files.len(), 2);
    assert_eq!(scan.files[0].record.origin, Some(origin(0)));
    assert_eq!(scan.files[1].record.origin, None);
}

#[test]
fn commits_come_by_themselves() {
    let cache = Cache::new();
    let mut writer = cache.begin("r1");
    for number in (0..).filter(|number| !is_refused(*number)).take(SAMPLES_PER_COMMIT) {
        assert_eq!(writer.committed().len(), 0);
        offer(&mut writer, number);
    }
    assert_eq!(writer.committed().len(), SAMPLES_PER_COMMIT);
    assert_eq!(cache.manifest().lines().count(), SAMPLES_PER_COMMIT);
}

/// A body that breaks off.
struct Broken(&'static [u8]);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match std::mem::take(&mut self.0) {
            [] => Err(Error::Stopped.into_io()),
            mut bytes => bytes.read(buffer),
        }
    }
}

#[test]
fn what_cannot_be_staged_leaves_no_file() {
    let cache = Cache::new();
    let writer = cache.begin("r1");
    let stager = writer.stager();
    assert!(matches!(stager.stage(&mut Broken(b"BM")), Err(Error::Stopped)));
    let refusal = stager.stage(&mut &b""[..]).unwrap().unwrap_err();
    assert_eq!(refusal.reason, "the file is empty");
    drop(stager.stage(&mut image(0).as_slice()).unwrap().unwrap());
    assert_eq!(fs::read_dir(cache.file(STAGING_FOLDER)).unwrap().count(), 0);
}
