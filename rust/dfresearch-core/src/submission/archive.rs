//! The submission ZIP: the same three members, in the same order, with the same bytes for the same files.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipArchive, ZipWriter};

use super::files::{PendingFile, read_text, refused};
use super::{
    CONFIG_FILE, ModelConfig, SOURCE_FILE, WEIGHTS_FILE, check_model_source, check_weights, read_config,
};
use crate::error::{Error, Result};

/// The members of the archive, in their order.
const MEMBERS: [&str; 3] = [CONFIG_FILE, SOURCE_FILE, WEIGHTS_FILE];

/// Bytes that are copied at a time.
const CHUNK: usize = 1 << 20;

/// A member from this size on needs ZIP's 64-bit sizes.
const LARGE_MEMBER: u64 = u32::MAX as u64;

/// Permissions of every member: readable by all, writable by its owner.
const PERMISSIONS: u32 = 0o644;

/// One file of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name in the archive.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its content, in lower-case hexadecimal digits.
    pub sha256: String,
}

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Where the archive is.
    pub path: PathBuf,
    /// The size of the archive in bytes.
    pub size: u64,
    /// The members in their order.
    pub members: Vec<Member>,
    /// What does not stop a submission but may spoil it.
    pub warnings: Vec<String>,
}

/// An archive under a temporary name: written, flushed and read back. It goes away unless it is committed.
#[derive(Debug)]
pub struct StagedSubmission {
    pending: PendingFile,
    report: Report,
}

impl StagedSubmission {
    /// Where the archive lies until it is committed.
    pub fn path(&self) -> &Path {
        self.pending.path()
    }

    /// Gives the archive its name, in place of what had it before.
    ///
    /// # Errors
    /// [`Error::Io`] when the file system refuses; nothing is left behind then.
    pub fn commit(self) -> Result<Report> {
        self.pending.commit()?;
        Ok(self.report)
    }
}

/// Checks the three files of a checkpoint folder and says what may spoil a submission.
///
/// # Errors
/// [`Error::NotFound`] naming the file that is missing, [`Error::Submission`] naming what the
/// competition would refuse.
pub fn check_checkpoint(folder: &Path) -> Result<(ModelConfig, Vec<String>)> {
    let path = folder.join(CONFIG_FILE);
    let config = read_config(&path)?;
    let path = folder.join(SOURCE_FILE);
    let mut warnings = check_model_source(&path, &read_text(&path)?, &config.model_keywords)?.warnings;
    let path = folder.join(WEIGHTS_FILE);
    let summary = check_weights(&path)?;
    if summary.tensors == 0 {
        return Err(refused(&path, "holds no tensors"));
    }
    if !summary.not_finite.is_empty() {
        let names = summary.not_finite.join(", ");
        warnings.push(format!("{}: NaN or infinity in {names}", path.display()));
    }
    Ok((config, warnings))
}

/// Packs a checkpoint folder into a ZIP under a temporary name beside `zip_path`, and reads it back.
///
/// Weights hardly compress: the members are stored as they are. Times and permissions are fixed.
///
/// # Errors
/// Those of [`check_checkpoint`]; [`Error::Submission`] when what was read back is not what was
/// written; [`Error::Io`] when the disk refuses. Nothing is left behind then.
pub fn stage_submission(checkpoint_folder: &Path, zip_path: &Path) -> Result<StagedSubmission> {
    let (_, warnings) = check_checkpoint(checkpoint_folder)?;
    let mut members = Vec::with_capacity(MEMBERS.len());
    let mut outcome = Ok(());
    let pending = PendingFile::write(zip_path, |file| {
        outcome = write_members(checkpoint_folder, zip_path, file, &mut members);
        Ok(())
    })?;
    outcome?;
    read_back(&pending, &members)?;
    let size = pending.path().metadata().map_err(|error| Error::io(pending.path(), error))?.len();
    let report = Report { path: pending.destination().to_path_buf(), size, members, warnings };
    Ok(StagedSubmission { pending, report })
}

