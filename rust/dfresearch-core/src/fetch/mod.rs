//! Remote files that are read and sought like local ones, and fetched no further than they are read.
//!
//! ```text
//!  read, seek ──► block there? ──yes──► sum right? ──yes──► bytes of {part}
//!                     │ no                 │ no
//!                     ▼                    ▼
//!                 GET Range, If-Range ──► meter ──► {part}, sparse ──► {part}.blocks, the journal
//! ```
//!
//! A process that is killed, or a machine that loses its power, loses the blocks in flight; the next one goes on with the rest.

mod content_digest;
mod journal;
mod stream;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::journal::{Identity, Journal, remove_if_there};
use self::stream::{Opened, Stream};
use crate::error::{Error, FetchErrorKind, Result};
use crate::http::{Failure, HttpClient, Request, Retry, shown};
use crate::hub::RemoteEntry;

/// What is fetched, written and journalled at once, in bytes.
pub const BLOCK_BYTES: u64 = 256 * 1024;

/// After a jump one block is asked for; each further request in a row asks for so many times more,
const WINDOW_GROWTH: u64 = 4;

/// until it would be more blocks than this: then for all the rest.
const LARGEST_WINDOW: u64 = 64;

/// After how many blocks the part and its journal are written through to the disk.
const BLOCKS_PER_SYNC: u32 = 256;

/// Counts what is written to the disk.
pub trait Meter: Send + Sync {
    /// So many bytes are about to be written.
    ///
    /// # Errors
    /// Whatever forbids it, for example a limit of the disk; then nothing is written.
    fn add(&self, bytes: u64) -> Result<()>;
}

/// A file of a hub, fetched block by block as it is read.
///
/// It reads and seeks like a [`File`], from its start; its errors carry an [`Error`], which [`Error::from_io`] unpacks.
/// Blocks are of 256 KiB. Reading on in order keeps one request open to the end of the file; a jump begins with a small request, and
/// asks for more the longer it is read on in order. A server that ignores ranges is read from the start, and what passes is kept.
///
/// The content is pinned: an answer of another size or under another entity tag means that it changed. As long as no byte was read
/// from this value, everything is then fetched anew, once; otherwise, or the second time, it is an error of the kind `Invalid`,
/// and what was fetched is forgotten. An entity tag alone does not count where the hub vouches for the checksum.
pub struct RemoteFile {
    client: HttpClient,
    request: Request,
    entry: RemoteEntry,
    part: PathBuf,
    file: File,
    journal: Journal,
    blocks: Vec<Block>,
    meter: Arc<dyn Meter>,
    position: u64,
    stream: Option<Stream>,
    /// The block that was read last.
    last_read: Option<u64>,
    /// How many blocks the next request asks for.
    window: u64,
    /// Bytes were given to a reader: they cannot be taken back.
    was_read: bool,
    /// How often everything was begun anew.
    restarts: u32,
    unsynced: u32,
    /// Why nothing can be read any more.
    changed: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Missing,
    /// In the journal, with its sum; whether the part agrees was not looked at.
    Recorded(u32),
    Ready(u32),
}

