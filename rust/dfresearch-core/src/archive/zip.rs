//! Zip archives: the central directory first, then the members that are taken, in a seeded order.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::io::{self, Read, Seek, SeekFrom};
use std::iter;
use std::ops::Range;
use std::rc::Rc;

use zip::read::ZipFileEntry;
use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive};

use super::handout::{Fault, Handout, fault_of};
use super::member::{Verdict, judge, text_of};
use super::window::Windowed;
use super::{ByteSource, Flow, Origin, SkipReason, invalid, order_key};
use crate::error::{Error, Result};

/// How far ahead a remote source may fetch when it is not known how many media are wanted.
const CAREFUL_WINDOW: Ahead = Ahead { members: 8, bytes: 16 << 20 };

/// The fixed part of a local header, and room for an extra field that only the local header has.
const LOCAL_HEADER_BYTES: u64 = 30;
const EXTRA_FIELD_ROOM: u64 = 512;

struct Ahead {
    members: usize,
    bytes: u64,
}

/// A member that is a medium by its name.
struct Candidate {
    order: [u8; 32],
    name: String,
    index: usize,
    /// Where it lies, its local header included.
    range: Range<u64>,
}

/// The archive's bytes, for the zip reader and for prefetching at once.
#[derive(Clone)]
struct Shared<'a>(Rc<RefCell<Windowed<'a>>>);

impl Read for Shared<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.borrow_mut().read(buffer)
    }
}

impl Seek for Shared<'_> {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        self.0.borrow_mut().seek(target)
    }
}

/// Hands out the media of a zip archive of `size` bytes.
///
/// Of members with the same name the last in the central directory counts, as for other readers. A member whose bytes
/// contradict their CRC-32 or their compression is skipped and counted: the directory still leads to all others.
pub(super) fn extract(source: &mut dyn ByteSource, size: u64, handout: &mut Handout<'_>) -> Result<()> {
    let selection = handout.selection;
    let mut shared = Shared(Rc::new(RefCell::new(Windowed::new(source, size))));
    let mut archive = ZipArchive::new(shared.clone()).map_err(|error| broken(selection.key, error))?;
    if archive.has_duplicate_names() {
        count_duplicates(&mut shared, archive.central_directory_start(), handout)?;
    }
    let mut candidates = find_candidates(&archive, size, handout)?;
    candidates.sort_by(|first, second| (first.order, &first.name).cmp(&(second.order, &second.name)));
    let mut ready = 0;
    for (number, Candidate { name, index, .. }) in candidates.iter().enumerate() {
        handout.stop.check()?;
        if number >= ready {
            let ranges = ranges_ahead(&candidates[number..], handout);
            ready = number + ranges.len();
            shared.0.borrow_mut().prefetch(&worth_fetching(&ranges, size))?;
        }
        let origin = Origin { member: Some(name.clone()), ..Origin::default() };
        let flow = match archive.by_index(*index) {
            Ok(mut content) => handout.offer_alone(origin, &mut content)?,
            Err(error) => match fault(selection.key, error) {
                Fault::Fatal(error) => return Err(error),
                fault => {
                    handout.skip(SkipReason::Corrupt, &origin, &fault.to_string());
                    Flow::Continue
                }
            },
        };
        if flow == Flow::Stop {
            break;
        }
    }
    Ok(())
}

/// The members that are media by their names and are not refused at once.
fn find_candidates<R: Read + Seek>(
    archive: &ZipArchive<R>,
    size: u64,
    handout: &mut Handout<'_>,
) -> Result<Vec<Candidate>> {
    let selection = handout.selection;
    let mut candidates = Vec::new();
    for index in 0..archive.len() {
        handout.stop.check()?;
        let entry = archive.by_index_data(index).map_err(|error| broken(selection.key, error))?;
        if entry.is_dir() {
            continue;
        }
        let name = name_of(&entry);
        let origin = Origin { member: Some(name.clone()), ..Origin::default() };
        match judge(&name, selection) {
            Verdict::Ignore => {}
            _ if entry.is_symlink() => handout.skipped.add(SkipReason::Symlink),
            _ if !is_plain(&entry) => handout.skipped.add(SkipReason::SpecialFile),
            Verdict::Skip(reason) => handout.skipped.add(reason),
            Verdict::Take => match refusal(&entry, selection.limits.entry_bytes) {
                Some((reason, why)) => handout.skip(reason, &origin, &why),
                None => {
                    let order = order_key(selection, name.as_bytes());
                    candidates.push(Candidate { order, name, index, range: range_of(&entry, size) });
                }
            },
        }
    }
    Ok(candidates)
}

fn name_of(entry: &ZipFileEntry<'_>) -> String {
    entry.name().map_or_else(|_| text_of(entry.name_raw()), |name| name.into_owned())
}

