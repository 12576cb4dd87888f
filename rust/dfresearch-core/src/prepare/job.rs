//! A dataset whose source files are being read.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, FetchErrorKind, Result};
use crate::prepare::dataset::identity;
use crate::prepare::gasstation::{self, Week};
use crate::prepare::plan::{Listing, Quota, SourceFiles};
use crate::prepare::source::RemoteSource;
use crate::prepare::{archives, files};
use crate::store::{DatasetWriter, SampleOrigin, StagedSample};

/// Stands for the revision of a dataset that has to be fetched anew.
pub(super) const STARTED_OVER: &str = "";

/// A dataset whose source files are being read.
pub(super) struct Job<'a> {
    pub source: RemoteSource<'a>,
    pub position: usize,
    pub quota: Quota,
    pub writer: DatasetWriter,
    /// Source files that failed in the run before this one, with the reason.
    pub failed_before: HashMap<String, String>,
    /// Whether the run before has removed every sample, because a source file was wrong that it had taken some out of.
    pub has_started_over: bool,
    /// Source files that gave something in an earlier run: a sample, or a medium that was refused.
    pub sources: HashSet<String>,
    /// Source files that failed and were passed over, with the reason.
    pub failures: Vec<(String, String)>,
}

/// Why reading came to its end.
#[derive(Debug)]
pub(super) enum End {
    /// All that is wanted is there.
    Enough,
    /// There is no more.
    Exhausted,
}

impl Job<'_> {
    pub fn read(&mut self, listing: Listing) -> Result<End> {
        match listing {
            Listing::Files(SourceFiles::Media(media)) => files::fetch(self, &media),
            Listing::Files(SourceFiles::Frames(folders)) => files::fetch(self, &folders),
            Listing::Files(SourceFiles::Archives(archives)) => archives::fetch(self, &archives),
            Listing::Weeks(weeks) => {
                for week in &weeks {
                    let members = self.read_week(week)?;
                    if !members.is_empty() {
                        return self.read_archives_of(week, members);
                    }
                }
                Ok(End::Exhausted)
            }
        }
    }

    fn read_week(&self, week: &Week) -> Result<gasstation::Members> {
        let mut members = gasstation::Members::new();
        for entry in week.metadata.iter().take(self.quota.archives.unwrap_or(usize::MAX)) {
            let _permit = self.source.permit()?;
            let mut remote = self.source.open(entry)?;
            gasstation::read_members(&mut remote, &entry.path, &mut members)?;
            self.source.discard(remote)?;
        }
        Ok(members)
    }

    fn read_archives_of(&mut self, week: &Week, members: gasstation::Members) -> Result<End> {
        let (archives, missing) = week.archive_files(members);
        let reason = "named by the metadata, but not there";
        self.failures.extend(missing.into_iter().map(|path| (path, reason.to_owned())));
        // The definition's number is of metadata files.
        self.quota.archives = None;
        archives::fetch(self, &archives)
    }

    /// Passes over a source file that will fail in every run, or has failed in the run before as well.
    ///
    /// # Errors
    /// `error` itself when it ends the dataset's run.
    pub fn pass_over(&mut self, path: &str, error: Error) -> Result<()> {
        let passes = match &error {
            Error::Fetch { kind: FetchErrorKind::NotFound | FetchErrorKind::Invalid, .. } => true,
            Error::Fetch { kind: FetchErrorKind::Unavailable, .. } => self.failed_before.contains_key(path),
            _ => false,
        };
        // What stops the run, or forbids it, says nothing of this file.
        if passes || matches!(error, Error::Fetch { kind: FetchErrorKind::Unavailable, .. }) {
            self.failures.push((path.to_owned(), error.to_string()));
        }
        if !passes {
            return Err(error);
        }
        self.writer.note_failure(path, &error.to_string())
    }

    /// A source file has been read: an outage after this is the first one.
    pub fn has_come(&mut self, path: &str) -> Result<()> {
        if self.failed_before.remove(path).is_none() {
            return Ok(());
        }
        self.writer.forget_failure(path)
    }

    /// Whether a source file has given something in an earlier run.
    pub fn has_touched(&self, path: &str) -> bool {
        self.sources.contains(path)
    }

    /// Whether a source file may be the one that everything was removed for.
    pub fn is_suspect(&self, path: &str) -> bool {
        self.has_started_over && self.failed_before.contains_key(path)
    }

    /// How many more samples an archive may give that has given `taken`.
    pub fn left_in_archive(&self, taken: usize) -> usize {
        let of_archive = self.quota.per_archive.unwrap_or(usize::MAX).saturating_sub(taken);
        of_archive.min(self.quota.samples.saturating_sub(self.writer.count()))
    }

    /// A source file that an earlier run has gone past.
    pub fn keep_failure(&mut self, path: &str) {
        let reason = self.failed_before.get(path).map_or("failed in an earlier run", String::as_str);
        self.failures.push((path.to_owned(), reason.to_owned()));
    }

    /// Takes a medium as a sample, if there is room for it.
    pub fn accept(
        &mut self,
        staged: StagedSample,
        origin: SampleOrigin,
        group: Option<String>,
    ) -> Result<()> {
        self.source.fetcher.budget.take(staged.size())?;
        self.writer.accept(staged, origin, group)?;
        self.source.fetcher.board.set_samples(self.position, self.writer.count());
        Ok(())
    }

    /// Removes every sample of the dataset: the next run fetches it anew, and looks at the whole of this source file
    /// before it takes anything out of it. Returns what ends this run.
    pub fn start_over(&mut self, path: &str, error: Error) -> Result<Error> {
        let RemoteSource { definition, fetcher, .. } = self.source;
        self.writer.begin(&identity(definition, STARTED_OVER, fetcher.options.seed))?;
        let reason = format!("{error}; every sample is fetched anew by the next run");
        Ok(Error::fetch(path, FetchErrorKind::Unavailable, reason))
    }
}

/// Source files that gave something in an earlier run.
pub(super) fn sources(writer: &DatasetWriter) -> HashSet<String> {
    let refused = writer.state().map_or(&[][..], |state| &state.refused);
    let refused = refused.iter().map(|refused| &refused.origin);
    writer.committed().iter().chain(refused).map(|origin| origin.source_file.clone()).collect()
}