impl RemoteFile {
    /// A remote file whose blocks are kept in `part`, a sparse file, and beside it in `{part}.blocks`, the journal. What is there of
    /// the same content is used; anything else is begun anew. Nothing is asked of the server yet.
    ///
    /// # Errors
    /// [`Error::Io`] for files that cannot be made, read or written.
    pub fn open(
        client: &HttpClient,
        request: Request,
        entry: &RemoteEntry,
        part: &Path,
        meter: &Arc<dyn Meter>,
    ) -> Result<Self> {
        let identity = Identity::new(
            shown(&request.url),
            entry.size,
            entry.checksum.map(|checksum| checksum.to_hex()),
            request.header("if-match").map(str::to_owned),
            BLOCK_BYTES,
        );
        let mut journal_path = part.as_os_str().to_owned();
        journal_path.push(".blocks");
        let (journal, records) = Journal::open(journal_path.into(), identity)?;
        let io = |error| Error::io(part, error);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(part).map_err(io)?;
        let whole = file.metadata().map_err(io)?.len() == entry.size;

        let count = entry.size.div_ceil(BLOCK_BYTES);
        let mut remote = Self {
            client: client.clone(),
            request,
            entry: entry.clone(),
            part: part.to_owned(),
            file,
            journal,
            blocks: vec![Block::Missing; count as usize],
            meter: Arc::clone(meter),
            position: 0,
            stream: None,
            last_read: None,
            window: u64::MAX,
            was_read: false,
            restarts: 0,
            unsynced: 0,
            changed: None,
        };
        if whole && !records.is_empty() && records.iter().all(|(block, _)| *block < count) {
            for (block, sum) in records {
                remote.blocks[block as usize] = Block::Recorded(sum);
            }
        } else {
            remote.forget()?;
        }
        Ok(remote)
    }

