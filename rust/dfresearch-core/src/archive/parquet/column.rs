//! A column of a row group, one value after another: the bytes of each.
//!
//! Writers cut pages by the number of values, not by their size: a page, or the dictionary before the pages, may be as
//! large as its row group. So pages are decompressed as a stream, and a value is read from it. Pages whose compression
//! or encoding cannot be streamed are read as a whole, by the parquet crate.

use std::io::{self, BufReader, Cursor, Read};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use parquet::basic::{Compression, Encoding, Type};
use parquet::column::reader::ColumnReaderImpl;
use parquet::data_type::{
    AsBytes, BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::serialized_reader::SerializedPageReader;

use super::dictionary::Dictionary;
use super::guard;
use super::levels::{Runs, bits_for};
use super::page_header::{
    DATA_PAGE, DATA_PAGE_V2, DICTIONARY_PAGE, INDEX_PAGE, PLAIN, PLAIN_DICTIONARY, PageHeader, RLE,
    RLE_DICTIONARY,
};
use super::port::{Port, PortReader};
use super::snappy::SnappyReader;

/// The levels of one page are small; more than this is not sound.
const MAX_LEVEL_BYTES: u64 = 64 << 20;

/// Decompressed bytes of a page.
pub(super) type Stream = Box<dyn Read>;

/// Where a value stands: its repetition and its definition level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub repetition: i16,
    pub definition: i16,
}

/// A column of a row group: its values one after another, in the order of the rows.
pub(super) trait Column {
    /// The place of the next value, which it stays at; none at the end of the row group.
    fn peek(&mut self) -> io::Result<Option<Place>>;

    /// Takes the next place: none if it has no value, else its bytes, little-endian for numbers. What is not read of
    /// them must be read with [`Value::finish`].
    fn take(&mut self) -> io::Result<Option<Value<'_>>>;

    /// Leaves out whole rows, from the beginning of a row on.
    fn skip_rows(&mut self, rows: u64) -> io::Result<()> {
        for _ in 0..rows {
            skip_row(self)?;
        }
        Ok(())
    }
}

fn skip_row<C: Column + ?Sized>(column: &mut C) -> io::Result<()> {
    loop {
        if let Some(value) = column.take()? {
            value.finish()?;
        }
        if column.peek()?.is_none_or(|place| place.repetition == 0) {
            return Ok(());
        }
    }
}

/// Opens a column; `rows` as the row group says.
pub(super) fn open(port: &Port, chunk: &ColumnChunkMetaData, rows: usize) -> io::Result<Box<dyn Column>> {
    let is_streamed_codec = matches!(
        chunk.compression(),
        Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_) | Compression::ZSTD(_)
    );
    // Old writers list the encoding of levels that the column does not have.
    #[allow(deprecated)]
    let is_streamed_encoding = |encoding| {
        matches!(
            encoding,
            Encoding::PLAIN
                | Encoding::PLAIN_DICTIONARY
                | Encoding::RLE_DICTIONARY
                | Encoding::RLE
                | Encoding::BIT_PACKED
        )
    };
    let width = match chunk.column_type() {
        Type::BYTE_ARRAY => None,
        Type::INT32 | Type::FLOAT => Some(4),
        Type::INT64 | Type::DOUBLE => Some(8),
        Type::BOOLEAN => return paged::<BoolType>(port, chunk, rows),
        other => return Err(broken(format!("a column of type {other} is not read"))),
    };
    if is_streamed_codec && chunk.encodings().all(is_streamed_encoding) {
        return Ok(Box::new(StreamedColumn::new(port, chunk, width)?));
    }
    match chunk.column_type() {
        Type::INT32 => paged::<Int32Type>(port, chunk, rows),
        Type::INT64 => paged::<Int64Type>(port, chunk, rows),
        Type::FLOAT => paged::<FloatType>(port, chunk, rows),
        Type::DOUBLE => paged::<DoubleType>(port, chunk, rows),
        _ => paged::<ByteArrayType>(port, chunk, rows),
    }
}

fn paged<T: DataType>(port: &Port, chunk: &ColumnChunkMetaData, rows: usize) -> io::Result<Box<dyn Column>>
where
    T::T: AsBytes,
{
    let pages =
        guard(|| SerializedPageReader::new(Arc::new(port.clone()), chunk, rows, None)).map_err(broken)?;
    let reader = ColumnReaderImpl::<T>::new(chunk.column_descr_ptr(), Box::new(pages));
    Ok(Box::new(PagedColumn { reader, row: Row::default(), max_definition: max_levels(chunk).1 }))
}

