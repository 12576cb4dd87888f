//! Parquet files: media are cells of one or several columns.
//!
//! ```text
//!  footer ──► columns ──► row groups, in a seeded order
//!                           └─► filter column ──► rows ──► media columns, page by page as streams ──► cells ──► media
//! ```
//!
//! Each media column comes down to one leaf of the schema, because the key of a struct is chosen by its name. Its
//! values are read in the order of the rows, so memory is bounded by one row's largest cell that is not a plain stream,
//! not by pages or row groups.

mod cell;
mod choice;
mod column;
mod dictionary;
mod levels;
mod page_header;
mod port;
mod scalar;
mod snappy;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(super) mod tests;

use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader, RowGroupMetaData};

use self::cell::{DEFAULT_SAMPLING_RATE, decode_text, may_be_text, pcm16, sampling_rate, wave_header};
use self::choice::{CellKind, Leaf, MediaColumn, media_columns, plain_column};
use self::column::{Column, Value, broken};
use self::port::{Port, with_port};
use self::scalar::Scalar;
use super::handout::{Handout, Outcome};
use super::{ByteSource, Flow, Origin, SkipReason, invalid, order_key, sniff};
use crate::catalog::FilterValue;
use crate::error::{Error, Result};

/// How much of a medium decides what it is.
const HEAD_BYTES: usize = 4096;

/// A column that is read before the media, up to this size, is fetched in one go.
const SMALL_COLUMN_BYTES: u64 = 16 << 20;

/// How far ahead each of several columns is fetched that are read side by side.
const SIDE_BY_SIDE_BYTES: u64 = 4 << 20;

/// What files are called whose caller knows their name.
const UNNAMED: &str = "parquet file";

/// The parquet crate panics on some contradictions in a file: they are errors like others.
fn guard<T>(work: impl FnOnce() -> parquet::errors::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err("its parts contradict each other".into()),
    }
}

/// Hands out the media of a parquet file of `size` bytes: row groups in a seeded order, rows in order inside of one.
pub(super) fn extract(source: &mut dyn ByteSource, size: u64, handout: &mut Handout<'_>) -> Result<()> {
    let key = handout.selection.key;
    with_port(source, size, key, |port| {
        let metadata = read_footer(port, key)?;
        let schema = metadata.file_metadata().schema_descr();
        let columns = media_columns(schema, handout.selection)?;
        let filter = match handout.selection.filter {
            Some((name, value)) => Some((plain_column(schema, name, key)?, value)),
            None => None,
        };
        for (group, first_row) in ordered_groups(&metadata, handout)? {
            handout.stop.check()?;
            let mut reader = GroupReader { port, group, first_row, key };
            let rows = match &filter {
                Some((leaf, wanted)) => reader.matching_rows(leaf, wanted, handout)?,
                None => Rows::All(0..reader.row_count()),
            };
            if reader.hand_out(&columns, rows, handout)? == Flow::Stop {
                break;
            }
        }
        Ok(())
    })
}

/// Reads columns of text of a parquet file, row after row, and hands each row to `each` with one entry per column:
/// numbers and booleans as a person would write them, none for null.
///
/// # Errors
/// [`Error::Fetch`] of kind [`FetchErrorKind::Invalid`](crate::FetchErrorKind::Invalid) for a broken file and for a
/// column that is not there, with the columns that are; the source's errors and those of `each`.
pub fn read_rows(
    source: &mut dyn ByteSource,
    columns: &[&str],
    each: &mut dyn FnMut(Vec<Option<String>>) -> Result<Flow>,
) -> Result<()> {
    let size = source.seek(io::SeekFrom::End(0)).map_err(|error| Error::from_io(UNNAMED, error))?;
    with_port(source, size, UNNAMED, |port| {
        let metadata = read_footer(port, UNNAMED)?;
        let schema = metadata.file_metadata().schema_descr();
        let leaves =
            columns.iter().map(|name| plain_column(schema, name, UNNAMED)).collect::<Result<Vec<_>>>()?;
        for group in metadata.row_groups() {
            let reader = GroupReader { port, group, first_row: 0, key: UNNAMED };
            let mut readers = leaves.iter().map(|leaf| reader.open(leaf)).collect::<Result<Vec<_>>>()?;
            for _ in 0..reader.row_count() {
                let mut row = Vec::with_capacity(leaves.len());
                for (column, leaf) in readers.iter_mut().zip(&leaves) {
                    let value = Scalar::take(column.as_mut(), &leaf.descriptor)
                        .map_err(|error| reader.error(&error))?;
                    row.push(value.ok_or_else(|| reader.short())?.text());
                }
                if each(row)? == Flow::Stop {
                    return Ok(());
                }
            }
        }
        Ok(())
    })
}

