//! The one HTTP client: every byte from outside comes through it, under one policy.
//!
//! ```text
//!  Request ──► attempt ──► redirects, at most 10 ──► a good answer ──► Response, its body streamed
//!                 ▲          credentials stay with             │
//!                 │          the host they are for             └── 401 403 404 …: Error::Fetch, at once
//!                 └── 429 (as the server says), 5xx, broken or silent connections: back-off, at most 6 attempts
//! ```
//!
//! A body that breaks off is for the reader of the body to mend: [`HttpClient::get_json`] asks again, a
//! [`RemoteFile`](crate::fetch::RemoteFile) asks for the rest.

mod address;
mod body;
mod connector;
mod request;
mod retry;
mod settings;
mod status;
#[cfg(test)]
pub(crate) mod test_server;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use ureq::http::header::{HeaderMap, HeaderName, HeaderValue, LOCATION};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, RustlsConnector, SocksConnector};
use ureq::{Agent, Proxy, Timeout};
use url::Url;

use self::connector::{WatchedConnector, WatchedResolver};
use crate::error::{Error, FetchErrorKind, Result};
use crate::stop::StopFlag;

pub(crate) use self::address::{encoded, encoded_path, parse as parse_address, same_origin, shown};
pub use self::body::Body;
pub use self::request::{Request, Response};
pub(crate) use self::retry::{Failure, Retry};
pub use self::settings::HttpSettings;

/// How often a server may send on to another address.
const MAX_REDIRECTS: usize = 10;

/// How much of an answer that is of no use is read, in bytes, so that its connection can be used again.
const DRAINED_BYTES: u64 = 64 * 1024;

/// The largest JSON answer, in bytes.
const MAX_JSON_BYTES: u64 = 256 * 1024 * 1024;

/// A client whose copies share their connections, from any number of threads.
///
/// Proxies are taken from the environment (`HTTPS_PROXY`, `NO_PROXY` and so on); addresses of this machine are reached without.
#[derive(Clone)]
pub struct HttpClient {
    shared: Arc<Shared>,
}

struct Shared {
    settings: HttpSettings,
    stop: StopFlag,
    agent: Agent,
    /// The same without a proxy.
    direct: Agent,
}

impl HttpClient {
    /// A client that ends all its waiting when `stop` asks for it.
    pub fn new(settings: HttpSettings, stop: StopFlag) -> Self {
        Self::with_proxy(settings, stop, Proxy::try_from_env())
    }

