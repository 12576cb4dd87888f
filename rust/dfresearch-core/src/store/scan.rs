//! Brings the index of a dataset up to date, reading only what is new or has changed.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use crate::decode::video::frame_files;
use crate::error::{DecodeError, Error, Result};
use crate::media_file::read_media_file;
use crate::modality::Modality;
use crate::store::fetch_state::{FetchState, SampleOrigin};
use crate::store::files::{FileState, FolderState, FoundFile, find_media, media_state, optional_file_state};
use crate::store::index::{DatasetRow, FileRecord, Index, ManifestGap, ScanMemory};
use crate::store::manifest::{MANIFEST_FILE, Manifest};
use crate::store::probe::{MediaProperties, image_codec, probe as media_probe};
use crate::store::{ContentHash, Probe, check_dataset_name, modality_folder};

/// Files between two writes of the index: what a kill in the middle of a first scan loses.
const FILES_PER_WRITE: usize = 256;

/// Bytes read at once of a file that is only hashed.
const CHUNK_BYTES: usize = 1 << 18;

/// As much of an image as is read to see its format.
const HEAD_BYTES: u64 = 4096;

/// How long a folder must have been left alone before a scan for the next one to trust it: the clocks of file systems
/// are as coarse as this.
const SETTLING_TIME: Duration = Duration::from_secs(2);

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
#[derive(Debug, Clone, PartialEq)]
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
    /// Lines of a person's in the manifest whose file is not there: line and file.
    pub unknown_manifest_files: Vec<(usize, String)>,
    /// How many files that were fetched are not there any more.
    pub gone: usize,
    /// Whether there is a folder at all.
    pub folder_exists: bool,
}

/// A file that has to be read: its name and state, and what the manifest says of it.
struct Unread {
    name: String,
    state: FileState,
    group: Option<String>,
    origin: Option<SampleOrigin>,
}

