//! What is asked for, and what is answered.

use std::fmt;
use std::ops::Range;

use ureq::http::HeaderMap;

use super::address;
use super::body::Body;

/// One GET request.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The complete address.
    pub url: String,
    /// Further headers. Those that may hold credentials (all but `Accept`, `If-Match` and `If-None-Match`) never leave the scheme,
    /// host and port of `url`.
    pub headers: Vec<(String, String)>,
    /// The bytes wanted; an end of [`u64::MAX`] stands for the end of the file.
    pub range: Option<Range<u64>>,
    /// The entity tag under which `range` was begun: if the content has another one now, all of it is answered.
    pub if_range: Option<String>,
    /// Where a person asks for access; told when access is refused.
    pub page: Option<String>,
}

impl Request {
    /// Asks for all of it, without further headers.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Shows no header's value and no query: they may hold credentials.
impl fmt::Debug for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        formatter
            .debug_struct("Request")
            .field("url", &address::shown(&self.url))
            .field("headers", &names)
            .field("range", &self.range)
            .field("if_range", &self.if_range)
            .finish_non_exhaustive()
    }
}

/// A good answer.
pub struct Response {
    /// 200, or 206 for a part.
    pub status: u16,
    /// The address that answered, after all redirects. It may be signed: show it to nobody.
    pub final_url: String,
    /// The content.
    pub body: Body,
    pub(super) headers: HeaderMap,
    pub(super) redirects: Vec<HeaderMap>,
}

impl Response {
    /// A header of the answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A header of the first redirect that has it, for example `X-Linked-Etag`: hubs tell there what the storage behind does not know.
    pub fn redirect_header(&self, name: &str) -> Option<&str> {
        self.redirects.iter().find_map(|headers| headers.get(name))?.to_str().ok()
    }

    /// The size that the answer announces for its body, in bytes; none for one that is compressed on the way.
    pub fn content_length(&self) -> Option<u64> {
        match self.header("content-encoding") {
            None | Some("identity") => self.header("content-length")?.trim().parse().ok(),
            Some(_) => None,
        }
    }

    /// First byte, end and, where it is told, the whole file's size in bytes: `Content-Range` of a part.
    pub fn content_range(&self) -> Option<(Range<u64>, Option<u64>)> {
        let (range, size) = self.header("content-range")?.trim().strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?);
        let end = last.checked_add(1).filter(|end| *end > first)?;
        let size = match size.trim() {
            "*" => None,
            size => Some(size.parse().ok().filter(|size| *size >= end)?),
        };
        Some((first..end, size))
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Response")
            .field("status", &self.status)
            .field("from", &address::shown(&self.final_url))
            .finish_non_exhaustive()
    }
}
