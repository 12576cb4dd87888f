//! Tar archives, compressed by gzip or not: a stream that is read from its beginning until it is enough.
//!
//! The headers are walked here and parsed by the `tar` crate: its own iterator reads long names and pax records
//! into memory whatever their size, which a small compressed archive can make larger than any memory.

use std::collections::HashSet;
use std::io::{self, BufReader, Read};

use ::tar::{EntryType, Header, PaxExtensions};
use flate2::bufread::MultiGzDecoder;

use super::handout::{Fault, Handout, Outcome, fault_of};
use super::member::{Verdict, judge, text_of};
use super::{ByteSource, Flow, Origin, SkipReason, invalid};
use crate::error::{Error, Result};

const BLOCK_BYTES: usize = 512;

/// How much of a compressed archive is read at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// The longest name, and the most pax records of one member.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// Hands out the media of a tar archive as they stand in it. Of members with the same name the first counts.
pub(super) fn extract(source: &mut dyn ByteSource, handout: &mut Handout<'_>) -> Result<()> {
    let key = handout.selection.key;
    let mut magic = [0; 2];
    let is_gzip = match source.read_exact(&mut magic) {
        Ok(()) => magic == [0x1F, 0x8B],
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
        Err(error) => return Err(stream_error(key, error)),
    };
    source.rewind().map_err(|error| stream_error(key, error))?;
    let buffered = BufReader::with_capacity(BUFFER_BYTES, source);
    if is_gzip {
        walk(&mut MultiGzDecoder::new(buffered), handout)
    } else {
        let mut buffered = buffered;
        walk(&mut buffered, handout)
    }
}

/// What headers of their own say about the member that follows them.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

fn walk(stream: &mut dyn Read, handout: &mut Handout<'_>) -> Result<()> {
    let key = handout.selection.key;
    let mut names = HashSet::new();
    let mut global = Extension::default();
    let mut extension = Extension::default();
    let mut is_first = true;
    loop {
        handout.stop.check()?;
        let Some(header) = next_header(stream, key, is_first)? else { return Ok(()) };
        is_first = false;
        let kind = header.entry_type();
        let own_size = header.entry_size().map_err(|error| broken(key, error))?;
        if kind.is_gnu_longname() || kind.is_pax_local_extensions() || kind.is_pax_global_extensions() {
            let content = read_extension(stream, own_size, handout)?;
            if kind.is_gnu_longname() {
                extension.name = Some(content.split(|&byte| byte == 0).next().unwrap_or_default().to_vec());
            } else {
                let target = if kind.is_pax_global_extensions() { &mut global } else { &mut extension };
                read_pax(&content, target)
                    .map_err(|reason| invalid(key, format!("broken tar archive: {reason}")))?;
            }
            continue;
        }
        let Extension { name, size, is_sparse } = std::mem::take(&mut extension);
        let name = name.or_else(|| global.name.clone()).unwrap_or_else(|| header.path_bytes().into_owned());
        let size = size.or(global.size).unwrap_or(own_size);
        let is_old_sparse = kind.is_gnu_sparse();
        if is_old_sparse {
            skip_sparse_map(stream, &header, key)?;
        }
        let name = text_of(&name);
        let origin = Origin { member: Some(name.clone()), ..Origin::default() };
        let reason = match judge(&name, handout.selection) {
            _ if kind.is_dir() || kind.is_gnu_longlink() => None,
            Verdict::Ignore => None,
            _ if kind.is_symlink() => Some(SkipReason::Symlink),
            _ if kind.is_hard_link() => Some(SkipReason::HardLink),
            _ if is_sparse || is_old_sparse || !is_regular(kind) => Some(SkipReason::SpecialFile),
            Verdict::Skip(reason) => Some(reason),
            Verdict::Take if !names.insert(name) => Some(SkipReason::DuplicateName),
            Verdict::Take if size > handout.selection.limits.entry_bytes => Some(SkipReason::OverEntryLimit),
            Verdict::Take => {
                if hand_out(stream, size, origin, handout)? == Flow::Stop {
                    return Ok(());
                }
                continue;
            }
        };
        if let Some(reason) = reason {
            handout.skipped.add(reason);
        }
        // Links may announce a size, and have no bytes.
        let size = if kind.is_hard_link() || kind.is_symlink() { 0 } else { size };
        if skip(stream, padded(size), &origin, handout)? == Flow::Stop {
            return Ok(());
        }
    }
}

fn is_regular(kind: EntryType) -> bool {
    kind.is_file() || kind.is_contiguous()
}

