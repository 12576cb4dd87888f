//! How patient the client is.

use std::time::Duration;

use crate::error::{Error, Result};

/// How long is waited, and how often a request is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSettings {
    /// How long a connection may take to be made: the name, all addresses of the host, and TLS.
    pub connect_timeout: Duration,
    /// How long a connection may give no byte.
    pub stall_timeout: Duration,
    /// How often a request is sent at most before it is given up.
    pub attempts: u32,
    /// The delay before the second attempt; it doubles with every further one, up to a minute.
    pub first_delay: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            attempts: 6,
            first_delay: Duration::from_millis(500),
        }
    }
}

impl HttpSettings {
    /// The defaults, changed by `DFRESEARCH_NETWORK_TIMEOUT` (seconds until a connection without a byte is given up),
    /// `DFRESEARCH_NETWORK_ATTEMPTS` and `DFRESEARCH_NETWORK_DELAY` (seconds before the second attempt). Seconds may have a fraction.
    ///
    /// # Errors
    /// [`Error::Argument`] for a variable that is not such a number.
    pub fn from_environment() -> Result<Self> {
        Self::read(&|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut settings = Self::default();
        let wrong = |name: &'static str, value: &str, wanted: &str| {
            Error::argument(name, format!("{value:?} is not {wanted}"))
        };
        let seconds = |name: &'static str, smallest: f64| -> Result<Option<Duration>> {
            let Some(value) = variable(name).filter(|value| !value.trim().is_empty()) else {
                return Ok(None);
            };
            let number =
                value.trim().parse::<f64>().ok().filter(|number| (smallest..=86_400.0).contains(number));
            let wanted = format!("a number of seconds from {smallest} to 86400");
            number.map(Duration::from_secs_f64).ok_or_else(|| wrong(name, &value, &wanted)).map(Some)
        };
        if let Some(timeout) = seconds("DFRESEARCH_NETWORK_TIMEOUT", 0.01)? {
            settings.connect_timeout = timeout;
            settings.stall_timeout = timeout;
        }
        if let Some(delay) = seconds("DFRESEARCH_NETWORK_DELAY", 0.0)? {
            settings.first_delay = delay;
        }
        const ATTEMPTS: &str = "DFRESEARCH_NETWORK_ATTEMPTS";
        if let Some(value) = variable(ATTEMPTS).filter(|value| !value.trim().is_empty()) {
            let number = value.trim().parse().ok().filter(|number| (1..=1000).contains(number));
            settings.attempts =
                number.ok_or_else(|| wrong(ATTEMPTS, &value, "a whole number from 1 to 1000"))?;
        }
        Ok(settings)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<HttpSettings> {
        let find =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
        HttpSettings::read(&find)
    }

    #[test]
    fn the_environment_changes_what_it_names() {
        assert_eq!(read(&[]).unwrap(), HttpSettings::default());
        let variables = [
            ("DFRESEARCH_NETWORK_TIMEOUT", "1.5"),
            ("DFRESEARCH_NETWORK_ATTEMPTS", " 2 "),
            ("DFRESEARCH_NETWORK_DELAY", "0"),
        ];
        let expected = HttpSettings {
            connect_timeout: Duration::from_millis(1500),
            stall_timeout: Duration::from_millis(1500),
            attempts: 2,
            first_delay: Duration::ZERO,
        };
        assert_eq!(read(&variables).unwrap(), expected);
    }

    #[test]
    fn what_is_no_number_is_named() {
        for (name, value) in [
            ("DFRESEARCH_NETWORK_TIMEOUT", "0"),
            ("DFRESEARCH_NETWORK_TIMEOUT", "NaN"),
            ("DFRESEARCH_NETWORK_TIMEOUT", "inf"),
            ("DFRESEARCH_NETWORK_DELAY", "-1"),
            ("DFRESEARCH_NETWORK_ATTEMPTS", "0"),
            ("DFRESEARCH_NETWORK_ATTEMPTS", "1.5"),
        ] {
            let message = read(&[(name, value)]).unwrap_err().to_string();
            assert!(message.starts_with(name) && message.contains(value), "{message}");
        }
    }
}
