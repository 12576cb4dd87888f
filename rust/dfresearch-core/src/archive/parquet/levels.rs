//! Runs of small numbers: repetition levels, definition levels, and indices into a dictionary.
//!
//! Source: "RLE / bit-packing hybrid" in `Encodings.md` of the Apache Parquet format.

use std::io::{self, Read};

/// Decodes numbers of up to 32 bits, one after another.
pub(super) struct Runs<R> {
    source: R,
    bits: u32,
    run: Run,
}

enum Run {
    /// The same number so many times.
    Same { value: u32, left: u64 },
    /// So many groups of eight packed numbers are left, and these of the current one.
    Packed { groups_left: u64, group: [u32; 8], used: usize },
}

impl<R: Read> Runs<R> {
    /// A decoder of numbers of `bits` bits, 32 at most.
    pub fn new(source: R, bits: u32) -> io::Result<Self> {
        if bits > 32 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("numbers of {bits} bits")));
        }
        Ok(Self { source, bits, run: Run::Same { value: 0, left: 0 } })
    }

    pub fn next(&mut self) -> io::Result<u32> {
        loop {
            match &mut self.run {
                Run::Same { value, left } if *left > 0 => {
                    *left -= 1;
                    return Ok(*value);
                }
                Run::Packed { group, used, .. } if *used < group.len() => {
                    *used += 1;
                    return Ok(group[*used - 1]);
                }
                Run::Packed { groups_left, .. } if *groups_left > 0 => {
                    let groups_left = *groups_left - 1;
                    self.run = Run::Packed { groups_left, group: self.read_group()?, used: 0 };
                }
                _ => self.run = self.read_run()?,
            }
        }
    }

    fn read_run(&mut self) -> io::Result<Run> {
        let mut head = 0_u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.source.read_exact(&mut byte)?;
            head |= u64::from(byte[0] & 0x7F) << shift;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        if head & 1 == 1 {
            return Ok(Run::Packed { groups_left: head >> 1, group: [0; 8], used: 8 });
        }
        let mut value = [0; 4];
        self.source.read_exact(&mut value[..self.bits.div_ceil(8) as usize])?;
        Ok(Run::Same { value: u32::from_le_bytes(value), left: head >> 1 })
    }

    fn read_group(&mut self) -> io::Result<[u32; 8]> {
        let bits = self.bits as usize;
        let mut packed = [0; 32];
        // The last group of a page may be cut off: what is missing is not asked for.
        let mut filled = 0;
        while filled < bits {
            match self.source.read(&mut packed[filled..bits])? {
                0 if filled == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                0 => break,
                read => filled += read,
            }
        }
        Ok(std::array::from_fn(|index| {
            (0..bits).fold(0, |value, bit| {
                let place = index * bits + bit;
                value | u32::from(packed[place / 8] >> (place % 8) & 1) << bit
            })
        }))
    }
}

/// How many bits numbers from zero to `most` need.
pub(super) fn bits_for(most: i16) -> u32 {
    u16::BITS - most.unsigned_abs().leading_zeros()
}
