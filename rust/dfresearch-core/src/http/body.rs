//! The content of an answer, as it comes.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use ureq::BodyReader;

use super::HttpClient;
use crate::error::{Error, FetchErrorKind};

/// The content of an answer, streamed.
///
/// A connection that breaks, ends early or gives no byte for the stall timeout is an error; so is a request to stop, within a
/// fraction of a second. Every error carries an [`Error`], which [`Error::from_io`] unpacks: [`Error::Fetch`] of the kind
/// `Unavailable`, or [`Error::Stopped`].
pub struct Body {
    source: Source,
    /// What was asked for, as it may be shown.
    shown: String,
    client: HttpClient,
}

enum Source {
    Plain(BodyReader<'static>),
    /// A server that compresses though it was asked not to.
    Gzip(Box<MultiGzDecoder<BodyReader<'static>>>),
}

impl Body {
    pub(super) fn new(reader: BodyReader<'static>, gzip: bool, shown: String, client: HttpClient) -> Self {
        let source =
            if gzip { Source::Gzip(Box::new(MultiGzDecoder::new(reader))) } else { Source::Plain(reader) };
        Self { source, shown, client }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stop = &self.client.shared.stop;
        stop.check().map_err(Error::into_io)?;
        let read = match &mut self.source {
            Source::Plain(reader) => reader.read(buffer),
            Source::Gzip(reader) => reader.read(buffer),
        };
        read.map_err(|error| {
            if stop.is_stopped() {
                return Error::Stopped.into_io();
            }
            let reason = self.client.reason(&ureq::Error::from(error));
            Error::fetch(self.shown.as_str(), FetchErrorKind::Unavailable, reason).into_io()
        })
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Body").field("of", &self.shown).finish_non_exhaustive()
    }
}
