//! Media out of archives: parquet files, zip archives and tar archives, streamed with bounded memory.
//!
//! ```text
//!  bytes of an archive ──► parquet: row groups, columns, cells ─┐
//!  (local or remote)   ──► zip: central directory, members      ├─► media, one after another ──► the caller's sink
//!                      ──► tar, tar.gz: members as they stand  ─┘
//! ```
//!
//! The order is a function of the archive, the seed and the key alone: members of a zip archive and row groups of a
//! parquet file come by a hash of (seed, key, name or number), members of a tar archive as they stand.
//! Names from archives are data, never paths: what cannot be a plain file below a folder is skipped and counted.

mod handout;
mod member;
mod parquet;
mod sniff;
mod tar;
mod window;
mod zip;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io::{Cursor, Read, Seek};
use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::catalog::FilterValue;
use crate::error::{Error, FetchErrorKind, Result};
use crate::media_file::MAX_MEDIA_FILE_BYTES;
use crate::modality::Modality;
use crate::stop::StopFlag;

pub use parquet::read_rows;
pub use sniff::sniff;

/// The bytes of an archive, read from any place.
pub trait ByteSource: Read + Seek + Send {
    /// Says which ranges are read next, so that a remote source fetches them in few requests.
    ///
    /// # Errors
    /// Whatever keeps the source from having these bytes.
    fn prefetch(&mut self, _ranges: &[Range<u64>]) -> Result<()> {
        Ok(())
    }
}

impl ByteSource for File {}
impl ByteSource for Cursor<Vec<u8>> {}

/// How an archive is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ArchiveFormat {
    /// A parquet file: media are cells of columns.
    Parquet,
    /// A zip archive.
    Zip,
    /// A tar archive.
    Tar,
    /// A tar archive compressed by gzip.
    TarGz,
}

impl ArchiveFormat {
    /// The format that a file name ends with; none if it is no archive's.
    ///
    /// ```
    /// use dfresearch_core::archive::ArchiveFormat;
    ///
    /// assert_eq!(ArchiveFormat::from_path("data/train-0.parquet"), Some(ArchiveFormat::Parquet));
    /// assert_eq!(ArchiveFormat::from_path("data/FAKES.TGZ"), Some(ArchiveFormat::TarGz));
    /// assert_eq!(ArchiveFormat::from_path("data/clip.mp4"), None);
    /// ```
    pub fn from_path(path: &str) -> Option<Self> {
        const ENDINGS: [(&str, ArchiveFormat); 5] = [
            (".parquet", ArchiveFormat::Parquet),
            (".zip", ArchiveFormat::Zip),
            (".tar.gz", ArchiveFormat::TarGz),
            (".tgz", ArchiveFormat::TarGz),
            (".tar", ArchiveFormat::Tar),
        ];
        let path = path.to_ascii_lowercase();
        ENDINGS.into_iter().find(|(ending, _)| path.ends_with(ending)).map(|(_, format)| format)
    }
}

/// How much may come out of an archive. What is over a limit is skipped and counted, never an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtractLimits {
    /// Decompressed bytes of one medium. By default what a media file may have: 1 GiB.
    pub entry_bytes: u64,
    /// Decompressed bytes of the whole archive, skipped members of a tar archive included. 1 TiB by default.
    pub archive_bytes: u64,
    /// How many times its own size an archive may decompress to, beside one medium of `entry_bytes`. 250 by default:
    /// media are compressed already, and a bomb of deflate goes up to 1030, others further.
    pub archive_ratio: u64,
}

impl Default for ExtractLimits {
    fn default() -> Self {
        Self { entry_bytes: MAX_MEDIA_FILE_BYTES, archive_bytes: 1 << 40, archive_ratio: 250 }
    }
}

impl ExtractLimits {
    /// The decompressed bytes that an archive of `archive_size` bytes may have.
    fn total(&self, archive_size: u64) -> u64 {
        archive_size
            .saturating_mul(self.archive_ratio)
            .saturating_add(self.entry_bytes)
            .min(self.archive_bytes)
    }
}

/// Which media are taken out of an archive.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// What kind of media.
    pub modality: Modality,
    /// Decides, with `key`, the order.
    pub seed: u64,
    /// Names the archive, as `dataset/path in the repository`; mixed into the order, and named in errors.
    pub key: &'a str,
    /// Parquet: the columns that hold media; none = chosen by name.
    pub data_columns: Option<&'a [String]>,
    /// Parquet: the column and its value in the rows that are taken.
    pub filter: Option<(&'a str, &'a FilterValue)>,
    /// Zip and tar: only members whose name contains one of these.
    pub include_members: Option<&'a [String]>,
    /// Zip and tar: no members whose name contains one of these.
    pub exclude_members: Option<&'a [String]>,
    /// How many media at most are handed out; also keeps a reader from fetching more than that ahead.
    pub wanted: Option<usize>,
    /// Zip and tar: only members of exactly these names, a leading `./` aside.
    pub members: Option<&'a HashSet<String>>,
    /// How much may come out.
    pub limits: ExtractLimits,
}

/// Where in an archive a medium lay.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Origin {
    /// Zip and tar: the member's name, as the archive says it.
    pub member: Option<String>,
    /// Parquet: the row, counted from zero over the whole file.
    pub row: Option<u64>,
    /// Parquet: the column.
    pub column: Option<String>,
    /// Parquet: the place in a list cell, counted from zero, empty places included.
    pub position: Option<u32>,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.member, self.row) {
            (Some(member), _) => write!(formatter, "{member:?}")?,
            (None, Some(row)) => write!(formatter, "row {row}")?,
            (None, None) => write!(formatter, "the whole file")?,
        }
        if let Some(column) = &self.column {
            write!(formatter, ", column {column:?}")?;
        }
        self.position.map_or(Ok(()), |position| write!(formatter, ", position {position}"))
    }
}

