//! Brings the index of a dataset up to date, reading only what is new or has changed.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use sha2::{Digest, Sha256};

use crate::error::{DecodeError, Error, Result};
use crate::media_file::read_media_file;
use crate::modality::Modality;
use crate::store::files::{FileState, FoundFile, find_media, frames};
use crate::store::index::{FileRecord, Index};
use crate::store::manifest::Manifest;
use crate::store::{ContentHash, Probe, check_dataset_name, modality_folder};

/// Files between two writes of the index: what a kill in the middle of a first scan loses.
const FILES_PER_WRITE: usize = 256;

/// Bytes read at once of a file that is only hashed.
const CHUNK_BYTES: usize = 1 << 18;

/// How far a scan is.
#[derive(Debug, Clone, Copy)]
pub struct ScanProgress<'a> {
    /// The dataset that is being read.
    pub dataset: &'a str,
    /// New or changed files read so far.
    pub read: usize,
    /// New or changed files of the dataset in all.
    pub to_read: usize,
}

/// Called between reads; an error from it ends the scan. What has been read by then is kept.
pub type Progress<'a> = dyn Fn(ScanProgress<'_>) -> Result<()> + 'a;

/// A media file and what the index now knows about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedFile {
    /// Name relative to the dataset's folder.
    pub name: String,
    /// What is known.
    pub record: FileRecord,
}

/// The state of one dataset's folder.
#[derive(Debug, Clone, Default)]
pub struct DatasetScan {
    /// Every media file, sorted by name.
    pub files: Vec<ScannedFile>,
    /// How many files were read now; the others had not changed.
    pub read: usize,
    /// How many files were left alone because their extension is not one of the modality's.
    pub other_files: usize,
    /// Lines of the manifest whose file is not there: line and file.
    pub unknown_manifest_files: Vec<(usize, String)>,
    /// Whether there is a folder at all.
    pub folder_exists: bool,
}

/// Looks at every media file of a dataset and reads those that the index does not know as they are now.
///
/// A file that cannot be read, or whose header `probe` refuses, is listed with its reason. It is looked at
/// again when it has changed; one that could not even be read, every time.
///
/// # Errors
/// [`Error::Definition`] for a bad manifest, [`Error::Index`] when the index cannot be used, [`Error::Io`]
/// when the folder itself cannot be listed, and whatever `progress` returns.
pub fn scan_dataset(
    index: &mut Index,
    cache_dir: &Path,
    modality: Modality,
    dataset: &str,
    probe: &Probe<'_>,
    progress: &Progress<'_>,
) -> Result<DatasetScan> {
    check_dataset_name(dataset)?;
    let folder = modality_folder(cache_dir, modality).join(dataset);
    let found = match find_media(&folder, modality) {
        Ok(found) => found,
        // The index keeps what it knows: a disk that is not mounted comes back.
        Err(Error::NotFound { .. }) => return Ok(DatasetScan::default()),
        Err(error) => return Err(error),
    };
    let manifest = Manifest::read(&folder)?;
    let mut known = index.files(modality, dataset)?;
    let mut scan = DatasetScan {
        folder_exists: true,
        other_files: found.other_files,
        unknown_manifest_files: manifest.unknown_files(found.media.iter().map(|file| file.name.as_str())),
        ..DatasetScan::default()
    };

    let mut changed = Vec::new();
    let mut to_read = Vec::new();
    for FoundFile { name, state } in found.media {
        let group = manifest.group(&name).map(str::to_owned);
        let before = known.remove(&name);
        match (state, before) {
            (Ok(state), Some(before)) if is_unchanged(state, &before) => {
                let regrouped = before.group != group;
                let file = ScannedFile { name, record: FileRecord { group, ..before } };
                if regrouped {
                    changed.push(file.clone());
                }
                scan.files.push(file);
            }
            (Ok(state), _) => to_read.push((name, state, group)),
            (Err(reason), before) => {
                let file = ScannedFile { name, record: unreadable(FileState::UNKNOWN, reason, group) };
                if before.as_ref() != Some(&file.record) {
                    changed.push(file.clone());
                }
                scan.files.push(file);
            }
        }
    }
    let gone: Vec<&str> = known.keys().map(String::as_str).collect();
    index.update(modality, dataset, &rows(&changed), &gone)?;

    for batch in to_read.chunks(FILES_PER_WRITE) {
        progress(ScanProgress { dataset, read: scan.read, to_read: to_read.len() })?;
        let files = read_files(&folder, modality, batch, probe);
        index.update(modality, dataset, &rows(&files), &[])?;
        scan.read += files.len();
        scan.files.extend(files);
    }
    scan.files.sort_by(|first, second| first.name.cmp(&second.name));
    Ok(scan)
}