    /// The size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.entry.size
    }

    /// How many bytes are on the disk, as the journal says.
    pub fn fetched(&self) -> u64 {
        let there =
            (0..self.blocks.len() as u64).filter(|&block| self.blocks[block as usize] != Block::Missing);
        there.map(|block| self.extent(block).end - self.extent(block).start).sum()
    }

    /// Fetches all blocks that the ranges of bytes touch, each run of missing blocks by one request. Ranges may overlap and lie in
    /// any order; what of them lies behind the end of the file is left out. Gaps of less than a block are fetched along.
    ///
    /// # Errors
    /// [`Error::Fetch`], [`Error::Io`], the meter's, [`Error::Stopped`].
    pub fn prefetch(&mut self, ranges: &[Range<u64>]) -> Result<()> {
        let mut wanted: Vec<u64> = ranges
            .iter()
            .filter(|range| range.start < range.end.min(self.entry.size))
            .flat_map(|range| range.start / BLOCK_BYTES..range.end.min(self.entry.size).div_ceil(BLOCK_BYTES))
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        for run in wanted.chunk_by(|one, next| next - one == 1) {
            let end = run[run.len() - 1] + 1;
            for &block in run {
                self.ensure(block, end)?;
            }
        }
        Ok(())
    }

    /// Fetches what is missing, and checks size and checksum of the whole; if they are wrong, everything is fetched anew, once.
    ///
    /// # Errors
    /// [`Error::Fetch`], of the kind `Invalid` for content that is not the promised one; [`Error::Io`], the meter's,
    /// [`Error::Stopped`].
    pub fn fetch_all(&mut self) -> Result<()> {
        loop {
            let restarts = self.restarts;
            let count = self.blocks.len() as u64;
            let mut block = 0;
            while block < count && restarts == self.restarts {
                self.ensure(block, count)?;
                block += 1;
            }
            if restarts != self.restarts {
                continue;
            }
            let Some(wanted) = self.entry.checksum else { return Ok(()) };
            let io = |error| Error::io(&self.part, error);
            let mut content = (&self.file).take(self.entry.size);
            content.get_mut().seek(SeekFrom::Start(0)).map_err(io)?;
            let found = content_digest::checksum_like(
                wanted,
                self.entry.size,
                &mut content,
                self.client.stop(),
                &io,
            )?;
            if found == wanted {
                return Ok(());
            }
            self.restart(format!("the checksum is {}, not {}", found.to_hex(), wanted.to_hex()))?;
        }
    }

    /// Removes the part and its journal.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(self) -> Result<()> {
        // First the journal: a part without one is worth nothing, and a journal without a part is not trusted either.
        remove_if_there(self.journal.path())?;
        remove_if_there(&self.part)
    }

    /// The bytes of a block.
    fn extent(&self, block: u64) -> Range<u64> {
        block * BLOCK_BYTES..self.entry.size.min((block + 1) * BLOCK_BYTES)
    }

    /// Sees to it that a block is there. `until` is the block where a request for it ends at the latest.
    fn ensure(&mut self, block: u64, until: u64) -> Result<()> {
        self.client.stop().check()?;
        self.check_unchanged()?;
        match self.blocks[block as usize] {
            Block::Ready(_) => return Ok(()),
            Block::Recorded(sum) => {
                let extent = self.extent(block);
                let mut bytes = vec![0; (extent.end - extent.start) as usize];
                self.file
                    .read_exact_at(&mut bytes, extent.start)
                    .map_err(|error| Error::io(&self.part, error))?;
                if crc32fast::hash(&bytes) == sum {
                    self.blocks[block as usize] = Block::Ready(sum);
                    return Ok(());
                }
                self.blocks[block as usize] = Block::Missing;
            }
            Block::Missing => {}
        }
        self.fetch(block, until)
    }

    /// Fetches a block; a connection that breaks is made anew, and goes on where it was.
    fn fetch(&mut self, block: u64, until: u64) -> Result<()> {
        let extent = self.extent(block);
        let mut bytes = vec![0; (extent.end - extent.start) as usize];
        let mut filled = 0;
        let mut retry = Retry::new(&self.client);
        while filled < bytes.len() {
            let at = extent.start + filled as u64;
            if !self.stream.as_ref().is_some_and(|stream| stream.gives(at)) {
                // What is there already is not asked for again.
                let rest = &self.blocks[block as usize + 1..until.max(block + 1) as usize];
                let missing = rest.iter().take_while(|block| **block == Block::Missing).count() as u64;
                if !self.connect(at, self.extent(block + missing).end)? {
                    filled = 0;
                }
                continue;
            }
            match self.read_stream(block, at, &mut bytes[filled..]) {
                Ok(read) => {
                    filled += read;
                    retry.progressed();
                }
                Err(error) => {
                    self.stream = None;
                    let transient = matches!(&error, Error::Fetch { kind: FetchErrorKind::Unavailable, .. });
                    retry.again(Failure { error, transient, wait: None })?;
                }
            }
        }
        self.store(block, &bytes)
    }

    /// Opens a stream of the bytes from `at` on; false if everything had to be begun anew first.
    fn connect(&mut self, at: u64, end: u64) -> Result<bool> {
        // The connection of the stream before can be used again.
        self.stream = None;
        let range = at..if end == self.entry.size { u64::MAX } else { end };
        match stream::open(&self.client, &self.request, &self.entry, self.journal.tag(), range)? {
            Opened::Stream { stream, tag } => {
                let known = self.known_blocks();
                self.journal.set_tag(tag, &known)?;
                self.stream = Some(stream);
                Ok(true)
            }
            Opened::Changed(reason) => self.restart(reason).map(|()| false),
        }
    }

    /// Reads some bytes at `at`, in `wanted`. Where a server ignored the range, what comes before is kept, block by block, or passed over.
    fn read_stream(&mut self, wanted: u64, at: u64, buffer: &mut [u8]) -> Result<usize> {
        let shown_url = shown(&self.request.url);
        let size = self.entry.size;
        let broken = |position: u64| {
            let reason = format!("the content ended after {position} of {size} bytes");
            Error::fetch(shown_url.as_str(), FetchErrorKind::Unavailable, reason)
        };
        loop {
            let Some(stream) = &mut self.stream else { return Err(broken(at)) };
            let position = stream.position();
            if position == at {
                return match stream.read(buffer).map_err(|error| Error::from_io(&shown_url, error))? {
                    0 => Err(broken(position)),
                    read => Ok(read),
                };
            }
            let passed = position / BLOCK_BYTES;
            let extent = passed * BLOCK_BYTES..at.min((passed + 1) * BLOCK_BYTES);
            let mut bytes = vec![0; (extent.end - position) as usize];
            stream.read_exact(&mut bytes).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => broken(position),
                _ => Error::from_io(&shown_url, error),
            })?;
            let is_whole = position == extent.start && passed != wanted;
            if is_whole && self.blocks[passed as usize] == Block::Missing {
                self.store(passed, &bytes)?;
            }
        }
    }

    /// Keeps a block: first its bytes, then the word that they are there.
    fn store(&mut self, block: u64, bytes: &[u8]) -> Result<()> {
        self.meter.add(bytes.len() as u64)?;
        let start = block * BLOCK_BYTES;
        self.file.write_all_at(bytes, start).map_err(|error| Error::io(&self.part, error))?;
        let sum = crc32fast::hash(bytes);
        self.journal.record(block, sum)?;
        self.blocks[block as usize] = Block::Ready(sum);
        self.unsynced += 1;
        if self.unsynced >= BLOCKS_PER_SYNC { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<()> {
        self.unsynced = 0;
        self.file.sync_data().map_err(|error| Error::io(&self.part, error))?;
        self.journal.sync()
    }

    fn known_blocks(&self) -> Vec<(u64, u32)> {
        let sums = self.blocks.iter().zip(0..).map(|(block, number)| match *block {
            Block::Missing => None,
            Block::Recorded(sum) | Block::Ready(sum) => Some((number, sum)),
        });
        sums.flatten().collect()
    }

    /// Begins anew, where that is still possible.
    fn restart(&mut self, reason: String) -> Result<()> {
        self.forget()?;
        self.restarts += 1;
        if self.was_read || self.restarts > 1 {
            self.changed = Some(format!("the content is not the pinned one: {reason}"));
        }
        self.check_unchanged()
    }

    fn check_unchanged(&self) -> Result<()> {
        let Some(reason) = &self.changed else { return Ok(()) };
        Err(Error::fetch(shown(&self.request.url), FetchErrorKind::Invalid, reason.as_str()))
    }

    /// No block is there any more.
    fn forget(&mut self) -> Result<()> {
        self.stream = None;
        self.journal.clear()?;
        self.blocks.fill(Block::Missing);
        let io = |error| Error::io(&self.part, error);
        self.file.set_len(0).map_err(io)?;
        self.file.set_len(self.entry.size).map_err(io)
    }

    /// Where a request for a block that is read ends at the latest: reading in order asks for more and more.
    fn reach(&mut self, block: u64) -> u64 {
        let in_order = self.last_read == block.checked_sub(1);
        let needs_request = self.blocks[block as usize] == Block::Missing
            && !self.stream.as_ref().is_some_and(|stream| stream.gives(block * BLOCK_BYTES));
        if needs_request {
            self.window = match self.window.saturating_mul(WINDOW_GROWTH) {
                _ if !in_order => 1,
                window if window > LARGEST_WINDOW => u64::MAX,
                window => window,
            };
        }
        block.saturating_add(self.window).min(self.blocks.len() as u64)
    }
}

impl Read for RemoteFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.entry.size || buffer.is_empty() {
            return Ok(0);
        }
        let block = self.position / BLOCK_BYTES;
        if self.last_read != Some(block) {
            let until = self.reach(block);
            self.ensure(block, until).map_err(Error::into_io)?;
            self.last_read = Some(block);
        } else {
            self.ensure(block, block + 1).map_err(Error::into_io)?;
        }
        let length = buffer.len().min((self.extent(block).end - self.position) as usize);
        self.file.read_exact_at(&mut buffer[..length], self.position)?;
        self.position += length as u64;
        self.was_read = true;
        Ok(length)
    }
}

impl Seek for RemoteFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(distance) => self.entry.size.checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        let before_start =
            || io::Error::new(io::ErrorKind::InvalidInput, "a position before the start of the file");
        self.position = target.ok_or_else(before_start)?;
        Ok(self.position)
    }
}

impl std::fmt::Debug for RemoteFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RemoteFile")
            .field("request", &self.request)
            .field("part", &self.part)
            .field("size", &self.entry.size)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
