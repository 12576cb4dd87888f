//! One answer of a server, from a position of the file on.

use std::io::{self, Read};
use std::ops::Range;

use crate::error::Result;
use crate::http::{Body, HttpClient, Request, Response};
use crate::hub::{Checksum, RemoteEntry};

const PRECONDITION_FAILED: u16 = 412;
const RANGE_NOT_SATISFIABLE: u16 = 416;

/// Bytes that come in.
pub(super) struct Stream {
    body: Body,
    position: u64,
    end: u64,
    /// It began at the start of the file though it was asked to begin elsewhere.
    ignored_range: bool,
    /// The body announced its length: its end can be read without waiting.
    is_measured: bool,
}

/// What a server says to a request for a range.
pub(super) enum Opened {
    Stream {
        stream: Stream,
        /// The entity tag of the content, where it can be used.
        tag: Option<String>,
    },
    /// It has other content by now.
    Changed(String),
}

impl Stream {
    /// The place of the next byte in the file.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether the byte at a position comes next, or, of a server that cannot begin there, at all.
    pub fn gives(&self, position: u64) -> bool {
        (self.position..self.end).contains(&position) && (position == self.position || self.ignored_range)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let read = self.body.read(&mut buffer[..length])?;
        self.position += read as u64;
        if self.position == self.end && self.is_measured {
            // Only a body that was read to its end gives its connection back; what goes wrong here costs only that.
            let _ = self.body.read(&mut [0]);
        }
        Ok(read)
    }
}

/// Asks for a range of a file, and compares what the server says of the file with what is known of it.
pub(super) fn open(
    client: &HttpClient,
    request: &Request,
    entry: &RemoteEntry,
    known_tag: Option<&str>,
    range: Range<u64>,
) -> Result<Opened> {
    let start = range.start;
    let request = Request { range: Some(range), if_range: known_tag.map(str::to_owned), ..request.clone() };
    let response = client.get_accepting(&request, &[PRECONDITION_FAILED, RANGE_NOT_SATISFIABLE])?;
    if let Some(reason) = contradiction(&response, entry) {
        return Ok(Opened::Changed(reason));
    }
    let tag = strong_tag(response.header("etag"));
    if let (Some(known), Some(tag)) = (known_tag, &tag)
        && known != tag
        && !is_vouched_for(&response, entry)
    {
        return Ok(Opened::Changed(format!("its entity tag is {tag}, not {known}")));
    }
    let (position, end) = match response.content_range() {
        Some((part, _)) if response.status == 206 => (part.start, part.end),
        _ => (0, entry.size),
    };
    let is_measured = response.content_length().is_some();
    let ignored_range = position != start;
    let stream = Stream { body: response.body, position, end, ignored_range, is_measured };
    Ok(Opened::Stream { stream, tag: tag.or_else(|| known_tag.map(str::to_owned)) })
}

/// What shows that the server's file is another one.
fn contradiction(response: &Response, entry: &RemoteEntry) -> Option<String> {
    match response.status {
        PRECONDITION_FAILED => {
            return Some("the server has another version than the one that was listed".into());
        }
        RANGE_NOT_SATISFIABLE => return Some(format!("the server has no {} bytes of it", entry.size)),
        _ => {}
    }
    if let (Some(linked), Some(checksum)) = (linked_checksum(response), entry.checksum) {
        let wanted = checksum.to_hex();
        // A digest of another kind tells nothing.
        if linked.len() == wanted.len() && linked != wanted {
            return Some(format!("its checksum is {linked}, not {wanted}"));
        }
    }
    let linked_size = response.redirect_header("x-linked-size").or_else(|| response.header("x-linked-size"));
    let size = match response.content_range() {
        Some((_, size)) if response.status == 206 => size,
        _ => response.content_length(),
    };
    let sizes = [linked_size.and_then(|size| size.trim().parse().ok()), size];
    let other = sizes.into_iter().flatten().find(|size| *size != entry.size)?;
    Some(format!("it has {other} bytes, not {}", entry.size))
}

/// Whether the hub says, in this very answer, that the content has the promised checksum.
fn is_vouched_for(response: &Response, entry: &RemoteEntry) -> bool {
    let blob = match entry.checksum {
        Some(Checksum::GitBlob(_)) => response.header("etag").map(bare_tag),
        _ => None,
    };
    let said = linked_checksum(response).or(blob);
    entry.checksum.is_some_and(|checksum| said.as_deref() == Some(checksum.to_hex().as_str()))
}

/// The checksum that a hub tells beside the way to the storage.
fn linked_checksum(response: &Response) -> Option<String> {
    let linked = response.redirect_header("x-linked-etag").or_else(|| response.header("x-linked-etag"))?;
    let digest = bare_tag(linked);
    digest.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(digest)
}

fn bare_tag(tag: &str) -> String {
    tag.trim().trim_start_matches("W/").trim_matches('"').to_ascii_lowercase()
}

/// An entity tag that stands for the very bytes; one for content that is only like it does not (RFC 9110, 8.8.3).
fn strong_tag(tag: Option<&str>) -> Option<String> {
    let tag = tag?.trim();
    (tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"')).then(|| tag.to_owned())
}
