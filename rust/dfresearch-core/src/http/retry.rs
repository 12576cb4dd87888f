//! When a request that failed is sent again, and after how long.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use ureq::http::HeaderMap;

use super::HttpClient;
use crate::error::{Error, Result};

/// The longest back-off of our own.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// The longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// An attempt that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub error: Error,
    /// Whether another attempt may end better.
    pub transient: bool,
    /// How long the server wants to be left alone.
    pub wait: Option<Duration>,
}

impl Failure {
    /// A failure that another attempt may mend.
    pub fn transient(error: Error) -> Self {
        Self { error, transient: true, wait: None }
    }
}

/// Errors without further word are final.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, transient: false, wait: None }
    }
}

/// Counts the attempts that failed in a row.
pub(crate) struct Retry {
    client: HttpClient,
    failed: u32,
}

impl Retry {
    pub fn new(client: &HttpClient) -> Self {
        Self { client: client.clone(), failed: 0 }
    }

    /// Something came: the attempts are counted anew.
    pub fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Waits for the next attempt.
    ///
    /// # Errors
    /// The failure's own, when it is final or the attempts are used up; [`Error::Stopped`].
    pub fn again(&mut self, failure: Failure) -> Result<()> {
        if matches!(failure.error, Error::Stopped) || !failure.transient {
            return Err(failure.error);
        }
        self.failed += 1;
        let settings = &self.client.shared.settings;
        if self.failed >= settings.attempts {
            return Err(match failure.error {
                Error::Fetch { url, kind, reason } if self.failed > 1 => {
                    Error::Fetch { url, kind, reason: format!("{reason}, in {} attempts", self.failed) }
                }
                other => other,
            });
        }
        let delay = match failure.wait {
            // A little later than asked for: not all workers at the same instant.
            Some(wait) => wait.min(LONGEST_WAIT) + settings.first_delay.mul_f64(random_fraction()),
            None => back_off(settings.first_delay, self.failed),
        };
        self.client.shared.stop.sleep(delay)
    }
}

/// The first delay doubled with every failure, at most a minute, and of that between a half and the whole.
fn back_off(first: Duration, failed: u32) -> Duration {
    let doubled = first.saturating_mul(1 << failed.saturating_sub(1).min(20));
    doubled.min(LONGEST_DELAY).mul_f64(0.5 + 0.5 * random_fraction())
}

/// A number in [0, 1) for jitter. It decides nothing that must be repeatable.
fn random_fraction() -> f64 {
    const BITS: u32 = 53;
    (RandomState::new().build_hasher().finish() >> (64 - BITS)) as f64 / (1u64 << BITS) as f64
}

/// What a server asks for in `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3), or in the `t` of `RateLimit`, the seconds
/// until its window ends (draft-ietf-httpapi-ratelimit-headers).
pub(super) fn asked_wait(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(wait) = text("retry-after") {
        if let Ok(seconds) = wait.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let at = rfc2822::DateTimeParser::new().parse_timestamp(wait).ok()?;
        return Some(at.duration_since(now).try_into().unwrap_or(Duration::ZERO));
    }
    let window = text("ratelimit")?.split(';').find_map(|part| part.trim().strip_prefix("t="))?;
    Some(Duration::from_secs(window.parse().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn servers_ask_in_seconds_by_date_or_by_window() {
        let now: Timestamp = "1994-11-06T08:49:30Z".parse().unwrap();
        let wait = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            asked_wait(&headers, now)
        };
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(wait("retry-after", "120"), seconds(120));
        assert_eq!(wait("retry-after", "0"), seconds(0));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), seconds(7));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT"), seconds(0));
        assert_eq!(wait("retry-after", "soon"), None);
        assert_eq!(wait("ratelimit", "\"api\";r=0;t=55"), seconds(55));
        assert_eq!(wait("x", "y"), None);
    }

    #[test]
    fn delays_double_up_to_a_minute() {
        for (failed, longest) in [(1, 0.5), (2, 1.0), (5, 8.0), (7, 32.0), (8, 60.0), (4_000_000_000, 60.0)] {
            for _ in 0..100 {
                let delay = back_off(Duration::from_millis(500), failed).as_secs_f64();
                assert!((longest / 2.0..=longest).contains(&delay), "{failed}: {delay}");
            }
        }
        assert_eq!(back_off(Duration::ZERO, 3), Duration::ZERO);
    }
}
