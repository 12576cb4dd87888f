//! Media on their way into a dataset: streamed to a temporary file, hashed, recognised, their header read. A clip of
//! frames is streamed into a temporary folder in the same way, frame by frame.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::archive::sniff;
use crate::decode::video::{FRAME_EXTENSIONS, frame_files};
use crate::error::{DecodeError, Error, Result};
use crate::media_file::MAX_MEDIA_FILE_BYTES;
use crate::modality::Modality;
use crate::store::ContentHash;
use crate::store::durable::sync_folder;
use crate::store::probe::{MediaProperties, probe};

/// The folder inside a dataset's folder that holds what is not finished; scans pass hidden folders by.
pub(super) const STAGING_FOLDER: &str = ".staging";

/// As much of a medium's start as tells what it is.
const HEAD_BYTES: usize = 4096;

/// Digits of a frame's name.
const FRAME_DIGITS: usize = 6;

/// Bytes handed on at once.
const CHUNK_BYTES: usize = 1 << 18;

/// Takes media in for one dataset, from any number of threads.
#[derive(Debug, Clone)]
pub struct Stager(Arc<Staging>);

#[derive(Debug)]
struct Staging {
    folder: PathBuf,
    modality: Modality,
    /// So many have been staged: the name of the next one.
    count: AtomicU64,
}

/// A medium that lies in the staging folder; it goes away unless it is accepted.
#[derive(Debug)]
pub struct StagedSample {
    medium: TemporaryMedium,
    size: u64,
    content: ContentHash,
    /// None for a folder of frames.
    extension: Option<&'static str>,
    properties: MediaProperties,
}

/// Why a medium that came whole is no sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In words.
    pub reason: String,
}

/// Takes the frames of one clip in, one after another.
#[derive(Debug)]
pub struct FrameStager {
    folder: TemporaryMedium,
    modality: Modality,
    size: u64,
    hashes: Vec<ContentHash>,
}

/// A file, or a folder of files, that is removed with its owner.
#[derive(Debug)]
struct TemporaryMedium(PathBuf);

impl Drop for TemporaryMedium {
    fn drop(&mut self) {
        // Once it has its place there is nothing to remove; and what cannot be removed, the next fetch removes.
        let _ = remove_medium(&self.0);
    }
}

impl Stager {
    pub(super) fn new(dataset_folder: &Path, modality: Modality) -> Self {
        let folder = dataset_folder.join(STAGING_FOLDER);
        Self(Arc::new(Staging { folder, modality, count: AtomicU64::new(0) }))
    }

