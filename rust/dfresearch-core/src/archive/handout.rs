//! Hands media to the sink, and watches over their bytes while it reads them.

use std::fmt;
use std::io::{self, Read};

use super::{Flow, Medium, Origin, Selection, SkipReason, Skipped};
use crate::error::{Error, Result};
use crate::stop::StopFlag;

/// What happened while the bytes of a medium were read.
pub(super) enum Fault {
    /// More bytes than one medium may have.
    OverEntryLimit,
    /// More bytes than the archive may have.
    OverArchiveLimit,
    /// The bytes contradict themselves.
    Corrupt(String),
    /// The source failed, or somebody asked to stop.
    Fatal(Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverEntryLimit => formatter.write_str("more bytes than one medium may have"),
            Self::OverArchiveLimit => formatter.write_str("more bytes than the archive may have"),
            Self::Corrupt(reason) => formatter.write_str(reason),
            Self::Fatal(error) => error.fmt(formatter),
        }
    }
}

/// How handing out a medium went.
pub(super) enum Outcome {
    /// The sink took or refused it.
    Handed(Flow),
    /// Its bytes are not sound; counted by the caller, who knows whether the archive can go on.
    Corrupt(String),
    /// It was skipped and counted.
    Skipped(Flow),
}

/// The state of one run through an archive.
pub(super) struct Handout<'a> {
    pub selection: &'a Selection<'a>,
    pub stop: &'a StopFlag,
    pub skipped: Skipped,
    /// How many decompressed bytes the archive may still have.
    pub bytes_left: u64,
    handed: usize,
    sink: &'a mut dyn FnMut(Medium<'_>) -> Result<Flow>,
}

impl<'a> Handout<'a> {
    pub fn new(
        selection: &'a Selection<'a>,
        archive_size: u64,
        stop: &'a StopFlag,
        sink: &'a mut dyn FnMut(Medium<'_>) -> Result<Flow>,
    ) -> Self {
        let bytes_left = selection.limits.total(archive_size);
        Self { selection, stop, skipped: Skipped::default(), bytes_left, handed: 0, sink }
    }

    /// How many more are wanted.
    pub fn wanted_left(&self) -> Option<usize> {
        self.selection.wanted.map(|wanted| wanted.saturating_sub(self.handed))
    }

    /// Counts something that is not handed out, and names it.
    pub fn skip(&mut self, reason: SkipReason, origin: &Origin, why: &str) {
        self.skipped.add(reason);
        tracing::warn!("{}: {origin}: skipped: {why}", self.selection.key);
    }

    /// Lets the sink read one medium.
    pub fn offer(&mut self, origin: Origin, content: &mut dyn Read) -> Result<Outcome> {
        self.stop.check()?;
        let entry_bytes = self.selection.limits.entry_bytes;
        let mut watched = Watched {
            key: self.selection.key,
            content,
            stop: self.stop,
            entry_left: entry_bytes,
            archive_left: &mut self.bytes_left,
            fault: None,
        };
        let answer = (self.sink)(Medium { origin: origin.clone(), content: &mut watched });
        match watched.fault {
            None => {
                let flow = answer?;
                self.handed += 1;
                Ok(Outcome::Handed(if self.wanted_left() == Some(0) { Flow::Stop } else { flow }))
            }
            Some(Fault::Fatal(error)) => Err(error),
            Some(Fault::Corrupt(reason)) => Ok(Outcome::Corrupt(reason)),
            Some(Fault::OverEntryLimit) => {
                self.skip(SkipReason::OverEntryLimit, &origin, &format!("more than {entry_bytes} bytes"));
                Ok(Outcome::Skipped(Flow::Continue))
            }
            Some(Fault::OverArchiveLimit) => {
                self.over_archive_limit(&origin);
                Ok(Outcome::Skipped(Flow::Stop))
            }
        }
    }

    /// As [`Handout::offer`], for archives whose other media are untouched by a broken one.
    pub fn offer_alone(&mut self, origin: Origin, content: &mut dyn Read) -> Result<Flow> {
        match self.offer(origin.clone(), content)? {
            Outcome::Handed(flow) | Outcome::Skipped(flow) => Ok(flow),
            Outcome::Corrupt(reason) => {
                self.skip(SkipReason::Corrupt, &origin, &reason);
                Ok(Flow::Continue)
            }
        }
    }

    /// Counts the end of an archive that decompresses to too much.
    pub fn over_archive_limit(&mut self, origin: &Origin) {
        self.skip(
            SkipReason::OverArchiveLimit,
            origin,
            "the archive decompresses to more than its limit; nothing after it is read",
        );
    }
}

/// What an I/O error says about the bytes that were read.
pub(super) fn fault_of(key: &str, error: io::Error) -> Fault {
    let is_ours = error.get_ref().is_some_and(|inner| inner.is::<Error>());
    if is_ours || error.raw_os_error().is_some() {
        Fault::Fatal(Error::from_io(key, error))
    } else {
        Fault::Corrupt(error.to_string())
    }
}

/// The bytes of a medium, counted.
struct Watched<'a> {
    key: &'a str,
    content: &'a mut dyn Read,
    stop: &'a StopFlag,
    entry_left: u64,
    archive_left: &'a mut u64,
    fault: Option<Fault>,
}

impl Watched<'_> {
    /// Remembers a fault and tells the sink of it: once broken, a medium stays broken.
    fn fail(&mut self, fault: Fault) -> io::Error {
        let text = fault.to_string();
        self.fault = Some(fault);
        io::Error::new(io::ErrorKind::InvalidData, text)
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.fault.is_some() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the medium is broken"));
        }
        if let Err(error) = self.stop.check() {
            return Err(self.fail(Fault::Fatal(error)));
        }
        let read = loop {
            match self.content.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let fault = fault_of(self.key, error);
                    return Err(self.fail(fault));
                }
                Ok(read) => break read as u64,
            }
        };
        match (self.entry_left.checked_sub(read), self.archive_left.checked_sub(read)) {
            (None, _) => Err(self.fail(Fault::OverEntryLimit)),
            (_, None) => Err(self.fail(Fault::OverArchiveLimit)),
            (Some(entry_left), Some(archive_left)) => {
                self.entry_left = entry_left;
                *self.archive_left = archive_left;
                Ok(read as usize)
            }
        }
    }
}