    fn with_proxy(settings: HttpSettings, stop: StopFlag, proxy: Option<Proxy>) -> Self {
        let agent = |proxy: Option<Proxy>| {
            let config = Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .user_agent(concat!("dfresearch/", env!("CARGO_PKG_VERSION")))
                .accept_encoding("identity")
                .timeout_resolve(Some(settings.connect_timeout))
                .timeout_connect(Some(settings.connect_timeout))
                .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build());
            let config = config
                .proxy(proxy)
                // For connections that are not watched by ours: those through a SOCKS proxy.
                .timeout_per_read(Some(settings.stall_timeout))
                .timeout_per_write(Some(settings.stall_timeout));
            let connector = ()
                .chain(SocksConnector::default())
                .chain(ConnectProxyConnector::default())
                .chain(WatchedConnector {
                    stop: stop.clone(),
                    connect_timeout: settings.connect_timeout,
                    stall_timeout: settings.stall_timeout,
                })
                .chain(RustlsConnector::default());
            Agent::with_parts(config.build(), connector, WatchedResolver { stop: stop.clone() })
        };
        let (agent, direct) = (agent(proxy), agent(None));
        Self { shared: Arc::new(Shared { settings, stop, agent, direct }) }
    }

    /// The flag that ends the client's waiting.
    pub fn stop(&self) -> &StopFlag {
        &self.shared.stop
    }

    /// Asks until a good answer comes.
    ///
    /// # Errors
    /// [`Error::Fetch`]: `Gated`, `NotFound` or `Invalid` at once, `Unavailable` after all attempts. [`Error::Stopped`].
    pub fn get(&self, request: &Request) -> Result<Response> {
        self.get_accepting(request, &[])
    }

    /// The same, where further statuses are good ones.
    pub(crate) fn get_accepting(&self, request: &Request, accepted: &[u16]) -> Result<Response> {
        let mut retry = Retry::new(self);
        loop {
            match self.attempt(request, accepted) {
                Ok(response) => return Ok(response),
                Err(failure) => retry.again(failure)?,
            }
        }
    }

    /// The whole content, and the answer that it came with; a body that breaks off is asked for again.
    ///
    /// # Errors
    /// Those of [`get`](Self::get), and `Invalid` for more than `limit` bytes.
    pub fn get_bytes(&self, request: &Request, limit: u64) -> Result<(Response, Vec<u8>)> {
        let mut retry = Retry::new(self);
        loop {
            let mut response = self.get(request)?;
            let mut content = Vec::new();
            match Read::take(&mut response.body, limit.saturating_add(1)).read_to_end(&mut content) {
                Ok(_) if content.len() as u64 > limit => {
                    let reason = format!("the answer is larger than {limit} bytes");
                    return Err(Error::fetch(shown(&request.url), FetchErrorKind::Invalid, reason));
                }
                Ok(_) => return Ok((response, content)),
                Err(error) => retry.again(Failure::transient(Error::from_io(shown(&request.url), error)))?,
            }
        }
    }

    /// The content of a JSON answer.
    ///
    /// # Errors
    /// Those of [`get`](Self::get), and `Invalid` for content that is not the JSON that is expected.
    pub fn get_json<T: DeserializeOwned>(&self, request: &Request) -> Result<T> {
        self.get_json_response(request).map(|(_, content)| content)
    }

    /// The content of a JSON answer, and the answer.
    pub(crate) fn get_json_response<T: DeserializeOwned>(&self, request: &Request) -> Result<(Response, T)> {
        let (response, content) = self.get_bytes(request, MAX_JSON_BYTES)?;
        let content = serde_json::from_slice(&content).map_err(|error| {
            let reason = format!("the answer is not the JSON that is expected: {error}");
            Error::fetch(shown(&request.url), FetchErrorKind::Invalid, reason)
        })?;
        Ok((response, content))
    }

    /// Asks once, and follows redirects.
    fn attempt(&self, request: &Request, accepted: &[u16]) -> Result<Response, Failure> {
        let asked = address::parse(&request.url)?;
        let invalid = |reason: String| Error::fetch(shown(&request.url), FetchErrorKind::Invalid, reason);
        let mut url = asked.clone();
        let mut at_home = true;
        let mut redirects = Vec::new();
        loop {
            let (parts, body) = self.send(&url, request, at_home)?.into_parts();
            let redirected_to = if at_home { None } else { url.host_str() };
            match parts.status.as_u16() {
                301 | 302 | 303 | 307 | 308 if parts.headers.contains_key(LOCATION) => {
                    drain(body);
                    if redirects.len() == MAX_REDIRECTS {
                        return Err(
                            invalid(format!("redirect loop: more than {MAX_REDIRECTS} redirects")).into()
                        );
                    }
                    let next = redirect_target(&url, &parts.headers).map_err(invalid)?;
                    // For good: who could send the request away could also send it back.
                    at_home &= address::same_origin(&asked, &next);
                    url = next;
                    redirects.push(parts.headers);
                }
                status if (200..300).contains(&status) || accepted.contains(&status) => {
                    let gzip = is_gzip(request, status, &parts.headers)?;
                    let body = Body::new(body.into_reader(), gzip, shown(&request.url), self.clone());
                    let final_url = url.into();
                    let response = Response { status, final_url, body, headers: parts.headers, redirects };
                    check_range(request, &response)?;
                    return Ok(response);
                }
                _ => {
                    let failure = status::failure(request, redirected_to, parts.status, &parts.headers);
                    drain(body);
                    return Err(failure);
                }
            }
        }
    }

    /// One request to one address.
    fn send(
        &self,
        url: &Url,
        request: &Request,
        at_home: bool,
    ) -> Result<ureq::http::Response<ureq::Body>, Failure> {
        self.shared.stop.check()?;
        let agent = if address::is_loopback(url) { &self.shared.direct } else { &self.shared.agent };
        let mut builder = agent.get(url.as_str());
        for (name, value) in &request.headers {
            let harmless =
                ["accept", "if-match", "if-none-match"].iter().any(|safe| name.eq_ignore_ascii_case(safe));
            if at_home || harmless {
                let (name, value) = header(name, value)?;
                builder = builder.header(name, value);
            }
        }
        if let Some(range) = &request.range {
            builder = builder.header("range", range_header(range)?);
            if let Some(tag) = &request.if_range {
                let (name, value) = header("if-range", tag)?;
                builder = builder.header(name, value);
            }
        }
        builder.call().map_err(|error| {
            if self.shared.stop.is_stopped() {
                return Error::Stopped.into();
            }
            let mut reason = self.reason(&error);
            if !at_home {
                reason = format!("{}: {reason}", url.host_str().unwrap_or_default());
            }
            Failure::transient(Error::fetch(shown(&request.url), FetchErrorKind::Unavailable, reason))
        })
    }

    /// What happened to a connection, without the address, which may be signed.
    fn reason(&self, error: &ureq::Error) -> String {
        let settings = &self.shared.settings;
        match error {
            ureq::Error::Timeout(Timeout::Resolve | Timeout::Connect) => {
                format!("no connection in {} seconds", settings.connect_timeout.as_secs_f64())
            }
            ureq::Error::Timeout(_) => {
                format!("no byte came for {} seconds", settings.stall_timeout.as_secs_f64())
            }
            ureq::Error::HostNotFound => "the host is not known; is there a network?".into(),
            ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => "not an address".into(),
            ureq::Error::Io(error) => match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "the connection ended early".into(),
                _ => error.to_string(),
            },
            other => other.to_string(),
        }
    }
}