/// Counts the media that stand several times in the central directory, of which the zip reader keeps the last.
fn count_duplicates(reader: &mut Shared<'_>, start: u64, handout: &mut Handout<'_>) -> Result<()> {
    const SIGNATURE: &[u8] = b"PK\x01\x02";
    const HEADER_BYTES: usize = 46;
    let key = handout.selection.key;
    let failed = |error| match fault_of(key, error) {
        Fault::Fatal(error) => error,
        fault => invalid(key, format!("broken zip archive: {fault}")),
    };
    let mut names = HashSet::new();
    reader.seek(SeekFrom::Start(start)).map_err(failed)?;
    loop {
        handout.stop.check()?;
        let mut header = [0; HEADER_BYTES];
        match reader.read_exact(&mut header) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            outcome => outcome.map_err(failed)?,
        }
        if !header.starts_with(SIGNATURE) {
            return Ok(());
        }
        let [name_bytes, extra_bytes, comment_bytes] =
            [28, 30, 32].map(|at| u16::from_le_bytes([header[at], header[at + 1]]));
        let mut name = vec![0; usize::from(name_bytes)];
        reader.read_exact(&mut name).map_err(failed)?;
        let rest = i64::from(extra_bytes) + i64::from(comment_bytes);
        reader.seek(SeekFrom::Current(rest)).map_err(failed)?;
        if matches!(judge(&text_of(&name), handout.selection), Verdict::Take) && !names.insert(name) {
            handout.skipped.add(SkipReason::DuplicateName);
        }
    }
}

/// Where a member lies: the length of its local extra field is not known before it is read.
fn range_of(entry: &ZipFileEntry<'_>, size: u64) -> Range<u64> {
    let start = entry.header_start().min(size);
    let header = LOCAL_HEADER_BYTES + entry.name_raw().len() as u64 + EXTRA_FIELD_ROOM;
    start..start.saturating_add(header).saturating_add(entry.compressed_size()).min(size)
}

/// Whether the mode, where there is one, is that of a regular file.
fn is_plain(entry: &ZipFileEntry<'_>) -> bool {
    const TYPE_BITS: u32 = 0o170_000;
    const REGULAR: u32 = 0o100_000;
    entry.unix_mode().is_none_or(|mode| matches!(mode & TYPE_BITS, 0 | REGULAR))
}

/// Why a member is not even opened.
fn refusal(entry: &ZipFileEntry<'_>, entry_bytes: u64) -> Option<(SkipReason, String)> {
    if entry.encrypted() {
        return Some((SkipReason::Encrypted, "it is encrypted".into()));
    }
    let method = entry.compression();
    let is_read = matches!(
        method,
        CompressionMethod::Stored
            | CompressionMethod::Deflated
            | CompressionMethod::Deflate64
            | CompressionMethod::Bzip2
            | CompressionMethod::Zstd
    );
    if !is_read {
        return Some((
            SkipReason::UnsupportedCompression,
            format!("compressed by {method}, which is not read"),
        ));
    }
    (entry.size() > entry_bytes).then(|| {
        (SkipReason::OverEntryLimit, format!("{} bytes are over the limit of {entry_bytes}", entry.size()))
    })
}

/// Where the next members lie: all that are wanted, so that neighbours are fetched together whatever their order is; as
/// many as one careful window holds where nobody says how many that are.
fn ranges_ahead(candidates: &[Candidate], handout: &Handout<'_>) -> Vec<Range<u64>> {
    if let Some(wanted) = handout.wanted_left() {
        return candidates.iter().take(wanted.max(1)).map(|candidate| candidate.range.clone()).collect();
    }
    let mut ranges = Vec::new();
    let mut bytes: u64 = 0;
    for Candidate { range, .. } in candidates.iter().take(CAREFUL_WINDOW.members) {
        bytes = bytes.saturating_add(range.end - range.start);
        if !ranges.is_empty() && bytes > CAREFUL_WINDOW.bytes {
            break;
        }
        ranges.push(range.clone());
    }
    ranges
}

/// The ranges, or the whole archive in one request where they are nearly all of it.
fn worth_fetching(ranges: &[Range<u64>], size: u64) -> Cow<'_, [Range<u64>]> {
    let bytes = ranges.iter().fold(0u64, |sum, range| sum.saturating_add(range.end - range.start));
    if bytes >= size - size / 8 { Cow::Owned(iter::once(0..size).collect()) } else { Cow::Borrowed(ranges) }
}

fn broken(key: &str, error: ZipError) -> Error {
    match fault(key, error) {
        Fault::Fatal(error) => error,
        fault => invalid(key, format!("broken zip archive: {fault}")),
    }
}

fn fault(key: &str, error: ZipError) -> Fault {
    match error {
        ZipError::Io(error) => fault_of(key, error),
        other => Fault::Corrupt(other.to_string()),
    }
}
