//! The request to end long work early, shared by the threads that do it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};

/// How long a sleeper may oversleep a request.
const STEP: Duration = Duration::from_millis(20);

/// A request to stop, once made never taken back. Copies share it.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Asks everybody who holds a copy to stop.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes on as long as nobody asked.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn check(&self) -> Result<()> {
        if self.is_stopped() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Sleeps, and wakes early when somebody asks to stop.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn sleep(&self, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        loop {
            self.check()?;
            match end.checked_duration_since(Instant::now()) {
                None | Some(Duration::ZERO) => return Ok(()),
                Some(left) => thread::sleep(left.min(STEP)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_wakes_when_a_copy_stops() {
        let flag = StopFlag::default();
        assert!(flag.sleep(Duration::ZERO).is_ok());
        let sleeper = flag.clone();
        let asleep = thread::spawn(move || sleeper.sleep(Duration::from_secs(3600)));
        flag.stop();
        assert!(matches!(asleep.join(), Ok(Err(Error::Stopped))));
        assert!(matches!(flag.check(), Err(Error::Stopped)));
    }
}
