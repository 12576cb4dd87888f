//! Source files that are media themselves, or folders of them that are clips: several come at once, and are taken in
//! their order.
//!
//! ```text
//!   position   0   1   2   3   4      wanted: 3
//!   state      ok  --  ok  …              accepted 2 + on the way 1 = 3: position 4 is not asked for
//! ```
//!
//! A position is begun only when everything before it may turn out refused or missing without giving enough. So no
//! more is fetched than is wanted, and which positions are taken does not depend on which of them came first.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::archive::Origin;
use crate::error::{Error, FetchErrorKind, Result};
use crate::fetch::RemoteFile;
use crate::hub::RemoteEntry;
use crate::prepare::job::{End, Job};
use crate::prepare::source::RemoteSource;
use crate::store::{Refusal, SampleOrigin, StagedSample, Stager};

pub(super) type Fetched = Result<Result<StagedSample, Refusal>>;

/// What becomes one sample.
pub(super) trait SourceMedium: Sync {
    /// Where it lies in the repository: the name under which it fails or was touched.
    fn path(&self) -> &str;

    /// Fetches all of it.
    fn fetch(&self, source: RemoteSource<'_>, stager: &Stager) -> Fetched;
}

impl SourceMedium for RemoteEntry {
    fn path(&self) -> &str {
        &self.path
    }

    fn fetch(&self, source: RemoteSource<'_>, stager: &Stager) -> Fetched {
        let _permit = source.permit()?;
        let mut remote = fetch_whole(source, self)?;
        let staged = stager.stage(&mut remote)?;
        source.discard(remote)?;
        Ok(staged)
    }
}

/// A source file with everything that is in it, to be read from its start.
pub(super) fn fetch_whole(source: RemoteSource<'_>, entry: &RemoteEntry) -> Result<RemoteFile> {
    let mut remote = source.open(entry)?;
    remote.fetch_all()?;
    Ok(remote)
}

struct Window {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The next position that is begun.
    next: usize,
    /// How many more samples are wanted.
    wanted: usize,
    /// Positions that are begun and not taken yet.
    on_the_way: usize,
    /// What came, until it is taken.
    fetched: BTreeMap<usize, Fetched>,
    ended: bool,
}

/// Fetches media in their order, as many as are wanted.
pub(super) fn fetch(job: &mut Job<'_>, media: &[impl SourceMedium]) -> Result<End> {
    let touched: Vec<bool> = media.iter().map(|medium| job.has_touched(medium.path())).collect();
    let last_touched = touched.iter().rposition(|&touched| touched);
    let mut open = Vec::new();
    for (position, medium) in media.iter().enumerate() {
        let path = medium.path();
        if touched[position] {
            continue;
        }
        // An earlier run has gone past it. What a kill has taken of its memory is asked for again.
        if last_touched.is_some_and(|last| position < last)
            && job.failed_before.contains_key(path)
            && !job.writer.has_gap(path)
            && !job.source.fetcher.options.retry
        {
            job.keep_failure(path);
            continue;
        }
        open.push(medium);
    }
    let wanted = job.quota.samples.saturating_sub(job.writer.count());
    if wanted == 0 {
        return Ok(End::Enough);
    }
    let state = State { next: 0, wanted, on_the_way: 0, fetched: BTreeMap::new(), ended: false };
    let window = Window { state: Mutex::new(state), changed: Condvar::new() };
    let (source, stager) = (job.source, job.writer.stager());
    thread::scope(|scope| {
        for _ in 0..source.fetcher.options.workers.min(open.len()) {
            scope.spawn(|| fetch_positions(source, &window, &open, &stager));
        }
        let end = take_in_order(job, &window, &open);
        window.lock().ended = true;
        window.changed.notify_all();
        end
    })
}

/// Fetches one position after another, as long as they are needed.
fn fetch_positions<M: SourceMedium>(source: RemoteSource<'_>, window: &Window, open: &[&M], stager: &Stager) {
    while let Some(position) = window.begin(open.len()) {
        let fetch = AssertUnwindSafe(|| open[position].fetch(source, stager));
        // A panic would leave the taker waiting for ever.
        let fetched = catch_unwind(fetch).unwrap_or_else(|_| {
            Err(Error::fetch(open[position].path(), FetchErrorKind::Invalid, "reading it panicked"))
        });
        window.lock().fetched.insert(position, fetched);
        window.changed.notify_all();
    }
}

fn take_in_order<M: SourceMedium>(job: &mut Job<'_>, window: &Window, open: &[&M]) -> Result<End> {
    for (position, medium) in open.iter().enumerate() {
        let origin = SampleOrigin { source_file: medium.path().to_owned(), origin: Origin::default() };
        let accepted = match window.take(position) {
            Ok(Ok(staged)) => {
                job.has_come(medium.path())?;
                job.accept(staged, origin, None)?;
                true
            }
            Ok(Err(refusal)) => {
                job.has_come(medium.path())?;
                job.writer.refuse(origin, refusal.reason)?;
                false
            }
            Err(error) => {
                job.pass_over(medium.path(), error)?;
                false
            }
        };
        if window.taken(accepted) == 0 {
            return Ok(End::Enough);
        }
    }
    Ok(End::Exhausted)
}

impl Window {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// The next position, once it may be needed; none when no more are.
    fn begin(&self, count: usize) -> Option<usize> {
        let mut state = self.lock();
        while !state.ended && state.next < count && state.on_the_way >= state.wanted {
            state = self.wait(state);
        }
        if state.ended || state.next >= count {
            return None;
        }
        state.on_the_way += 1;
        state.next += 1;
        Some(state.next - 1)
    }

    /// Waits for what came at a position. Every position up to the last wanted one is begun by some worker.
    fn take(&self, position: usize) -> Fetched {
        let mut state = self.lock();
        loop {
            match state.fetched.remove(&position) {
                Some(fetched) => return fetched,
                None => state = self.wait(state),
            }
        }
    }

    /// Counts what was taken; returns how many more are wanted.
    fn taken(&self, accepted: bool) -> usize {
        let mut state = self.lock();
        state.on_the_way -= 1;
        state.wanted -= usize::from(accepted);
        self.changed.notify_all();
        state.wanted
    }
}