/// The bytes of a value. What is not read of it must be read before the next one.
pub(super) enum Value<'a> {
    Stream { left: u64, stream: &'a mut dyn Read },
    Bytes(Cursor<ByteArray>),
}

impl Value<'_> {
    /// How many bytes are left of it.
    pub fn len(&self) -> u64 {
        match self {
            Self::Stream { left, .. } => *left,
            Self::Bytes(bytes) => (bytes.get_ref().len() as u64).saturating_sub(bytes.position()),
        }
    }

    /// Reads what is left of it.
    pub fn finish(mut self) -> io::Result<()> {
        match &mut self {
            Self::Bytes(_) => Ok(()),
            Self::Stream { .. } => io::copy(&mut self, &mut io::sink()).map(|_| ()),
        }
    }

    /// All of a value that may have `N` bytes at most; none if it has more.
    pub fn array<const N: usize>(mut self) -> io::Result<Option<([u8; N], usize)>> {
        let length = self.len();
        if length > N as u64 {
            return self.finish().map(|()| None);
        }
        let mut bytes = [0; N];
        self.read_exact(&mut bytes[..length as usize])?;
        Ok(Some((bytes, length as usize)))
    }
}

impl Read for Value<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Bytes(bytes) => bytes.read(buffer),
            Self::Stream { left: 0, .. } => Ok(0),
            Self::Stream { left, stream } => {
                let most = usize::try_from(*left).map_or(buffer.len(), |left| left.min(buffer.len()));
                let read = stream.read(&mut buffer[..most])?;
                if read == 0 && most > 0 {
                    return Err(broken("a value goes on behind the end of its page"));
                }
                *left -= read as u64;
                Ok(read)
            }
        }
    }
}

pub(super) fn broken(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

fn max_levels(chunk: &ColumnChunkMetaData) -> (i16, i16) {
    (chunk.column_descr().max_rep_level(), chunk.column_descr().max_def_level())
}

/// A column whose pages are decompressed as they are read.
struct StreamedColumn {
    port: Port,
    codec: Compression,
    /// The bytes of a value, where all have as many; else a length stands before each.
    width: Option<u64>,
    max_repetition: i16,
    max_definition: i16,
    /// Where the next page begins, and how many bytes of the chunk are left from there.
    position: u64,
    bytes_left: u64,
    dictionary: Option<Dictionary>,
    page: Option<DataPage>,
    peeked: Option<Place>,
}

/// The header of a page, where its bytes begin and how many they are, and a reader that stands there.
struct LocatedHeader {
    header: PageHeader,
    start: u64,
    bytes: u64,
    reader: PortReader,
}

struct DataPage {
    values_left: i64,
    repetition: Option<Runs<Cursor<Vec<u8>>>>,
    definition: Option<Runs<Cursor<Vec<u8>>>>,
    values: Values,
}

enum Values {
    Plain(BufReader<Stream>),
    /// Made when the first value is asked for: a page of null values may have none.
    Indices {
        stream: Option<Stream>,
        runs: Option<Runs<BufReader<Stream>>>,
    },
}

impl StreamedColumn {
    fn new(port: &Port, chunk: &ColumnChunkMetaData, width: Option<u64>) -> io::Result<Self> {
        // Negative numbers make the crate panic.
        let (position, bytes_left) = guard(|| Ok(chunk.byte_range())).map_err(broken)?;
        let (max_repetition, max_definition) = max_levels(chunk);
        Ok(Self {
            port: port.clone(),
            codec: chunk.compression(),
            width,
            max_repetition,
            max_definition,
            position,
            bytes_left,
            dictionary: None,
            page: None,
            peeked: None,
        })
    }
}

impl Column for StreamedColumn {
    fn peek(&mut self) -> io::Result<Option<Place>> {
        while self.peeked.is_none() {
            match &mut self.page {
                Some(page) if page.values_left > 0 => {
                    page.values_left -= 1;
                    let level = |runs: &mut Option<Runs<_>>, most: i16| match runs {
                        Some(runs) => match i16::try_from(runs.next()?) {
                            Ok(level) if level <= most => Ok(level),
                            _ => Err(broken("a level that the column does not have")),
                        },
                        None => Ok(most),
                    };
                    let repetition = level(&mut page.repetition, self.max_repetition)?;
                    let definition = level(&mut page.definition, self.max_definition)?;
                    self.peeked = Some(Place { repetition, definition });
                }
                _ if self.bytes_left == 0 => return Ok(None),
                _ => {
                    let header = self.next_header()?;
                    self.open_page(header)?;
                }
            }
        }
        Ok(self.peeked)
    }

    fn take(&mut self) -> io::Result<Option<Value<'_>>> {
        if self.peek()?.is_none_or(|place| place.definition < self.max_definition) {
            self.peeked = None;
            return Ok(None);
        }
        self.peeked = None;
        match self.page.as_mut().map(|page| &mut page.values) {
            None => Err(broken("a value without a page")),
            Some(Values::Plain(stream)) => {
                let left = match self.width {
                    Some(width) => width,
                    None => u64::from(read_length(stream)?),
                };
                Ok(Some(Value::Stream { left, stream }))
            }
            Some(Values::Indices { stream, runs }) => {
                if let Some(mut stream) = stream.take() {
                    let mut bits = [0];
                    stream.read_exact(&mut bits)?;
                    *runs = Some(Runs::new(BufReader::new(stream), u32::from(bits[0]))?);
                }
                let index = runs.as_mut().ok_or_else(|| broken("a page without indices"))?.next()?;
                let dictionary = self.dictionary.as_mut();
                let value = dictionary.ok_or_else(|| broken("a page without its dictionary"))?.get(index)?;
                Ok(Some(Value::Bytes(Cursor::new(value))))
            }
        }
    }

    fn skip_rows(&mut self, rows: u64) -> io::Result<()> {
        let mut rows = rows;
        while rows > 0 {
            let is_between_pages =
                self.peeked.is_none() && self.page.as_ref().is_none_or(|page| page.values_left == 0);
            // Where each value is a row, a page is left out without reading it.
            if is_between_pages && self.max_repetition == 0 && self.bytes_left > 0 {
                let header = self.next_header()?;
                let is_data = matches!(header.header.kind, DATA_PAGE | DATA_PAGE_V2);
                match rows.checked_sub(header.header.values as u64) {
                    Some(left) if is_data => rows = left,
                    _ => self.open_page(header)?,
                }
                continue;
            }
            skip_row(self)?;
            rows -= 1;
        }
        Ok(())
    }
}