    /// Takes a medium in; what is no sample of the modality is refused, with its reason.
    ///
    /// # Errors
    /// Whatever `content` fails with ([`Error::from_io`]); [`Error::Io`] when the staging folder cannot be written.
    pub fn stage(&self, content: &mut dyn Read) -> Result<Result<StagedSample, Refusal>> {
        let modality = self.0.modality;
        let medium = self.next()?;
        let Copied { size, content, head } = match copy_to_file(content, &medium.0)? {
            Ok(copied) => copied,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let properties = match read_header(modality, &medium.0)? {
            Ok(properties) => properties,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let Some(extension) = sniff(&head, modality) else {
            let codec = properties.codec.unwrap_or_default();
            return Ok(Err(refused(format!(
                "no kind of {modality} file that the store has a name for ({codec})"
            ))));
        };
        Ok(Ok(StagedSample { medium, size, content, extension: Some(extension), properties }))
    }

    /// Begins a clip that is a folder of frames.
    ///
    /// # Errors
    /// [`Error::Io`] when the staging folder cannot be written.
    pub fn stage_frames(&self) -> Result<FrameStager> {
        let folder = self.next()?;
        fs::create_dir(&folder.0).map_err(|error| Error::io(&folder.0, error))?;
        Ok(FrameStager { folder, modality: self.0.modality, size: 0, hashes: Vec::new() })
    }

    /// Where the next medium comes to lie.
    fn next(&self) -> Result<TemporaryMedium> {
        let Staging { folder, count, .. } = &*self.0;
        fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        Ok(TemporaryMedium(folder.join(count.fetch_add(1, Ordering::Relaxed).to_string())))
    }
}

impl FrameStager {
    /// Takes the next frame in. It gets a name of ours that keeps the order; `name` is what a refusal calls it. With
    /// one frame refused, there is no clip.
    ///
    /// # Errors
    /// As [`Stager::stage`].
    pub fn add(&mut self, name: &str, content: &mut dyn Read) -> Result<Result<(), Refusal>> {
        let of_frame = |refusal: Refusal| Ok(Err(refused(format!("frame {name}: {}", refusal.reason))));
        let position = self.hashes.len();
        let path = self.folder.0.join(position.to_string());
        let Copied { size, content, head } = match copy_to_file(content, &path)? {
            Ok(copied) => copied,
            Err(refusal) => return of_frame(refusal),
        };
        let extension = sniff(&head, Modality::Image);
        let Some(extension) = extension.filter(|extension| FRAME_EXTENSIONS.contains(extension)) else {
            let kinds = FRAME_EXTENSIONS.join(", ");
            return of_frame(refused(format!("no image of a kind that frames may have ({kinds})")));
        };
        let named = self.folder.0.join(format!("{position:0FRAME_DIGITS$}.{extension}"));
        fs::rename(&path, &named).map_err(|error| Error::io(&path, error))?;
        self.size += size;
        self.hashes.push(content);
        if position > 0 {
            return Ok(Ok(()));
        }
        // The clip's header is that of its first frame.
        read_header(self.modality, &self.folder.0)?.map_or_else(of_frame, |_| Ok(Ok(())))
    }

    /// The clip of all frames so far.
    ///
    /// # Errors
    /// As [`Stager::stage`].
    pub fn finish(self) -> Result<Result<StagedSample, Refusal>> {
        let Self { folder: medium, modality, size, hashes } = self;
        let content = ContentHash::of_frames(&hashes);
        Ok(read_header(modality, &medium.0)?.map(|properties| StagedSample {
            medium,
            size,
            content,
            extension: None,
            properties,
        }))
    }
}

impl StagedSample {
    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hash of its bytes.
    pub fn content(&self) -> ContentHash {
        self.content
    }

    /// The extension that its content deserves; none for a folder of frames.
    pub fn extension(&self) -> Option<&'static str> {
        self.extension
    }

    /// What its header says.
    pub fn properties(&self) -> &MediaProperties {
        &self.properties
    }

    /// Makes sure that its bytes outlive a power cut.
    pub(super) fn sync(&self) -> Result<()> {
        let path = &self.medium.0;
        if self.extension.is_none() {
            let frames = frame_files(path).map_err(|error| Error::io(path, error))?;
            frames.iter().try_for_each(|frame| sync_file(frame))?;
            return sync_folder(path);
        }
        sync_file(path)
    }

    /// Gives it its name; to be called again if it failed.
    pub(super) fn place(&self, path: &Path) -> Result<()> {
        let place = || {
            if self.extension.is_none() {
                // A file takes the place of a damaged one by itself, a folder does not.
                remove_medium(path)?;
            }
            fs::rename(&self.medium.0, path)
        };
        place().map_err(|error| Error::io(path, error))
    }
}

/// Removes a file, or a folder with all that it holds, if it is there.
pub(super) fn remove_medium(path: &Path) -> std::io::Result<()> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn sync_file(path: &Path) -> Result<()> {
    File::open(path).and_then(|file| file.sync_data()).map_err(|error| Error::io(path, error))
}

/// What the header says, or why it is refused.
fn read_header(modality: Modality, path: &Path) -> Result<Result<MediaProperties, Refusal>> {
    match probe(modality, path) {
        Ok(properties) => Ok(Ok(properties)),
        // The machine's fault and none of the medium's.
        Err(error @ Error::Decode { reason: DecodeError::OutOfMemory { .. }, .. }) => Err(error),
        Err(Error::Decode { reason, .. }) => Ok(Err(refused(reason.to_string()))),
        Err(error) => Err(error),
    }
}

fn refused(reason: String) -> Refusal {
    Refusal { reason }
}

/// What came through.
struct Copied {
    size: u64,
    content: ContentHash,
    head: Vec<u8>,
}

/// Copies to a new file until the end.
fn copy_to_file(input: &mut dyn Read, path: &Path) -> Result<Result<Copied, Refusal>> {
    let mut file = File::create(path).map_err(|error| Error::io(path, error))?;
    let copied = copy_hashing(input, &mut file, MAX_MEDIA_FILE_BYTES, path)?;
    let reason = || refused(format!("more than the {MAX_MEDIA_FILE_BYTES} bytes that a medium may have"));
    Ok(copied.ok_or_else(reason))
}

/// Copies until the end; none when there is more than `limit` bytes. `path` is what errors of the output are about.
fn copy_hashing(
    input: &mut dyn Read,
    output: &mut dyn Write,
    limit: u64,
    path: &Path,
) -> Result<Option<Copied>> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut head = Vec::new();
    let mut size = 0;
    loop {
        let read = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::from_io(path, error)),
        };
        size += read as u64;
        if size > limit {
            return Ok(None);
        }
        let bytes = &chunk[..read];
        head.extend(bytes.iter().take(HEAD_BYTES - head.len()));
        hasher.update(bytes);
        output.write_all(bytes).map_err(|error| Error::io(path, error))?;
    }
    output.flush().map_err(|error| Error::io(path, error))?;
    Ok(Some(Copied { size, content: ContentHash::from_bytes(hasher.finalize().into()), head }))
}
