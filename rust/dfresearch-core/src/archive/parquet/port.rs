//! Lets the parquet reader, which owns what it reads from, read from a borrowed byte source.
//!
//! A thread that ends with the call holds the source and answers requests; the readers hold only a handle.

use std::io::{self, Read, SeekFrom};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::super::{ByteSource, invalid};
use crate::error::{Error, Result};

/// How much a sequential reader asks for at a time.
const BUFFER_BYTES: usize = 128 << 10;

enum Request {
    Read { start: u64, length: usize, answer: SyncSender<io::Result<Vec<u8>>> },
    Prefetch { ranges: Vec<Range<u64>>, answer: SyncSender<io::Result<()>> },
}

/// A handle to a byte source.
#[derive(Clone)]
pub(super) struct Port {
    size: u64,
    requests: Sender<Request>,
    failure: Arc<Mutex<Option<Error>>>,
    /// How far ahead sequential readers have the source fetch; zero leaves it to the source.
    ahead: u64,
}

/// Runs `work` with a handle to `source`.
pub(super) fn with_port<T>(
    source: &mut dyn ByteSource,
    size: u64,
    key: &str,
    work: impl FnOnce(&Port) -> Result<T>,
) -> Result<T> {
    thread::scope(|scope| {
        let (requests, inbox) = channel();
        let failure = Arc::default();
        let slot = Arc::clone(&failure);
        thread::Builder::new()
            .name("parquet source".into())
            .spawn_scoped(scope, move || serve(source, key, &inbox, &slot))
            .map_err(|error| Error::io(key, error))?;
        // The thread ends when the last handle is dropped: none outlives `work`.
        let port = Port { size, requests, failure, ahead: 0 };
        work(&port)
    })
}

fn serve(source: &mut dyn ByteSource, key: &str, inbox: &Receiver<Request>, failure: &Mutex<Option<Error>>) {
    // Readers do not carry errors of the source unharmed: what failed first is kept for whoever asked.
    let keep = |error: Error| {
        let text = error.to_string();
        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        io::Error::other(text)
    };
    for request in inbox {
        // A receiver that is gone has given up waiting, and needs no answer.
        match request {
            Request::Read { start, length, answer } => {
                let read = read_at(source, start, length).map_err(|error| keep(Error::from_io(key, error)));
                let _ = answer.send(read);
            }
            Request::Prefetch { ranges, answer } => {
                let _ = answer.send(source.prefetch(&ranges).map_err(keep));
            }
        }
    }
}

/// Up to `length` bytes: fewer at the end of the source.
fn read_at(source: &mut dyn ByteSource, start: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length.min(BUFFER_BYTES));
    source.seek(SeekFrom::Start(start))?;
    source.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Port {
    /// A handle whose sequential readers have so many bytes fetched ahead of them.
    pub fn fetching_ahead(&self, bytes: u64) -> Self {
        Self { ahead: bytes, ..self.clone() }
    }

    /// Has `length` bytes fetched.
    pub fn prefetch(&self, key: &str, start: u64, length: u64) -> Result<()> {
        self.request_prefetch(start, length).map_err(|error| self.failure(key, &error))
    }

    fn request_prefetch(&self, start: u64, length: u64) -> io::Result<()> {
        let end = start.saturating_add(length).min(self.size);
        if start >= end {
            return Ok(());
        }
        let (answer, reply) = sync_channel(1);
        let ranges = std::iter::once(start..end).collect();
        self.requests.send(Request::Prefetch { ranges, answer }).map_err(|_| gone())?;
        reply.recv().unwrap_or_else(|_| Err(gone()))
    }

    fn read(&self, start: u64, length: usize) -> io::Result<Vec<u8>> {
        let (answer, reply) = sync_channel(1);
        self.requests.send(Request::Read { start, length, answer }).map_err(|_| gone())?;
        reply.recv().unwrap_or_else(|_| Err(gone()))
    }

    /// The source's error if it has failed; else the file contradicts itself.
    pub fn failure(&self, key: &str, error: &dyn std::fmt::Display) -> Error {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.unwrap_or_else(|| invalid(key, format!("broken parquet file: {error}")))
    }

    /// Reads from `start` on.
    pub fn reader(&self, start: u64) -> PortReader {
        PortReader { port: self.clone(), position: start, fetched: start, buffer: Vec::new(), used: 0 }
    }
}

fn gone() -> io::Error {
    io::Error::other("the reader of the archive has ended")
}

impl Length for Port {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Port {
    type T = PortReader;

    fn get_read(&self, start: u64) -> parquet::errors::Result<PortReader> {
        Ok(self.reader(start))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        let outside = || ParquetError::EOF(format!("{length} bytes at {start} are not in the file"));
        start.checked_add(length as u64).filter(|&end| end <= self.size).ok_or_else(outside)?;
        let bytes = Port::read(self, start, length)?;
        if bytes.len() < length { Err(outside()) } else { Ok(bytes.into()) }
    }
}

/// A sequential reader through a [`Port`].
pub(super) struct PortReader {
    port: Port,
    position: u64,
    /// Up to where the source was told to fetch.
    fetched: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl Read for PortReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.used == self.buffer.len() {
            let length = BUFFER_BYTES.max(buffer.len()).min(8 * BUFFER_BYTES);
            if self.port.ahead > 0 && self.position + length as u64 > self.fetched {
                self.port.request_prefetch(self.position, self.port.ahead)?;
                self.fetched = self.position + self.port.ahead;
            }
            self.buffer = self.port.read(self.position, length)?;
            self.position += self.buffer.len() as u64;
            self.used = 0;
        }
        let ready = &self.buffer[self.used..];
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        self.used += count;
        Ok(count)
    }
}