impl StreamedColumn {
    /// Reads the header of the next page, and goes on behind that page.
    fn next_header(&mut self) -> io::Result<LocatedHeader> {
        self.page = None;
        let mut reader = self.port.reader(self.position);
        let header = PageHeader::read(&mut (&mut reader).take(self.bytes_left))?;
        let bytes = u64::try_from(header.compressed_bytes).unwrap_or(u64::MAX);
        let total = header.header_bytes.saturating_add(bytes);
        if total > self.bytes_left || header.uncompressed_bytes < 0 || header.values < 0 {
            return Err(broken("a page that goes on behind the end of its column"));
        }
        let start = self.position + header.header_bytes;
        self.position += total;
        self.bytes_left -= total;
        Ok(LocatedHeader { header, start, bytes, reader })
    }

    fn open_page(&mut self, located: LocatedHeader) -> io::Result<()> {
        let LocatedHeader { header, start, bytes, reader } = located;
        match header.kind {
            INDEX_PAGE => Ok(()),
            DICTIONARY_PAGE => {
                if !matches!(header.encoding, PLAIN | PLAIN_DICTIONARY) {
                    return Err(broken(format!("a dictionary in encoding {}", header.encoding)));
                }
                let opener = PageOpener { port: self.port.clone(), codec: self.codec, start, bytes };
                self.dictionary = Some(Dictionary::new(opener, header.values as u64, self.width));
                Ok(())
            }
            DATA_PAGE | DATA_PAGE_V2 => {
                self.page = Some(self.data_page(&header, Box::new(reader.take(bytes)))?);
                Ok(())
            }
            kind => Err(broken(format!("a page of unknown type {kind}"))),
        }
    }

