//! The dictionary of a column, which may be as large as the row group.

use std::collections::VecDeque;
use std::io::{self, Read};

use parquet::data_type::ByteArray;

use super::column::{PageOpener, Stream, broken, read_length};

/// A dictionary up to this size is kept; of a larger one, the last values up to this size.
const KEPT_BYTES: u64 = 32 << 20;

/// What a kept value costs beside its bytes.
const VALUE_BYTES: u64 = 96;

/// The values of a dictionary page.
///
/// Writers number values in the order in which they first meet them: whoever reads the rows in order asks for one
/// value after another, and sometimes for an earlier one. A large dictionary is read as a stream along with the rows,
/// and from its beginning again for a value that is no longer kept.
pub(super) struct Dictionary {
    opener: PageOpener,
    /// How many values there are, and how long each is where all are as long as each other.
    count: u64,
    width: Option<u64>,
    stream: Option<Stream>,
    /// The number of the value that the stream stands at.
    next: u64,
    kept: VecDeque<(u64, ByteArray)>,
    kept_bytes: u64,
}

impl Dictionary {
    pub fn new(opener: PageOpener, count: u64, width: Option<u64>) -> Self {
        Self { opener, count, width, stream: None, next: 0, kept: VecDeque::new(), kept_bytes: 0 }
    }

    pub fn get(&mut self, index: u32) -> io::Result<ByteArray> {
        let index = u64::from(index);
        if index >= self.count {
            return Err(broken(format!("value {index} of a dictionary of {} values", self.count)));
        }
        if let Ok(place) = self.kept.binary_search_by_key(&index, |(number, _)| *number) {
            return Ok(self.kept[place].1.clone());
        }
        if self.stream.is_none() || index < self.next {
            self.stream = Some(self.opener.open()?);
            self.next = 0;
            self.kept.clear();
            self.kept_bytes = 0;
        }
        let stream = self.stream.as_mut().ok_or_else(|| broken("no dictionary"))?;
        loop {
            let length = match self.width {
                Some(width) => width,
                None => u64::from(read_length(stream)?),
            };
            // Not all at once: the length may be false.
            let mut value = Vec::new();
            if (stream.take(length).read_to_end(&mut value)? as u64) < length {
                return Err(broken("a dictionary that ends within a value"));
            }
            let (number, value) = (self.next, ByteArray::from(value));
            self.next += 1;
            self.kept_bytes += length + VALUE_BYTES;
            self.kept.push_back((number, value.clone()));
            while self.kept_bytes > KEPT_BYTES
                && let Some((_, oldest)) = self.kept.pop_front()
            {
                self.kept_bytes -= oldest.len() as u64 + VALUE_BYTES;
            }
            if number == index {
                return Ok(value);
            }
        }
    }
}
