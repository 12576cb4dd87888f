//! Snappy's raw format as a stream, so that a page is never in memory as a whole.
//!
//! The format lets a copy reach back over all that came before; compressors work in blocks of 64 KiB, so that none
//! does. What is kept is more than that, and a copy that reaches further is an error that says so.
//!
//! Source: `format_description.txt` of Snappy.

use std::io::{self, Read};

/// How far back a copy may reach.
const HISTORY_BYTES: usize = 256 << 10;

/// How much is decompressed before it is handed on.
const CHUNK_BYTES: usize = 256 << 10;

/// Decompresses as it is read.
pub(super) struct SnappyReader<R> {
    source: R,
    /// The last decompressed bytes: up to `given` handed on, the rest not yet.
    window: Vec<u8>,
    given: usize,
    /// Bytes of a literal that are still to be read.
    literal_left: u64,
    /// Decompressed bytes that are still to come, by the preamble; none before that is read.
    left: Option<u64>,
}

impl<R: Read> SnappyReader<R> {
    pub fn new(source: R) -> Self {
        Self { source, window: Vec::new(), given: 0, literal_left: 0, left: None }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut left = match self.left {
            Some(left) => left,
            None => self.preamble()?,
        };
        if self.window.len() > HISTORY_BYTES + CHUNK_BYTES {
            self.window.drain(..self.window.len() - HISTORY_BYTES);
        }
        self.given = self.window.len();
        while left > 0 && self.window.len() - self.given < CHUNK_BYTES {
            let before = self.window.len();
            if self.literal_left > 0 {
                self.literal()?;
            } else {
                self.element()?;
            }
            let made = (self.window.len() - before) as u64;
            left = left.checked_sub(made).ok_or_else(|| broken("more bytes than it announces"))?;
        }
        self.left = Some(left);
        Ok(())
    }

    fn preamble(&mut self) -> io::Result<u64> {
        let mut length = 0;
        for shift in (0..35).step_by(7) {
            let byte = self.bytes::<1>()?[0];
            length |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok(length);
            }
        }
        Err(broken("a length that does not end"))
    }

    /// Reads the bytes of a literal, as many as a chunk holds.
    fn literal(&mut self) -> io::Result<()> {
        let most = self.literal_left.min(CHUNK_BYTES as u64);
        let start = self.window.len();
        self.window.resize(start + most as usize, 0);
        self.source.read_exact(&mut self.window[start..])?;
        self.literal_left -= most;
        Ok(())
    }

    fn element(&mut self) -> io::Result<()> {
        let tag = self.bytes::<1>()?[0];
        let high = u64::from(tag >> 2);
        let (length, offset) = match tag & 3 {
            0 => {
                self.literal_left = 1 + match high {
                    60 => u64::from(self.bytes::<1>()?[0]),
                    61 => u64::from(u16::from_le_bytes(self.bytes()?)),
                    62 => {
                        let [first, second, third] = self.bytes()?;
                        u64::from(u32::from_le_bytes([first, second, third, 0]))
                    }
                    63 => u64::from(u32::from_le_bytes(self.bytes()?)),
                    short => short,
                };
                return Ok(());
            }
            1 => (4 + (high & 7), (high >> 3) << 8 | u64::from(self.bytes::<1>()?[0])),
            2 => (1 + high, u64::from(u16::from_le_bytes(self.bytes()?))),
            _ => (1 + high, u64::from(u32::from_le_bytes(self.bytes()?))),
        };
        let start = usize::try_from(offset)
            .ok()
            .filter(|&offset| offset > 0)
            .and_then(|offset| self.window.len().checked_sub(offset))
            .ok_or_else(|| {
                broken("a copy from before its beginning, or from further back than compressors go")
            })?;
        for place in start..start + length as usize {
            self.window.push(self.window[place]);
        }
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl<R: Read> Read for SnappyReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.window.len() && self.left != Some(0) {
            self.fill()?;
        }
        let ready = &self.window[self.given..];
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.given += count;
        Ok(count)
    }
}

fn broken(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("broken Snappy data: {reason}"))
}