/// Packs a checkpoint folder into a ZIP, whole or not at all: [`stage_submission`] and
/// [`StagedSubmission::commit`] in one.
///
/// # Errors
/// Those of [`stage_submission`].
pub fn write_submission(checkpoint_folder: &Path, zip_path: &Path) -> Result<Report> {
    stage_submission(checkpoint_folder, zip_path)?.commit()
}

/// Writes the archive into `file`; what the disk refuses is about `destination`.
fn write_members(
    folder: &Path,
    destination: &Path,
    file: &mut File,
    members: &mut Vec<Member>,
) -> Result<()> {
    // The archive's writer seeks back to a member's header when its checksum is known.
    let mut zip = ZipWriter::new(BufWriter::with_capacity(CHUNK, file));
    for name in MEMBERS {
        match write_member(&folder.join(name), destination, name, &mut zip) {
            Ok(member) => members.push(member),
            Err(error) => {
                // Dropped, the writer would try to finish the archive once more, and complain on stderr.
                std::mem::forget(zip);
                return Err(error);
            }
        }
    }
    let writer = zip.finish().map_err(|error| Error::io(destination, error.into()))?;
    writer.into_inner().map_err(|error| Error::io(destination, error.into_error()))?;
    Ok(())
}

fn write_member(
    path: &Path,
    destination: &Path,
    name: &str,
    zip: &mut ZipWriter<BufWriter<&mut File>>,
) -> Result<Member> {
    let failed = |error: io::Error| Error::io(path, error);
    let unwritten = |error: io::Error| Error::io(destination, error);
    let mut source = File::open(path).map_err(failed)?;
    let expected = source.metadata().map_err(failed)?.len();
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::DEFAULT)
        .unix_permissions(PERMISSIONS)
        .system(System::Unix)
        .large_file(expected >= LARGE_MEMBER);
    zip.start_file(name, options).map_err(|error| unwritten(error.into()))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut size = 0;
    loop {
        let read = source.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        digest.update(&buffer[..read]);
        zip.write_all(&buffer[..read]).map_err(unwritten)?;
        size += read as u64;
    }
    if size != expected {
        return Err(refused(
            path,
            format!("changed while it was packed: {size} bytes instead of {expected}"),
        ));
    }
    let sha256 = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Member { name: name.to_owned(), size, sha256 })
}