/// Looks at every media file of a dataset and reads those that the index does not know as they are now.
///
/// A file that cannot be read, or whose header is refused, is listed with its reason. It is looked at
/// again when it has changed; one that could not even be read, every time. The headers of images are left to `probe`,
/// those of video and sound are read by [`probe`](crate::store::probe).
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
    let began = SystemTime::now();
    // Before the folder is listed: a file that a fetch adds in between is not taken for one that is gone.
    let mut known = index.known_files(modality, dataset)?;
    let manifest_state = optional_file_state(&folder.join(MANIFEST_FILE));
    let found = match find_media(&folder, modality) {
        Ok(found) => found,
        // The index keeps what it knows: a disk that is not mounted comes back.
        Err(Error::NotFound { .. }) => return Ok(DatasetScan::default()),
        Err(error) => return Err(error),
    };
    let manifest = Manifest::read(&folder)?;
    let fetch = FetchState::read(&folder)?;
    let gaps: Vec<ManifestGap> = manifest
        .unknown_files(found.media.iter().map(|file| file.name.as_str()))
        .into_iter()
        .map(|(line, file, fetched)| ManifestGap { line, file, fetched })
        .collect();
    let mut scan = DatasetScan {
        folder_exists: true,
        other_files: found.other_files,
        unknown_manifest_files: unknown_files(&gaps),
        gone: gaps.iter().filter(|gap| gap.fetched).count(),
        ..DatasetScan::default()
    };

    let mut changed = Vec::new();
    let mut to_read = Vec::new();
    for FoundFile { name, state } in found.media {
        let group = manifest.group(&name).map(str::to_owned);
        let origin = manifest.origin(&name).cloned();
        let before = known.remove(&name);
        match (state, before) {
            (Ok(state), Some(before)) if is_unchanged(state, &before.record) => {
                let mut is_new = false;
                let mut record = before.record;
                if !before.is_probed {
                    record = probe_again(record, modality, &folder.join(&name));
                    is_new = true;
                }
                is_new |= record.group != group || record.origin != origin;
                let file = ScannedFile { name, record: FileRecord { group, origin, ..record } };
                if is_new {
                    changed.push(file.clone());
                }
                scan.files.push(file);
            }
            (Ok(state), _) => to_read.push(Unread { name, state, group, origin }),
            (Err(reason), before) => {
                let record = FileRecord { origin, ..unreadable(FileState::UNKNOWN, reason, group) };
                let file = ScannedFile { name, record };
                if before.is_none_or(|before| before.record != file.record) {
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
    index.set_fetch(modality, dataset, fetch.as_ref())?;
    let is_settled = is_settled(&found.folders, manifest_state, began);
    let memory = ScanMemory {
        other_files: scan.other_files,
        manifest: manifest_state,
        folders: found.folders,
        gaps,
        is_settled,
    };
    index.remember_scan(modality, dataset, &memory)?;
    Ok(scan)
}

/// Whether the index knows a dataset's files without a look at them: no folder has changed since they were scanned, nor
/// has the manifest, and those that are not used are as they were.
///
/// A file that is overwritten in place changes no folder. It is noticed with the folder's next change, by a scan that
/// looks at every file, or when it does not decode.
pub(crate) fn is_unchanged_dataset(
    index: &Index,
    row: &DatasetRow,
    folder: &Path,
    modality: Modality,
) -> Result<bool> {
    if !row.is_settled_with(optional_file_state(&folder.join(MANIFEST_FILE))) {
        return Ok(false);
    }
    let folders = index.folders(row.id)?;
    let as_before =
        |before: &FolderState| FolderState::read(folder, &before.name).is_ok_and(|now| now == *before);
    if folders.is_empty() || !folders.iter().all(as_before) {
        return Ok(false);
    }
    let quarantined = index.quarantined_files(row.id)?;
    let is_same = |(name, before, was_read): &(String, FileState, bool)| {
        *was_read && media_state(&folder.join(name), modality).is_ok_and(|now| now == *before)
    };
    Ok(quarantined.iter().all(is_same))
}

/// A person's lines among those whose file is not there.
pub(crate) fn unknown_files(gaps: &[ManifestGap]) -> Vec<(usize, String)> {
    let gaps = gaps.iter().filter(|gap| !gap.fetched);
    gaps.map(|gap| (gap.line, gap.file.clone())).collect()
}

/// Whether everything was last changed so long before the scan that a later change must show in its time.
fn is_settled(folders: &[FolderState], manifest: Option<FileState>, began: SystemTime) -> bool {
    let Ok(began) = began.duration_since(UNIX_EPOCH) else { return false };
    let latest = began.saturating_sub(SETTLING_TIME).as_nanos();
    let is_old = |time: i64| u128::try_from(time).is_ok_and(|time| time <= latest);
    folders.iter().all(|folder| is_old(folder.modified_ns) && is_old(folder.changed_ns))
        && manifest.is_none_or(|manifest| is_old(manifest.modified_ns))
}

/// What the header of a file says that is known from a version that did not ask for it; the file has not changed.
fn probe_again(record: FileRecord, modality: Modality, path: &Path) -> FileRecord {
    if !record.accepted {
        return record;
    }
    if modality == Modality::Image {
        let mut head = Vec::new();
        // What cannot be read now says nothing about the file; the loader will.
        let _ = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
        return FileRecord { codec: image_codec(&head), ..record };
    }
    match media_probe(modality, path) {
        Ok(properties) => record.with_properties(properties),
        Err(error) => FileRecord {
            // A decoder's reason says more than the header's.
            quarantine_reason: record.quarantine_reason.or(Some(error.reason())),
            accepted: false,
            ..record
        },
    }
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
fn read_files(folder: &Path, modality: Modality, batch: &[Unread], probe: &Probe<'_>) -> Vec<ScannedFile> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(batch.len());
    let next = AtomicUsize::new(0);
    let read_next = || {
        let mut done = HashMap::new();
        loop {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some(file) = batch.get(position) else { return done };
            let record = read_file(&folder.join(&file.name), modality, file, probe);
            done.insert(position, ScannedFile { name: file.name.clone(), record });
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

fn read_file(path: &Path, modality: Modality, file: &Unread, probe: &Probe<'_>) -> FileRecord {
    let read = match modality {
        Modality::Image => read_image(path, probe),
        Modality::Video | Modality::Audio => read_media(path, modality),
    };
    let Unread { state, group, origin, .. } = file;
    let record = match read {
        Ok((content, Ok(properties))) => FileRecord {
            size: state.size,
            modified_ns: state.modified_ns,
            content: Some(content),
            accepted: true,
            group: group.clone(),
            ..FileRecord::default()
        }
        .with_properties(properties),
        Ok((content, Err(refusal))) => {
            FileRecord { content: Some(content), ..unreadable(*state, refusal, group.clone()) }
        }
        Err(error) => unreadable(*state, format!("cannot be read: {}", error.reason()), group.clone()),
    };
    FileRecord { origin: origin.clone(), ..record }
}

fn unreadable(state: FileState, reason: String, group: Option<String>) -> FileRecord {
    FileRecord {
        size: state.size,
        modified_ns: state.modified_ns,
        quarantine_reason: Some(reason),
        group,
        ..FileRecord::default()
    }
}

/// The content's hash, and what its header says or why it was refused.
type Content = (ContentHash, Result<MediaProperties, String>);

fn read_image(path: &Path, probe: &Probe<'_>) -> Result<Content> {
    let mut bytes = Vec::new();
    read_media_file(path, &mut bytes)?;
    let dimensions = if bytes.is_empty() { Err(DecodeError::Empty) } else { probe(&bytes) };
    let properties = |(width, height): (usize, usize)| MediaProperties {
        dimensions: u32::try_from(width).ok().zip(u32::try_from(height).ok()),
        duration_seconds: None,
        codec: image_codec(&bytes),
    };
    Ok((ContentHash::of(&bytes), dimensions.map(properties).map_err(|refusal| refusal.to_string())))
}

/// A video or sound file, or a folder of frames.
fn read_media(path: &Path, modality: Modality) -> Result<Content> {
    let content = hash_media(path, modality).map_err(|error| Error::io(path, error))?;
    match media_probe(modality, path) {
        Ok(properties) => Ok((content, Ok(properties))),
        Err(Error::Decode { reason, .. }) => Ok((content, Err(reason.to_string()))),
        Err(error) => Err(error),
    }
}

/// The content of a media file, or of a folder of frames.
pub(crate) fn hash_media(path: &Path, modality: Modality) -> std::io::Result<ContentHash> {
    let is_folder = modality == Modality::Video && path.is_dir();
    if is_folder { hash_frames(path) } else { hash_file(path) }
}

fn hash_frames(folder: &Path) -> std::io::Result<ContentHash> {
    let frames = frame_files(folder)?;
    let hashes = frames.iter().map(|frame| hash_file(frame)).collect::<std::io::Result<Vec<_>>>()?;
    Ok(ContentHash::of_frames(&hashes))
}

fn hash_file(path: &Path) -> std::io::Result<ContentHash> {
    // A pipe would be waited for, and some devices never end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        hasher.update(&chunk[..read]);
    }
    Ok(ContentHash::from_bytes(hasher.finalize().into()))
}
