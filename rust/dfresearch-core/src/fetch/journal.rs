//! What is on the disk of a file that is still being fetched.
//!
//! ```text
//!  {part}.blocks
//!  ┌──────────────────────────────────────────┐
//!  │ {"identity":{…},"tag":"…"}\n             │  a line of JSON: of what the blocks are
//!  ├───────────────┬────────────┬─────────────┤
//!  │ block, u64 LE │ CRC-32 of  │ CRC-32 of   │  16 bytes for every block, appended
//!  │               │ the block  │ the 12 left │  once it is written; the last one counts
//!  ├───────────────┼────────────┼─────────────┤
//!  │ …             │            │             │  a record that is torn ends the journal
//!  └───────────────┴────────────┴─────────────┘
//! ```
//!
//! Neither file is trusted for more than the sums say: so no order in which a disk writes them, and no moment at which it stops,
//! gives a wrong byte.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::optional_file::read_optional_file;

/// The layout of the journal.
const FORMAT: u32 = 1;

const RECORD_BYTES: usize = 16;

/// Of what content the blocks are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub format: u32,
    /// The address without its query, which may hold a signature.
    pub url: String,
    pub size: u64,
    pub checksum: Option<String>,
    /// The entity tag that was listed.
    pub listed_tag: Option<String>,
    pub block_bytes: u64,
}

impl Identity {
    pub fn new(
        url: String,
        size: u64,
        checksum: Option<String>,
        listed_tag: Option<String>,
        block_bytes: u64,
    ) -> Self {
        Self { format: FORMAT, url, size, checksum, listed_tag, block_bytes }
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    identity: Identity,
    tag: Option<String>,
}

/// A journal, which is there once the first block is.
pub(super) struct Journal {
    path: PathBuf,
    identity: Identity,
    /// The entity tag of the storage that the blocks came from.
    tag: Option<String>,
    file: Option<File>,
}

impl Journal {
    /// The journal of a part, and the blocks it knows with their sums; none unless it is of the same content.
    pub fn open(path: PathBuf, identity: Identity) -> Result<(Self, Vec<(u64, u32)>)> {
        let content = read_optional_file(&path)?.unwrap_or_default();
        let mut journal = Self { path, identity, tag: None, file: None };
        let end_of_header = content.iter().position(|&byte| byte == b'\n');
        let header = end_of_header.and_then(|end| serde_json::from_slice::<Header>(&content[..end]).ok());
        let (Some(end), Some(header)) =
            (end_of_header, header.filter(|header| header.identity == journal.identity))
        else {
            return Ok((journal, Vec::new()));
        };
        let records: Vec<(u64, u32)> =
            content[end + 1..].chunks(RECORD_BYTES).map_while(parse_record).collect();
        let sound = (end + 1 + records.len() * RECORD_BYTES) as u64;
        let io = |error| Error::io(&journal.path, error);
        let file = OpenOptions::new().append(true).open(&journal.path).map_err(io)?;
        file.set_len(sound).map_err(io)?;
        journal.tag = header.tag;
        journal.file = Some(file);
        Ok((journal, records))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// From now on the blocks come under another entity tag, though they are of the same content. `known` are those so far.
    pub fn set_tag(&mut self, tag: Option<String>, known: &[(u64, u32)]) -> Result<()> {
        if self.tag == tag {
            return Ok(());
        }
        self.tag = tag;
        if self.file.is_none() { Ok(()) } else { self.write_anew(known) }
    }

    /// Writes down a block that is in the part.
    pub fn record(&mut self, block: u64, sum: u32) -> Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(&record(block, sum)).map_err(|error| Error::io(&self.path, error)),
            None => self.write_anew(&[(block, sum)]),
        }
    }

    /// Everything that is recorded reaches the disk.
    pub fn sync(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        file.sync_data().map_err(|error| Error::io(&self.path, error))
    }

    /// Knows of no block any more.
    pub fn clear(&mut self) -> Result<()> {
        self.tag = None;
        self.file = None;
        remove_if_there(&self.path)
    }

    fn write_anew(&mut self, known: &[(u64, u32)]) -> Result<()> {
        let header = Header { identity: self.identity.clone(), tag: self.tag.clone() };
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        let io = |error| Error::io(&temporary, error);
        let mut content = serde_json::to_vec(&header).map_err(|error| io(error.into()))?;
        content.push(b'\n');
        content.extend(known.iter().flat_map(|&(block, sum)| record(block, sum)));
        let mut file = File::create(&temporary).map_err(io)?;
        // Torn by a power cut it is begun anew: nothing is trusted beyond its sums.
        file.write_all(&content).map_err(io)?;
        fs::rename(&temporary, &self.path).map_err(io)?;
        let file = OpenOptions::new().append(true).open(&self.path);
        self.file = Some(file.map_err(|error| Error::io(&self.path, error))?);
        Ok(())
    }
}

pub(super) fn remove_if_there(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, error)),
        _ => Ok(()),
    }
}

fn record(block: u64, sum: u32) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..8].copy_from_slice(&block.to_le_bytes());
    record[8..12].copy_from_slice(&sum.to_le_bytes());
    let own_sum = crc32fast::hash(&record[..12]);
    record[12..].copy_from_slice(&own_sum.to_le_bytes());
    record
}

fn parse_record(bytes: &[u8]) -> Option<(u64, u32)> {
    let block = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let sum = u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?);
    (bytes == record(block, sum)).then_some((block, sum))
}
