//! How many transfers run at once, over all datasets.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::stop::StopFlag;

/// Between two looks at the stop flag.
const WAIT: Duration = Duration::from_millis(50);

/// A counting semaphore.
#[derive(Debug)]
pub(super) struct Permits {
    free: Mutex<usize>,
    returned: Condvar,
}

impl Permits {
    pub fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), returned: Condvar::new() }
    }

    /// Waits until fewer transfers run than are allowed; the permit goes back when it is dropped.
    pub fn acquire(&self, stop: &StopFlag) -> Result<Permit<'_>> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            stop.check()?;
            free = self.returned.wait_timeout(free, WAIT).unwrap_or_else(PoisonError::into_inner).0;
        }
        *free -= 1;
        Ok(Permit(self))
    }
}

/// One running transfer.
#[derive(Debug)]
pub(super) struct Permit<'a>(&'a Permits);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.returned.notify_one();
    }
}