    fn data_page(&self, header: &PageHeader, mut raw: Stream) -> io::Result<DataPage> {
        let (repetition, definition, stream);
        if header.kind == DATA_PAGE_V2 {
            let mut levels = |length: i64, most: i16| {
                let length = u64::try_from(length).unwrap_or(u64::MAX);
                let bytes = read_levels(&mut raw, length)?;
                (most > 0).then(|| Runs::new(Cursor::new(bytes), bits_for(most))).transpose()
            };
            repetition = levels(header.repetition_bytes, self.max_repetition)?;
            definition = levels(header.definition_bytes, self.max_definition)?;
            stream = if header.is_uncompressed { raw } else { decompress(self.codec, raw)? };
        } else {
            let mut values = decompress(self.codec, raw)?;
            let mut levels = |encoding: i64, most: i16| {
                if most == 0 {
                    return Ok(None);
                }
                if encoding != RLE {
                    return Err(broken("levels in an encoding that has not been written since 2013"));
                }
                let length = u64::from(read_length(&mut values)?);
                let bytes = read_levels(&mut values, length)?;
                Runs::new(Cursor::new(bytes), bits_for(most)).map(Some)
            };
            repetition = levels(header.repetition_encoding, self.max_repetition)?;
            definition = levels(header.definition_encoding, self.max_definition)?;
            stream = values;
        }
        let values = match header.encoding {
            PLAIN => Values::Plain(BufReader::new(stream)),
            PLAIN_DICTIONARY | RLE_DICTIONARY => Values::Indices { stream: Some(stream), runs: None },
            encoding => {
                return Err(broken(format!("a page in encoding {encoding}, which its column does not list")));
            }
        };
        Ok(DataPage { values_left: header.values, repetition, definition, values })
    }
}

pub(super) fn read_length(stream: &mut dyn Read) -> io::Result<u32> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    Ok(u32::from_le_bytes(length))
}

fn read_levels(stream: &mut dyn Read, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if length > MAX_LEVEL_BYTES {
        return Err(broken(format!("{length} bytes of levels in one page")));
    }
    if (stream.take(length).read_to_end(&mut bytes)? as u64) < length {
        return Err(broken("a page that ends within its levels"));
    }
    Ok(bytes)
}

fn decompress(codec: Compression, raw: Stream) -> io::Result<Stream> {
    Ok(match codec {
        Compression::UNCOMPRESSED => raw,
        Compression::SNAPPY => Box::new(SnappyReader::new(BufReader::new(raw))),
        Compression::GZIP(_) => Box::new(MultiGzDecoder::new(BufReader::new(raw))),
        Compression::ZSTD(_) => Box::new(zstd::stream::read::Decoder::new(raw)?),
        other => return Err(broken(format!("{other} is not read as a stream"))),
    })
}

/// Opens a page anew.
pub(super) struct PageOpener {
    port: Port,
    codec: Compression,
    start: u64,
    bytes: u64,
}

impl PageOpener {
    pub fn open(&self) -> io::Result<Stream> {
        decompress(self.codec, Box::new(self.port.reader(self.start).take(self.bytes)))
    }
}

/// A column that the parquet crate reads, page by page and row by row.
struct PagedColumn<T: DataType> {
    reader: ColumnReaderImpl<T>,
    row: Row<T::T>,
    max_definition: i16,
}

/// The values of one row.
struct Row<V> {
    repetition: Vec<i16>,
    definition: Vec<i16>,
    values: std::vec::IntoIter<V>,
    places: usize,
    taken: usize,
}

impl<V> Default for Row<V> {
    fn default() -> Self {
        Self {
            repetition: Vec::new(),
            definition: Vec::new(),
            values: Vec::new().into_iter(),
            places: 0,
            taken: 0,
        }
    }
}

impl<T: DataType> Column for PagedColumn<T>
where
    T::T: AsBytes,
{
    fn peek(&mut self) -> io::Result<Option<Place>> {
        if self.row.taken == self.row.places {
            let (mut repetition, mut definition, mut values) = (Vec::new(), Vec::new(), Vec::new());
            let read = guard(|| {
                self.reader.read_records(1, Some(&mut definition), Some(&mut repetition), &mut values)
            });
            let (_, value_count, level_count) = read.map_err(broken)?;
            let places = level_count.max(value_count);
            self.row = Row { repetition, definition, values: values.into_iter(), places, taken: 0 };
            if places == 0 {
                return Ok(None);
            }
        }
        Ok(Some(Place {
            repetition: self.row.repetition.get(self.row.taken).copied().unwrap_or(0),
            definition: self.row.definition.get(self.row.taken).copied().unwrap_or(self.max_definition),
        }))
    }

    fn take(&mut self) -> io::Result<Option<Value<'_>>> {
        if self.peek()?.is_none_or(|place| place.definition < self.max_definition) {
            self.row.taken = self.row.places.min(self.row.taken + 1);
            return Ok(None);
        }
        self.row.taken += 1;
        let value = self.row.values.next().ok_or_else(|| broken("fewer values than places"))?;
        Ok(Some(Value::Bytes(Cursor::new(ByteArray::from(value.as_bytes())))))
    }
}