fn read_footer(port: &Port, key: &str) -> Result<ParquetMetaData> {
    guard(|| ParquetMetaDataReader::new().parse_and_finish(port)).map_err(|reason| port.failure(key, &reason))
}

/// The row groups in the order of this seed, each with the number of its first row.
fn ordered_groups<'a>(
    metadata: &'a ParquetMetaData,
    handout: &Handout<'_>,
) -> Result<Vec<(&'a RowGroupMetaData, u64)>> {
    let selection = handout.selection;
    let mut groups = Vec::with_capacity(metadata.num_row_groups());
    let mut first_row: u64 = 0;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        let rows = u64::try_from(group.num_rows()).ok();
        groups.push((order_key(selection, &(index as u64).to_le_bytes()), index, group, first_row));
        first_row = rows
            .and_then(|rows| first_row.checked_add(rows))
            .ok_or_else(|| invalid(selection.key, "broken parquet file: impossible numbers of rows"))?;
    }
    groups.sort_by_key(|&(order, index, ..)| (order, index));
    Ok(groups.into_iter().map(|(_, _, group, first_row)| (group, first_row)).collect())
}

/// The rows of a group that are taken, counted from its first.
enum Rows {
    All(Range<u64>),
    Some(std::vec::IntoIter<u64>),
}

impl Iterator for Rows {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        match self {
            Self::All(rows) => rows.next(),
            Self::Some(rows) => rows.next(),
        }
    }
}

struct GroupReader<'a> {
    port: &'a Port,
    group: &'a RowGroupMetaData,
    first_row: u64,
    key: &'a str,
}

impl GroupReader<'_> {
    fn row_count(&self) -> u64 {
        u64::try_from(self.group.num_rows()).unwrap_or(0)
    }

    fn error(&self, error: &dyn std::fmt::Display) -> Error {
        self.port.failure(self.key, error)
    }

    fn short(&self) -> Error {
        invalid(self.key, "broken parquet file: a column has fewer rows than its row group")
    }

    fn open(&self, leaf: &Leaf) -> Result<Box<dyn Column>> {
        let chunk = self.group.columns().get(leaf.index).ok_or_else(|| self.short())?;
        let rows = usize::try_from(self.group.num_rows()).unwrap_or(0);
        column::open(self.port, chunk, rows).map_err(|error| self.error(&error))
    }

    fn matching_rows(&self, leaf: &Leaf, wanted: &FilterValue, handout: &Handout<'_>) -> Result<Rows> {
        let chunk = self.group.columns().get(leaf.index).ok_or_else(|| self.short())?;
        let (start, length) = guard(|| Ok(chunk.byte_range())).map_err(|reason| self.error(&reason))?;
        if length <= SMALL_COLUMN_BYTES {
            self.port.prefetch(self.key, start, length)?;
        }
        let mut column = self.open(leaf)?;
        let mut rows = Vec::new();
        for row in 0..self.row_count() {
            handout.stop.check()?;
            let value =
                Scalar::take(column.as_mut(), &leaf.descriptor).map_err(|error| self.error(&error))?;
            if value.ok_or_else(|| self.short())?.equals(wanted) {
                rows.push(row);
            }
        }
        Ok(Rows::Some(rows.into_iter()))
    }

    fn hand_out(&mut self, columns: &[MediaColumn], rows: Rows, handout: &mut Handout<'_>) -> Result<Flow> {
        let mut rows = rows.peekable();
        if rows.peek().is_none() {
            return Ok(Flow::Continue);
        }
        let side_by_side = columns.len() > 1 || columns.iter().any(|column| column.rate.is_some());
        let ahead = self.port.fetching_ahead(if side_by_side { SIDE_BY_SIDE_BYTES } else { 0 });
        let reader = GroupReader { port: &ahead, ..*self };
        let mut open = Vec::with_capacity(columns.len());
        for column in columns {
            let rate = column.rate.as_ref().map(|leaf| reader.open(leaf)).transpose()?;
            open.push(OpenColumn { column, values: reader.open(&column.leaf)?, rate });
        }
        let mut next_row = 0;
        for row in rows {
            handout.stop.check()?;
            for column in &mut open {
                column.skip_rows(row - next_row).map_err(|error| reader.error(&error))?;
                if column.hand_out_row(&reader, row, handout)? == Flow::Stop {
                    return Ok(Flow::Stop);
                }
            }
            next_row = row + 1;
        }
        Ok(Flow::Continue)
    }
}