/// Where a redirect leads.
fn redirect_target(url: &Url, headers: &HeaderMap) -> Result<Url, String> {
    let location = headers.get(LOCATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let location =
        std::str::from_utf8(location).map_err(|_| "redirects to what is not an address".to_owned())?;
    let next = url.join(location).map_err(|_| "redirects to what is not an address".to_owned())?;
    match (url.scheme(), next.scheme()) {
        (_, "https") | ("http", "http") if next.has_host() => Ok(next),
        ("https", "http") => Err(format!("redirects to {} without encryption", shown(next.as_str()))),
        (_, scheme) => Err(format!("redirects to an address that begins with {scheme}:")),
    }
}

/// Whether the content is compressed on the way though that was not asked for. Of a part, nobody knows what it would be a part of.
fn is_gzip(request: &Request, status: u16, headers: &HeaderMap) -> Result<bool, Failure> {
    let coding = headers.get("content-encoding").map_or("identity", |value| value.to_str().unwrap_or("?"));
    match coding.trim().to_ascii_lowercase().as_str() {
        "identity" | "" => Ok(false),
        "gzip" | "x-gzip" if status != 206 => Ok(true),
        coding => {
            let what = if status == 206 { "a part of the content" } else { "the content" };
            let reason = format!("{what} came encoded as {coding:?}, which was not asked for");
            Err(Failure::transient(Error::fetch(shown(&request.url), FetchErrorKind::Invalid, reason)))
        }
    }
}

/// A part must be the one that was asked for.
fn check_range(request: &Request, response: &Response) -> Result<(), Failure> {
    if response.status != 206 {
        return Ok(());
    }
    let fits = match (&request.range, response.content_range()) {
        (Some(asked), Some((got, _))) => got.start == asked.start && got.end <= asked.end,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let reason = "the server sent another part than the one that was asked for";
    Err(Failure::transient(Error::fetch(shown(&request.url), FetchErrorKind::Invalid, reason)))
}

fn range_header(range: &std::ops::Range<u64>) -> Result<String> {
    match range.end {
        u64::MAX => Ok(format!("bytes={}-", range.start)),
        end if end > range.start => Ok(format!("bytes={}-{}", range.start, end - 1)),
        _ => Err(Error::argument("range", format!("{range:?} holds no byte"))),
    }
}

/// A header that ureq's log does not show.
fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue)> {
    let refused = || Error::argument("headers", format!("{name:?} or its value cannot be sent in a request"));
    let mut value = HeaderValue::from_str(value).map_err(|_| refused())?;
    value.set_sensitive(true);
    Ok((HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?, value))
}

/// Reads what is left of a short answer; only then its connection can be used again.
fn drain(body: ureq::Body) {
    if body.content_length().is_none_or(|length| length <= DRAINED_BYTES) {
        // What goes wrong here costs only the connection.
        let _ = std::io::copy(&mut body.into_reader().take(DRAINED_BYTES), &mut std::io::sink());
    }
}