/// Opens what was written as anybody would, and compares names, order, sizes and checksums.
fn read_back(pending: &PendingFile, members: &[Member]) -> Result<()> {
    let damaged =
        |reason: String| refused(pending.destination(), format!("reads back differently: {reason}"));
    let file = File::open(pending.path()).map_err(|error| Error::io(pending.path(), error))?;
    let mut archive =
        ZipArchive::new(BufReader::with_capacity(CHUNK, file)).map_err(|error| damaged(error.to_string()))?;
    if archive.len() != members.len() {
        return Err(damaged(format!("{} members instead of {}", archive.len(), members.len())));
    }
    for (index, member) in members.iter().enumerate() {
        let mut entry = archive.by_index(index).map_err(|error| damaged(error.to_string()))?;
        if entry.name().ok().as_deref() != Some(&member.name) {
            return Err(damaged(format!("member {index} is not {}", member.name)));
        }
        // Reading to the end compares the checksum, which was taken from the bytes that were packed.
        let size = io::copy(&mut entry, &mut io::sink())
            .map_err(|error| damaged(format!("{}: {error}", member.name)))?;
        if size != member.size {
            return Err(damaged(format!("{} has {size} bytes instead of {}", member.name, member.size)));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::submission::{TensorData, replace_checkpoint};

    const CONFIG: &str = "name: dfresearch-tiny\nmodality: image\npreprocessing:\n  resize: [8, 8]\n";
    const SOURCE: &str = "def load_model(weights_path, num_classes=2):\n    pass\n";

    fn checkpoint(folder: &Path, value: f32) {
        let bytes = value.to_le_bytes();
        let tensor = TensorData { name: "a".to_owned(), dtype: "F32", shape: vec![1], bytes: &bytes };
        replace_checkpoint(folder, CONFIG, SOURCE, &[tensor]).unwrap();
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("image");
        checkpoint(&folder, 1.0);
        let first = root.path().join("exports/first.zip");
        let report = write_submission(&folder, &first).unwrap();
        checkpoint(&folder, 1.0);
        write_submission(&folder, &root.path().join("exports/second.zip")).unwrap();
        let bytes = std::fs::read(&first).unwrap();
        assert_eq!(bytes, std::fs::read(root.path().join("exports/second.zip")).unwrap());
        assert_eq!(std::fs::read_dir(root.path().join("exports")).unwrap().count(), 2);

        assert_eq!(report.size, bytes.len() as u64);
        assert_eq!(report.warnings, Vec::<String>::new());
        assert_eq!(report.members.iter().map(|member| &member.name[..]).collect::<Vec<_>>(), MEMBERS);
        let mut archive = ZipArchive::new(io::Cursor::new(bytes)).unwrap();
        for member in &report.members {
            let mut content = Vec::new();
            archive.by_name(&member.name).unwrap().read_to_end(&mut content).unwrap();
            assert_eq!(content, std::fs::read(folder.join(&member.name)).unwrap());
            let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!((member.size, &member.sha256), (content.len() as u64, &digest));
        }
    }

    #[test]
    fn an_archive_that_is_not_committed_leaves_the_old_one() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("image");
        checkpoint(&folder, 1.0);
        let path = root.path().join("a.zip");
        write_submission(&folder, &path).unwrap();
        let before = std::fs::read(&path).unwrap();
        checkpoint(&folder, 2.0);
        let staged = stage_submission(&folder, &path).unwrap();
        assert!(staged.path().exists());
        drop(staged);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 2);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_blamed_on_the_archive() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("image");
        let bytes = vec![0; 4 * CHUNK];
        let tensor = TensorData { name: "a".to_owned(), dtype: "F32", shape: vec![CHUNK], bytes: &bytes };
        replace_checkpoint(&folder, CONFIG, SOURCE, &[tensor]).unwrap();
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        let destination = Path::new("exports/a.zip");
        let error = write_members(&folder, destination, &mut full, &mut Vec::new()).unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if path == destination), "{error}");
    }

    #[test]
    fn damage_is_noticed_when_reading_back() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("image");
        checkpoint(&folder, 1.0);
        let path = root.path().join("a.zip");
        let staged = stage_submission(&folder, &path).unwrap();
        let mut bytes = std::fs::read(staged.path()).unwrap();
        let place = bytes.windows(4).position(|window| window == b"tiny").unwrap();
        bytes[place] = b'T';
        std::fs::write(staged.path(), bytes).unwrap();
        let error = read_back(&staged.pending, &staged.report.members).unwrap_err().to_string();
        assert!(error.contains("reads back differently") && error.contains(CONFIG_FILE), "{error}");
    }

    #[test]
    fn missing_and_spoilt_files_are_named() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("image");
        let path = root.path().join("a.zip");
        assert!(matches!(write_submission(&folder, &path), Err(Error::NotFound { .. })));
        checkpoint(&folder, f32::NAN);
        let report = write_submission(&folder, &path).unwrap();
        assert!(report.warnings[0].ends_with("NaN or infinity in a"), "{:?}", report.warnings);
        std::fs::write(folder.join(SOURCE_FILE), "import os\n").unwrap();
        assert!(write_submission(&folder, &path).unwrap_err().to_string().contains("line 1"));
        std::fs::write(folder.join(SOURCE_FILE), [0xFF]).unwrap();
        assert!(write_submission(&folder, &path).unwrap_err().to_string().contains("not UTF-8"));
    }
}