/// A media column of a row group.
struct OpenColumn<'a> {
    column: &'a MediaColumn,
    values: Box<dyn Column>,
    rate: Option<Box<dyn Column>>,
}

impl OpenColumn<'_> {
    fn skip_rows(&mut self, rows: u64) -> io::Result<()> {
        if let Some(rate) = &mut self.rate {
            rate.skip_rows(rows)?;
        }
        self.values.skip_rows(rows)
    }

    fn origin(&self, reader: &GroupReader<'_>, row: u64, position: u32) -> Origin {
        // Of lists of arrays the outer one has positions; of encoded media the only one.
        let list_depth =
            self.column.leaf.list_levels.len() - usize::from(self.column.kind == CellKind::Floats);
        Origin {
            member: None,
            row: Some(reader.first_row + row),
            column: Some(self.column.name.clone()),
            position: (list_depth > 0).then_some(position),
        }
    }

    fn hand_out_row(
        &mut self,
        reader: &GroupReader<'_>,
        row: u64,
        handout: &mut Handout<'_>,
    ) -> Result<Flow> {
        if self.values.peek().map_err(|error| reader.error(&error))?.is_none() {
            return Err(reader.short());
        }
        match self.column.kind {
            CellKind::Bytes | CellKind::Text => self.hand_out_bytes(reader, row, handout),
            CellKind::Floats => self.hand_out_samples(reader, row, handout),
        }
    }

    fn hand_out_bytes(
        &mut self,
        reader: &GroupReader<'_>,
        row: u64,
        handout: &mut Handout<'_>,
    ) -> Result<Flow> {
        let broken = |error: io::Error| reader.error(&error);
        let mut position = 0;
        loop {
            let origin = self.origin(reader, row, position);
            let is_text = self.column.kind == CellKind::Text;
            let flow = match self.values.take().map_err(broken)? {
                None => {
                    handout.skipped.add(SkipReason::EmptyCell);
                    Flow::Continue
                }
                Some(value) => hand_out_value(value, is_text, origin, reader, handout)?,
            };
            position += 1;
            let is_last = self.values.peek().map_err(broken)?.is_none_or(|place| place.repetition == 0);
            if flow == Flow::Stop || is_last {
                return Ok(flow);
            }
        }
    }

    fn hand_out_samples(
        &mut self,
        reader: &GroupReader<'_>,
        row: u64,
        handout: &mut Handout<'_>,
    ) -> Result<Flow> {
        let rates = self.rates().map_err(|error| reader.error(&error))?;
        let deepest = self.column.leaf.list_levels.len() as i16;
        let mut position: u32 = 0;
        loop {
            let recording = self.recording(deepest, handout).map_err(|error| reader.error(&error))?;
            let origin = self.origin(reader, row, position);
            let rate = rates.get(position as usize).copied().flatten();
            let flow = match (recording, rate.map_or(Some(DEFAULT_SAMPLING_RATE), sampling_rate)) {
                (Recording::Empty, _) => {
                    handout.skipped.add(SkipReason::EmptyCell);
                    Flow::Continue
                }
                (Recording::NotNumbers, _) => {
                    handout.skip(SkipReason::Corrupt, &origin, "the samples are not all numbers");
                    Flow::Continue
                }
                (Recording::TooLong, _) => {
                    handout.skip(SkipReason::OverEntryLimit, &origin, "too many samples");
                    Flow::Continue
                }
                (Recording::Samples(_), None) => {
                    handout.skip(SkipReason::Corrupt, &origin, &format!("no sampling rate: {rate:?}"));
                    Flow::Continue
                }
                (Recording::Samples(pcm), Some(rate)) => {
                    let header = wave_header(rate, pcm.len() / 2);
                    handout.offer_alone(origin, &mut Cursor::new(header).chain(Cursor::new(pcm)))?
                }
            };
            position += 1;
            let is_last = self
                .values
                .peek()
                .map_err(|error| reader.error(&error))?
                .is_none_or(|place| place.repetition == 0);
            if flow == Flow::Stop || is_last {
                return Ok(flow);
            }
        }
    }

    /// The sampling rates of a row, one for each place of its list.
    fn rates(&mut self) -> io::Result<Vec<Option<f64>>> {
        let (Some(column), Some(leaf)) = (&mut self.rate, &self.column.rate) else { return Ok(Vec::new()) };
        let mut rates = Vec::new();
        loop {
            let place = column.peek()?.ok_or_else(|| broken("fewer sampling rates than rows"))?;
            let rate = Scalar::take(column.as_mut(), &leaf.descriptor)?;
            // A list without places has no rate, and one mark that says so.
            if leaf.list_levels.first().is_none_or(|&level| place.definition >= level) {
                rates.push(rate.and_then(|rate| rate.number()));
            }
            if column.peek()?.is_none_or(|place| place.repetition == 0) {
                return Ok(rates);
            }
        }
    }

    /// Takes one array of samples.
    fn recording(&mut self, deepest: i16, handout: &Handout<'_>) -> io::Result<Recording> {
        let most = handout.selection.limits.entry_bytes.min(u32::MAX.into()).saturating_sub(44);
        let present = self.column.leaf.list_levels.last().copied().unwrap_or(0);
        let mut recording = Recording::Empty;
        loop {
            let has_sample = self.values.peek()?.is_some_and(|place| place.definition >= present);
            let sample = match self.values.take()? {
                Some(value) => Some(sample_of(value)?),
                None => None,
            };
            if has_sample {
                recording = match (recording, sample.and_then(pcm16)) {
                    (Recording::Samples(pcm), Some(_)) if pcm.len() as u64 + 2 > most => Recording::TooLong,
                    (Recording::Samples(mut pcm), Some(sample)) => {
                        pcm.extend(sample.to_le_bytes());
                        Recording::Samples(pcm)
                    }
                    (Recording::Empty, Some(sample)) => Recording::Samples(sample.to_le_bytes().to_vec()),
                    (Recording::TooLong, _) => Recording::TooLong,
                    _ => Recording::NotNumbers,
                };
            }
            // A repetition at the deepest level goes on with the same array.
            if self.values.peek()?.is_none_or(|place| place.repetition < deepest) {
                return Ok(recording);
            }
        }
    }
}

