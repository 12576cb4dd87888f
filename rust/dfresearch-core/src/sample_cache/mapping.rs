//! The records of a log, mapped into memory window by window.
//!
//! ```text
//!  log-000.records   ├──── window 0 ────┼──── window 1 ────┼──── window 2 ────┤
//!                    │ r0 │ r1 │ r2 │   │ r3 │ r4 │ … ▏reserved▏  behind the end of the file
//!                                     ▲                ▲
//!                     no record lies across two     committed
//! ```
//!
//! A window is mapped once, at full length, and stays where it is: so records can be borrowed for as long as the cache
//! lives, while the file grows. What lies behind the end of the file is mapped too and never touched.

use std::fs::File;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{Advice, MmapOptions, MmapRaw};

/// The records of one log. Only what was [committed](Self::commit) can be had.
#[derive(Debug)]
pub(super) struct Windows {
    file: File,
    window_bytes: u64,
    windows: Box<[OnceLock<MmapRaw>]>,
    /// Up to here the file is there, and stays there.
    committed: AtomicU64,
    /// As long was the file when somebody looked. What is committed stays when it becomes shorter.
    length: AtomicU64,
}

impl Windows {
    /// Maps nothing yet.
    pub fn new(file: File, window_bytes: u64, most_bytes: u64) -> Self {
        let count = usize::try_from(most_bytes.div_ceil(window_bytes)).unwrap_or(usize::MAX);
        let windows = (0..count).map(|_| OnceLock::new()).collect();
        let (committed, length) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { file, window_bytes, windows, committed, length }
    }

    /// Takes note that a writer has told of a record that ends here. False when the record is not in the file: that
    /// may be so after a power cut.
    pub fn commit(&self, end: u64) -> io::Result<bool> {
        if end > self.committed.load(Ordering::Acquire) {
            if end > self.length.load(Ordering::Acquire) {
                let length = self.file.metadata()?.len();
                self.length.fetch_max(length, Ordering::AcqRel);
                if end > length {
                    return Ok(false);
                }
            }
            self.committed.fetch_max(end, Ordering::AcqRel);
        }
        Ok(true)
    }

    /// The bytes of a record.
    ///
    /// # Errors
    /// When the operating system does not map the file, or the range is not one of a committed record.
    #[allow(unsafe_code, reason = "the memory is a file's, which the operating system looks after")]
    pub fn record(&self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let (window, start) = self.window(offset, length)?;
        // SAFETY: `window()` has checked that the range lies inside the mapping, which lives and stays in place as
        // long as `self`, and before `committed`. A committed range was written before its entry was, no writer of any
        // process writes to it again, and none makes the file shorter than it: so it is there and does not change.
        Ok(unsafe { std::slice::from_raw_parts(window.as_ptr().add(start), length) })
    }

    /// Asks the operating system to read a record ahead of its use.
    pub fn will_need(&self, offset: u64, length: usize) -> io::Result<()> {
        let (window, start) = self.window(offset, length)?;
        if length == 0 { Ok(()) } else { window.advise_range(Advice::WillNeed, start, length) }
    }

    /// The window with a committed range, and where in it the range begins.
    fn window(&self, offset: u64, length: usize) -> io::Result<(&MmapRaw, usize)> {
        let outside = || io::Error::new(io::ErrorKind::InvalidData, "a record outside of its log");
        let start = offset % self.window_bytes;
        let is_inside = start + length as u64 <= self.window_bytes
            && offset + length as u64 <= self.committed.load(Ordering::Acquire);
        let number = usize::try_from(offset / self.window_bytes).map_err(|_| outside())?;
        let cell = self.windows.get(number).filter(|_| is_inside).ok_or_else(outside)?;
        let start = usize::try_from(start).map_err(|_| outside())?;
        if let Some(window) = cell.get() {
            return Ok((window, start));
        }
        let bytes = usize::try_from(self.window_bytes).map_err(|_| outside())?;
        let first = number as u64 * self.window_bytes;
        // Two threads may map it both; one of the mappings goes again.
        let mapped = MmapOptions::new().offset(first).len(bytes).map_raw_read_only(&self.file)?;
        Ok((cell.get_or_init(|| mapped), start))
    }
}
