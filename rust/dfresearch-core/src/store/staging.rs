//! Media on their way into a dataset: streamed to a temporary file, hashed, recognised, their header read.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::archive::sniff;
use crate::error::{DecodeError, Error, Result};
use crate::media_file::MAX_MEDIA_FILE_BYTES;
use crate::modality::Modality;
use crate::store::ContentHash;
use crate::store::probe::{MediaProperties, probe};

/// The folder inside a dataset's folder that holds what is not finished; scans pass hidden folders by.
pub(super) const STAGING_FOLDER: &str = ".staging";

/// As much of a medium's start as tells what it is.
const HEAD_BYTES: usize = 4096;

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
    file: TemporaryFile,
    size: u64,
    content: ContentHash,
    extension: &'static str,
    properties: MediaProperties,
}

/// Why a medium that came whole is no sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// In words.
    pub reason: String,
}

/// A file that is removed with its owner.
#[derive(Debug)]
struct TemporaryFile(PathBuf);

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // Once it has its place there is nothing to remove; and what cannot be removed, the next fetch removes.
        let _ = fs::remove_file(&self.0);
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
        let Staging { folder, modality, count } = &*self.0;
        let path = folder.join(count.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        let mut file = File::create(&path).map_err(|error| Error::io(&path, error))?;
        let temporary = TemporaryFile(path);
        let copied = copy_hashing(content, &mut file, MAX_MEDIA_FILE_BYTES, &temporary.0)?;
        drop(file);
        let Some(Copied { size, content, head }) = copied else {
            return Ok(Err(refused(format!(
                "more than the {MAX_MEDIA_FILE_BYTES} bytes that a medium may have"
            ))));
        };
        let properties = match probe(*modality, &temporary.0) {
            Ok(properties) => properties,
            // The machine's fault and none of the medium's.
            Err(error @ Error::Decode { reason: DecodeError::OutOfMemory { .. }, .. }) => return Err(error),
            Err(Error::Decode { reason, .. }) => return Ok(Err(refused(reason.to_string()))),
            Err(error) => return Err(error),
        };
        let Some(extension) = sniff(&head, *modality) else {
            let codec = properties.codec.unwrap_or_default();
            return Ok(Err(refused(format!(
                "no kind of {modality} file that the store has a name for ({codec})"
            ))));
        };
        Ok(Ok(StagedSample { file: temporary, size, content, extension, properties }))
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

    /// The extension that its content deserves.
    pub fn extension(&self) -> &'static str {
        self.extension
    }

    /// What its header says.
    pub fn properties(&self) -> &MediaProperties {
        &self.properties
    }

    /// Makes sure that its bytes outlive a power cut.
    pub(super) fn sync(&self) -> Result<()> {
        let path = &self.file.0;
        File::open(path).and_then(|file| file.sync_data()).map_err(|error| Error::io(path, error))
    }

    /// Gives it its name; to be called again if it failed.
    pub(super) fn place(&self, path: &Path) -> Result<()> {
        fs::rename(&self.file.0, path).map_err(|error| Error::io(path, error))
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
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
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