/// An array of samples.
enum Recording {
    Empty,
    /// As 16-bit PCM.
    Samples(Vec<u8>),
    NotNumbers,
    TooLong,
}

fn sample_of(value: Value<'_>) -> io::Result<f64> {
    match value.array::<8>()? {
        Some(([first, second, third, fourth, ..], 4)) => {
            Ok(f32::from_le_bytes([first, second, third, fourth]).into())
        }
        Some((bytes, 8)) => Ok(f64::from_le_bytes(bytes)),
        _ => Err(broken("a sample that is no float")),
    }
}

fn hand_out_value(
    mut value: Value<'_>,
    is_text: bool,
    origin: Origin,
    reader: &GroupReader<'_>,
    handout: &mut Handout<'_>,
) -> Result<Flow> {
    let broken = |error: io::Error| reader.error(&error);
    let modality = handout.selection.modality;
    let entry_bytes = handout.selection.limits.entry_bytes;
    let length = value.len();
    if length == 0 {
        handout.skipped.add(SkipReason::EmptyCell);
        return Ok(Flow::Continue);
    }
    // Base64 of a medium at the limit is a third longer than the medium.
    let most = if is_text { entry_bytes.saturating_mul(2) } else { entry_bytes };
    if length > most {
        handout.skip(
            SkipReason::OverEntryLimit,
            &origin,
            &format!("{length} bytes are over the limit of {most}"),
        );
        handout.bytes_left = handout.bytes_left.saturating_sub(length);
        value.finish().map_err(broken)?;
        return Ok(Flow::Continue);
    }
    let mut head = Vec::new();
    (&mut value).take(HEAD_BYTES as u64).read_to_end(&mut head).map_err(broken)?;
    let mut content: Box<dyn Read + '_> = if is_text || sniff(&head, modality).is_none() && may_be_text(&head)
    {
        value.read_to_end(&mut head).map_err(broken)?;
        match decode_text(&head, modality) {
            Some(medium) => Box::new(Cursor::new(medium)),
            None if is_text => {
                handout.skipped.add(SkipReason::NotMedium);
                return Ok(Flow::Continue);
            }
            None => Box::new(Cursor::new(head)),
        }
    } else {
        Box::new(Cursor::new(head).chain(&mut value))
    };
    let outcome = handout.offer(origin, content.as_mut())?;
    drop(content);
    value.finish().map_err(broken)?;
    match outcome {
        Outcome::Handed(flow) | Outcome::Skipped(flow) => Ok(flow),
        // What stands behind it in the column cannot be found.
        Outcome::Corrupt(reason) => Err(reader.error(&reason)),
    }
}
