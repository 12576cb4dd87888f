//! What an answer that is not a good one means.

use jiff::Timestamp;
use ureq::http::{HeaderMap, StatusCode};

use super::retry::{Failure, asked_wait};
use super::{Request, address};
use crate::error::{Error, FetchErrorKind};

/// How much of a server's own words is repeated, in characters.
const LONGEST_MESSAGE: usize = 300;

/// An answer with another status than the good ones.
///
/// | status | kind | sent again |
/// |---|---|---|
/// | 401, 403 of the host that was asked | `Gated` | no |
/// | 401, 403 of a host that was redirected to: a signature that ran out | `Unavailable` | yes |
/// | 401, 403 with `X-Error-Code` RepoNotFound, RevisionNotFound or EntryNotFound though a token was sent | `NotFound` | no |
/// | 404, 410 | `NotFound` | no |
/// | 408, 429, 5xx | `Unavailable` | yes |
/// | anything else | `Invalid` | no |
pub(super) fn failure(
    request: &Request,
    redirected_to: Option<&str>,
    status: StatusCode,
    headers: &HeaderMap,
) -> Failure {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let code = text("x-error-code");
    let missing = matches!(code, Some("RepoNotFound" | "RevisionNotFound" | "EntryNotFound"));
    let with_token = request.header("authorization").is_some();

    let (kind, transient) = match status.as_u16() {
        401 | 403 if redirected_to.is_some() => (FetchErrorKind::Unavailable, true),
        401 | 403 if missing && with_token => (FetchErrorKind::NotFound, false),
        401 | 403 => (FetchErrorKind::Gated, false),
        404 | 410 => (FetchErrorKind::NotFound, false),
        408 | 429 | 500..=599 => (FetchErrorKind::Unavailable, true),
        _ => (FetchErrorKind::Invalid, false),
    };

    let mut reason = match redirected_to {
        Some(host) => format!("{host} answers {status}"),
        None => status.to_string(),
    };
    let explained = match code {
        Some("RepoNotFound") if !with_token => {
            Some("the repository does not exist, or is private: set HF_TOKEN")
        }
        Some("RepoNotFound") => Some("the repository does not exist, or the token does not let in"),
        Some("RevisionNotFound") => Some("the repository has no such revision"),
        Some("EntryNotFound") => Some("the repository has no such file"),
        Some("GatedRepo") if !with_token => Some("access must be asked for, and HF_TOKEN set"),
        Some("GatedRepo") => Some("access must be asked for"),
        _ => None,
    };
    for part in [explained.map(str::to_owned), text("x-error-message").map(said)].into_iter().flatten() {
        reason.push_str(": ");
        reason.push_str(&part);
    }
    if let Some(region) = text("x-amz-bucket-region") {
        reason.push_str(&format!("; the bucket lies in {}: set AWS_REGION", said(region)));
    }
    if let (FetchErrorKind::Gated, Some(page)) = (kind, &request.page) {
        reason.push_str(&format!("; see {page}"));
    }
    let wait = if transient { asked_wait(headers, Timestamp::now()) } else { None };
    Failure { error: Error::fetch(address::shown(&request.url), kind, reason), transient, wait }
}

/// A server's own words, on one line and not too many; words with a query in them lose it.
fn said(message: &str) -> String {
    let words = message
        .split_whitespace()
        .map(|word| if word.contains("://") { address::shown(word) } else { word.to_owned() });
    words.collect::<Vec<_>>().join(" ").chars().filter(|c| !c.is_control()).take(LONGEST_MESSAGE).collect()
}
