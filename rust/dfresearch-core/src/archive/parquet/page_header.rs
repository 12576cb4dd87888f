//! The header of a parquet page: a struct in Thrift's compact protocol.
//!
//! The crate reads it too, and keeps it to itself. Source: `parquet.thrift` of the Apache Parquet format, and the
//! Thrift compact protocol specification.

use std::io::{self, Read};

/// What a page is and how it is encoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct PageHeader {
    pub kind: i64,
    pub uncompressed_bytes: i64,
    pub compressed_bytes: i64,
    /// Of data pages with levels, null values included.
    pub values: i64,
    pub encoding: i64,
    pub definition_encoding: i64,
    pub repetition_encoding: i64,
    /// Version 2 only: lengths of the levels, which stand uncompressed before the values.
    pub definition_bytes: i64,
    pub repetition_bytes: i64,
    pub is_uncompressed: bool,
    /// How many bytes the header has.
    pub header_bytes: u64,
}

pub(super) const DATA_PAGE: i64 = 0;
pub(super) const INDEX_PAGE: i64 = 1;
pub(super) const DICTIONARY_PAGE: i64 = 2;
pub(super) const DATA_PAGE_V2: i64 = 3;

pub(super) const PLAIN: i64 = 0;
pub(super) const PLAIN_DICTIONARY: i64 = 2;
pub(super) const RLE: i64 = 3;
pub(super) const RLE_DICTIONARY: i64 = 8;

/// Headers with statistics of long values are the largest.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Structs in structs in a header: statistics are three deep.
const MAX_DEPTH: u32 = 16;

impl PageHeader {
    pub fn read(source: &mut dyn Read) -> io::Result<Self> {
        let mut thrift = Thrift { source, bytes: 0 };
        let mut header = Self { definition_encoding: RLE, repetition_encoding: RLE, ..Self::default() };
        thrift.fields(&mut |thrift, field, kind| {
            match field {
                1 => header.kind = thrift.integer(kind)?,
                2 => header.uncompressed_bytes = thrift.integer(kind)?,
                3 => header.compressed_bytes = thrift.integer(kind)?,
                5 => thrift.fields(&mut |thrift, field, kind| {
                    match field {
                        1 => header.values = thrift.integer(kind)?,
                        2 => header.encoding = thrift.integer(kind)?,
                        3 => header.definition_encoding = thrift.integer(kind)?,
                        4 => header.repetition_encoding = thrift.integer(kind)?,
                        _ => thrift.skip(kind, MAX_DEPTH)?,
                    }
                    Ok(())
                })?,
                7 => thrift.fields(&mut |thrift, field, kind| {
                    match field {
                        1 => header.values = thrift.integer(kind)?,
                        2 => header.encoding = thrift.integer(kind)?,
                        _ => thrift.skip(kind, MAX_DEPTH)?,
                    }
                    Ok(())
                })?,
                8 => thrift.fields(&mut |thrift, field, kind| {
                    match field {
                        1 => header.values = thrift.integer(kind)?,
                        4 => header.encoding = thrift.integer(kind)?,
                        5 => header.definition_bytes = thrift.integer(kind)?,
                        6 => header.repetition_bytes = thrift.integer(kind)?,
                        7 => header.is_uncompressed = kind == Thrift::FALSE,
                        _ => thrift.skip(kind, MAX_DEPTH)?,
                    }
                    Ok(())
                })?,
                _ => thrift.skip(kind, MAX_DEPTH)?,
            }
            Ok(())
        })?;
        header.header_bytes = thrift.bytes;
        Ok(header)
    }
}

struct Thrift<'a> {
    source: &'a mut dyn Read,
    bytes: u64,
}

impl Thrift<'_> {
    const TRUE: u8 = 1;
    const FALSE: u8 = 2;

    /// Reads the fields of a struct, each with its number and the type of its value.
    fn fields(&mut self, each: &mut dyn FnMut(&mut Self, i64, u8) -> io::Result<()>) -> io::Result<()> {
        let mut field = 0_i64;
        loop {
            let head = self.byte()?;
            let (delta, kind) = (head >> 4, head & 0x0F);
            if kind == 0 {
                return Ok(());
            }
            field = match delta {
                0 => self.zigzag()?,
                delta => field.saturating_add(i64::from(delta)),
            };
            each(self, field, kind)?;
        }
    }

    fn byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.source.read_exact(&mut byte)?;
        self.count(1)?;
        Ok(byte[0])
    }

    fn count(&mut self, bytes: u64) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_HEADER_BYTES { Err(broken("a page header without end")) } else { Ok(()) }
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(broken("a number of more than 64 bits in a page header"))
    }

    fn zigzag(&mut self) -> io::Result<i64> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn integer(&mut self, kind: u8) -> io::Result<i64> {
        match kind {
            4..=6 => self.zigzag(),
            _ => Err(broken("a page header with another type than its format has")),
        }
    }

    fn skip(&mut self, kind: u8, depth: u32) -> io::Result<()> {
        let depth = depth.checked_sub(1).ok_or_else(|| broken("a page header that is nested too deep"))?;
        match kind {
            Self::TRUE | Self::FALSE => Ok(()),
            3 => self.byte().map(|_| ()),
            4..=6 => self.varint().map(|_| ()),
            7 => self.skip_bytes(8),
            8 => {
                let length = self.varint()?;
                self.skip_bytes(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let count = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
                // Booleans in lists are bytes; each other element has at least one byte, so a false count ends soon.
                let kind = if matches!(head & 0x0F, 1 | 2) { 3 } else { head & 0x0F };
                (0..count).try_for_each(|_| self.skip(kind, depth))
            }
            12 => self.fields(&mut |thrift, _, kind| thrift.skip(kind, depth)),
            _ => Err(broken("a page header with an unknown type")),
        }
    }

    fn skip_bytes(&mut self, length: u64) -> io::Result<()> {
        self.count(length)?;
        let skipped = io::copy(&mut (&mut *self.source).take(length), &mut io::sink())?;
        if skipped < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

fn broken(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