impl FileState {
    /// The state of what has no size and time, for example a folder with a file's name.
    const UNKNOWN: Self = Self { size: 0, modified_ns: 0 };
}

/// A file that could not be read has no content and never counts as unchanged: its rights may have changed.
fn is_unchanged(state: FileState, before: &FileRecord) -> bool {
    before.content.is_some() && before.size == state.size && before.modified_ns == state.modified_ns
}

fn rows(files: &[ScannedFile]) -> Vec<(&str, &FileRecord)> {
    files.iter().map(|file| (file.name.as_str(), &file.record)).collect()
}

/// Reads files in parallel, in the order in which they were asked for.
fn read_files(
    folder: &Path,
    modality: Modality,
    batch: &[(String, FileState, Option<String>)],
    probe: &Probe<'_>,
) -> Vec<ScannedFile> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(batch.len());
    let next = AtomicUsize::new(0);
    let read_next = || {
        let mut done = HashMap::new();
        loop {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some((name, state, group)) = batch.get(position) else { return done };
            let record = read_file(&folder.join(name), modality, *state, group.clone(), probe);
            done.insert(position, ScannedFile { name: name.clone(), record });
        }
    };
    let mut files: Vec<(usize, ScannedFile)> = thread::scope(|scope| {
        let workers: Vec<_> = (1..threads).map(|_| scope.spawn(read_next)).collect();
        let mut files: Vec<_> = read_next().into_iter().collect();
        for worker in workers {
            match worker.join() {
                Ok(done) => files.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        files
    });
    files.sort_unstable_by_key(|file| file.0);
    files.into_iter().map(|file| file.1).collect()
}

fn read_file(
    path: &Path,
    modality: Modality,
    state: FileState,
    group: Option<String>,
    probe: &Probe<'_>,
) -> FileRecord {
    let read = match modality {
        Modality::Image => read_image(path, probe),
        Modality::Video if path.is_dir() => hash_frames(path).map_err(|error| Error::io(path, error)),
        Modality::Video | Modality::Audio => hash_file(path).map_err(|error| Error::io(path, error)),
    };
    let FileState { size, modified_ns } = state;
    match read {
        Ok((content, Ok(dimensions))) => FileRecord {
            size,
            modified_ns,
            content: Some(content),
            dimensions,
            accepted: true,
            quarantine_reason: None,
            group,
        },
        Ok((content, Err(refusal))) => {
            FileRecord { content: Some(content), ..unreadable(state, refusal.to_string(), group) }
        }
        Err(error) => unreadable(state, format!("cannot be read: {}", error.reason()), group),
    }
}

fn unreadable(state: FileState, reason: String, group: Option<String>) -> FileRecord {
    FileRecord {
        size: state.size,
        modified_ns: state.modified_ns,
        content: None,
        dimensions: None,
        accepted: false,
        quarantine_reason: Some(reason),
        group,
    }
}

/// The content's hash, and what its header says or why it was refused.
type Content = (ContentHash, Result<Option<(u32, u32)>, DecodeError>);

fn read_image(path: &Path, probe: &Probe<'_>) -> Result<Content> {
    let mut bytes = Vec::new();
    read_media_file(path, &mut bytes)?;
    let dimensions = if bytes.is_empty() { Err(DecodeError::Empty) } else { probe(&bytes) };
    let within_u32 =
        |(width, height): (usize, usize)| u32::try_from(width).ok().zip(u32::try_from(height).ok());
    Ok((ContentHash::of(&bytes), dimensions.map(within_u32)))
}

/// The hash of the frames' hashes, in the order of their names: copies of a clip are found whatever they are called.
fn hash_frames(folder: &Path) -> std::io::Result<Content> {
    let mut hasher = Sha256::new();
    for frame in frames(folder)? {
        hasher.update(hash_file(&frame)?.0.as_bytes());
    }
    Ok((ContentHash::from_bytes(hasher.finalize().into()), Ok(None)))
}

fn hash_file(path: &Path) -> std::io::Result<Content> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut size = 0;
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        hasher.update(&chunk[..read]);
        size += read;
    }
    let accepted = if size == 0 { Err(DecodeError::Empty) } else { Ok(None) };
    Ok((ContentHash::from_bytes(hasher.finalize().into()), accepted))
}
