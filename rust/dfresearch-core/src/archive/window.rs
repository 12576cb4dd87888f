//! A byte source that is shared, and buffered so that seeking within the buffer costs nothing.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use super::ByteSource;
use crate::error::Result;

/// How much is read at a time. Central directories and page headers are read in steps of a few bytes.
const WINDOW_BYTES: usize = 64 << 10;

/// A reader of a byte source that asks it for whole windows.
pub(super) struct Windowed<'a> {
    source: &'a mut dyn ByteSource,
    size: u64,
    position: u64,
    /// Where in the source the buffer begins.
    start: u64,
    buffer: Vec<u8>,
}

impl<'a> Windowed<'a> {
    pub fn new(source: &'a mut dyn ByteSource, size: u64) -> Self {
        Self { source, size, position: 0, start: 0, buffer: Vec::new() }
    }

    pub fn prefetch(&mut self, ranges: &[Range<u64>]) -> Result<()> {
        self.source.prefetch(ranges)
    }

    fn fill(&mut self) -> io::Result<()> {
        self.source.seek(SeekFrom::Start(self.position))?;
        self.start = self.position;
        self.buffer.resize(WINDOW_BYTES, 0);
        let read = read_some(self.source, &mut self.buffer);
        self.buffer.truncate(*read.as_ref().unwrap_or(&0));
        read.map(|_| ())
    }
}

/// One successful read: a call that was interrupted is repeated.
fn read_some(source: &mut dyn ByteSource, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}

impl Read for Windowed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let is_inside = |windowed: &Self| {
            windowed.position.checked_sub(windowed.start).filter(|&at| at < windowed.buffer.len() as u64)
        };
        if buffer.is_empty() || self.position >= self.size {
            return Ok(0);
        }
        if is_inside(self).is_none() {
            if buffer.len() >= WINDOW_BYTES {
                self.source.seek(SeekFrom::Start(self.position))?;
                let read = read_some(self.source, buffer)?;
                self.position += read as u64;
                return Ok(read);
            }
            self.fill()?;
        }
        let Some(at) = is_inside(self) else { return Ok(0) };
        let ready = &self.buffer[at as usize..];
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Windowed<'_> {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        let position = match target {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a place before the beginning"))?;
        Ok(self.position)
    }
}