/// One medium of an archive.
pub struct Medium<'a> {
    /// Where it lay.
    pub origin: Origin,
    /// Its bytes. They need not be read to their end. A medium whose bytes turn out to be broken (a checksum) or over
    /// the limit ends with an error: the sink gives that error back, and [`extract`] skips and counts the medium.
    pub content: &'a mut dyn Read,
}

/// Whether a sink wants more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on with the next.
    Continue,
    /// It was enough.
    Stop,
}

/// Why something in an archive was not handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SkipReason {
    /// A symbolic link.
    Symlink,
    /// A hard link.
    HardLink,
    /// A device, a pipe, a sparse file: nothing with plain bytes.
    SpecialFile,
    /// An absolute name, one with `..`, with a backslash or with a drive letter.
    PathOutside,
    /// A hidden file, or one that macOS adds (`__MACOSX`, `._…`).
    Hidden,
    /// Encrypted.
    Encrypted,
    /// Compressed in a way that is not read here.
    UnsupportedCompression,
    /// Its name or its text is not that of a medium of this modality.
    NotMedium,
    /// A second member of the same name.
    DuplicateName,
    /// A cell, or a place in a list cell, without content.
    EmptyCell,
    /// Its bytes contradict their checksum or their compression.
    Corrupt,
    /// More decompressed bytes than one medium may have.
    OverEntryLimit,
    /// More decompressed bytes than the archive may have; nothing after it was looked at.
    OverArchiveLimit,
}

impl SkipReason {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Symlink,
        Self::HardLink,
        Self::SpecialFile,
        Self::PathOutside,
        Self::Hidden,
        Self::Encrypted,
        Self::UnsupportedCompression,
        Self::NotMedium,
        Self::DuplicateName,
        Self::EmptyCell,
        Self::Corrupt,
        Self::OverEntryLimit,
        Self::OverArchiveLimit,
    ];

    /// The reason of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// In words, for people and for the record of a fetch.
    pub fn name(self) -> &'static str {
        match self {
            Self::Symlink => "symbolic link",
            Self::HardLink => "hard link",
            Self::SpecialFile => "special file",
            Self::PathOutside => "name leads outside",
            Self::Hidden => "hidden file",
            Self::Encrypted => "encrypted",
            Self::UnsupportedCompression => "unsupported compression",
            Self::NotMedium => "not a medium of this modality",
            Self::DuplicateName => "duplicate name",
            Self::EmptyCell => "empty cell",
            Self::Corrupt => "corrupt",
            Self::OverEntryLimit => "over the limit of one medium",
            Self::OverArchiveLimit => "over the limit of the archive",
        }
    }
}

impl SkipReason {
    /// Whether it may have been a sample that is lost, rather than something that nobody wanted.
    pub fn is_loss(self) -> bool {
        matches!(
            self,
            Self::Encrypted
                | Self::UnsupportedCompression
                | Self::Corrupt
                | Self::OverEntryLimit
                | Self::OverArchiveLimit
        )
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How many were skipped, by reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Skipped(pub BTreeMap<SkipReason, u64>);

impl Skipped {
    fn add(&mut self, reason: SkipReason) {
        *self.0.entry(reason).or_default() += 1;
    }
}

/// Hands the media of an archive to `sink`, one after another, until it or `selection.wanted` says that it is enough.
///
/// A medium that is broken or over a limit does not lose the others: it is skipped, counted and named in a warning.
/// That is so also when the sink has read all but its end, which is why a sink keeps nothing of a medium whose
/// content ended with an error.
///
/// # Errors
/// [`Error::Fetch`] of kind [`FetchErrorKind::Invalid`] with `selection.key` for an archive that is broken as a
/// whole, for parquet columns that are not there, and after the last sound medium of a truncated tar archive;
/// [`Error::Stopped`]; the source's errors and the sink's.
pub fn extract(
    source: &mut dyn ByteSource,
    format: ArchiveFormat,
    selection: &Selection<'_>,
    stop: &StopFlag,
    sink: &mut dyn FnMut(Medium<'_>) -> Result<Flow>,
) -> Result<Skipped> {
    stop.check()?;
    let size =
        source.seek(std::io::SeekFrom::End(0)).map_err(|error| Error::from_io(selection.key, error))?;
    source.rewind().map_err(|error| Error::from_io(selection.key, error))?;
    let mut handout = handout::Handout::new(selection, size, stop, sink);
    if selection.wanted == Some(0) {
        return Ok(handout.skipped);
    }
    match format {
        ArchiveFormat::Parquet => parquet::extract(source, size, &mut handout)?,
        ArchiveFormat::Zip => zip::extract(source, size, &mut handout)?,
        ArchiveFormat::Tar | ArchiveFormat::TarGz => tar::extract(source, &mut handout)?,
    }
    Ok(handout.skipped)
}

/// The error of an archive that contradicts itself.
fn invalid(key: &str, reason: impl Into<String>) -> Error {
    Error::fetch(key, FetchErrorKind::Invalid, reason)
}

/// By what members and row groups are ordered.
fn order_key(selection: &Selection<'_>, part: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(selection.seed.to_le_bytes());
    // The length keeps (key, part) apart from another key and part that read the same in a row.
    hasher.update((selection.key.len() as u64).to_le_bytes());
    hasher.update(selection.key);
    hasher.update(part);
    hasher.finalize().into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