/// The next header; none at the end of the archive.
fn next_header(stream: &mut dyn Read, key: &str, is_first: bool) -> Result<Option<Header>> {
    let mut header = Header::new_old();
    let read = fill(stream, header.as_mut_bytes()).map_err(|error| stream_error(key, error))?;
    if read == 0 && !is_first {
        tracing::warn!("{key}: the tar archive has no mark at its end: members may be missing");
        return Ok(None);
    }
    if read < BLOCK_BYTES {
        return Err(truncated(key));
    }
    if header.as_bytes().iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    // The sum of all bytes, those of the sum itself as spaces.
    let bytes = header.as_bytes();
    let sum: u32 =
        bytes[..148].iter().chain(&bytes[156..]).map(|&byte| u32::from(byte)).sum::<u32>() + 8 * 32;
    match header.cksum() {
        Ok(expected) if expected == sum => Ok(Some(header)),
        _ if is_first => Err(invalid(key, "not a tar archive")),
        _ => Err(invalid(key, "broken tar archive: the checksum of a header does not match")),
    }
}

/// Reads until the buffer is full or the stream ends.
fn fill(stream: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A long name or pax records.
fn read_extension(stream: &mut dyn Read, size: u64, handout: &mut Handout<'_>) -> Result<Vec<u8>> {
    let key = handout.selection.key;
    if size > MAX_EXTENSION_BYTES {
        return Err(invalid(key, format!("broken tar archive: {size} bytes for the name of a member")));
    }
    let mut content = vec![0; padded(size) as usize];
    if fill(stream, &mut content).map_err(|error| stream_error(key, error))? < content.len() {
        return Err(truncated(key));
    }
    content.truncate(size as usize);
    Ok(content)
}

fn read_pax(content: &[u8], extension: &mut Extension) -> Result<(), String> {
    for record in PaxExtensions::new(content) {
        let record = record.map_err(|error| error.to_string())?;
        match record.key_bytes() {
            b"path" => extension.name = Some(record.value_bytes().to_vec()),
            b"size" => {
                let size = record.value().ok().and_then(|size| size.parse().ok());
                extension.size = Some(size.ok_or("a size that is no number")?);
            }
            name => extension.is_sparse |= name.starts_with(b"GNU.sparse."),
        }
    }
    Ok(())
}

/// The map of an old sparse file goes on in blocks behind its header.
fn skip_sparse_map(stream: &mut dyn Read, header: &Header, key: &str) -> Result<()> {
    let mut goes_on = header.as_gnu().is_some_and(::tar::GnuHeader::is_extended);
    while goes_on {
        let mut block = ::tar::GnuExtSparseHeader::new();
        if fill(stream, block.as_mut_bytes()).map_err(|error| stream_error(key, error))? < BLOCK_BYTES {
            return Err(truncated(key));
        }
        goes_on = block.is_extended();
    }
    Ok(())
}

fn hand_out(stream: &mut dyn Read, size: u64, origin: Origin, handout: &mut Handout<'_>) -> Result<Flow> {
    let mut content = Content { stream, left: size };
    let outcome = handout.offer(origin.clone(), &mut content)?;
    let left = content.left;
    match outcome {
        // The stream itself is broken: nothing behind it can be read.
        Outcome::Corrupt(reason) => {
            Err(invalid(handout.selection.key, format!("broken tar archive, at {origin}: {reason}")))
        }
        Outcome::Handed(Flow::Stop) | Outcome::Skipped(Flow::Stop) => Ok(Flow::Stop),
        Outcome::Handed(Flow::Continue) | Outcome::Skipped(Flow::Continue) => {
            let padding = padded(size) - size;
            skip(stream, left.saturating_add(padding), &origin, handout)
        }
    }
}

/// The bytes of a member; the end of the stream before them is an error.
struct Content<'a> {
    stream: &'a mut dyn Read,
    left: u64,
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let read = self.stream.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is truncated"));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// Reads over `bytes` bytes. They count for the archive: decompressing them is what a bomb is made for.
fn skip(stream: &mut dyn Read, bytes: u64, origin: &Origin, handout: &mut Handout<'_>) -> Result<Flow> {
    let key = handout.selection.key;
    let mut buffer = [0; BUFFER_BYTES];
    let mut left = bytes;
    while left > 0 {
        handout.stop.check()?;
        let most = usize::try_from(left).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
        let read = fill(stream, &mut buffer[..most]).map_err(|error| stream_error(key, error))?;
        if read < most {
            return Err(truncated(key));
        }
        left -= read as u64;
        match handout.bytes_left.checked_sub(read as u64) {
            Some(bytes_left) => handout.bytes_left = bytes_left,
            None => {
                handout.over_archive_limit(origin);
                return Ok(Flow::Stop);
            }
        }
    }
    Ok(Flow::Continue)
}

/// Members fill whole blocks.
fn padded(size: u64) -> u64 {
    size.checked_next_multiple_of(BLOCK_BYTES as u64).unwrap_or(u64::MAX)
}

fn truncated(key: &str) -> Error {
    invalid(key, "truncated tar archive: it ends within a member")
}

fn broken(key: &str, error: impl std::fmt::Display) -> Error {
    invalid(key, format!("broken tar archive: {error}"))
}

/// An error of reading the stream: the source's own, or bytes that gzip refuses.
fn stream_error(key: &str, error: io::Error) -> Error {
    match fault_of(key, error) {
        Fault::Fatal(error) => error,
        fault => broken(key, fault),
    }
}
