//! The competition's definition files: fetched, looked at, and only then put in the place of the earlier ones.
//!
//! ```text
//!  repository, address or folder ──► all files in memory ──► staged folder ──► parsed ──► exchanged with
//!                                                                                 │       gasbench_configs/
//!                                                   not valid: the earlier set stays, file and line are told
//! ```
//!
//! A set counts as a whole. It is asked for again when it is older than a day, or from somewhere else. Files that no
//! fetch put there, or that were edited since, are a person's (or another program's): they are used as they are until
//! a refresh is forced, and then set aside as `gasbench_configs.before-{date}`, never deleted.

mod cached;
mod location;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use crate::catalog::definition::DatasetDefinition;
use crate::catalog::{CatalogChanges, earlier_upstream_file, load_upstream, upstream_files};
use crate::error::{Error, FetchErrorKind, Result};
use crate::http::{HttpClient, Request};
use crate::modality::Modality;
use crate::optional_file::read_optional_file;

use cached::{CachedSet, Files, Holding, StagedSet};
pub use cached::{SOURCE_FILE, SourceRecord};
pub use location::{CONFIG_URL_VARIABLE, Upstream};

/// The folder of the competition's definitions in the cache folder.
pub const CONFIG_FOLDER: &str = "gasbench_configs";

/// How old a set may become before the source is asked again.
pub const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);

/// What no definition file comes near: a larger answer is something else. For whoever reads the answers.
pub const MAX_DEFINITION_FILE_BYTES: u64 = 16 << 20;

/// Fetches an address: its content, or none when there is nothing (404). The second argument is the `Accept` header.
pub type Fetch<'a> = dyn FnMut(&str, Option<&str>) -> Result<Option<Vec<u8>>> + 'a;

/// What a refresh came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshState {
    /// Another set took the place of the earlier one.
    Replaced,
    /// The source has what is here already.
    Unchanged,
    /// The set is not old enough to ask.
    Recent,
    /// The source failed, or what it has is not valid: the earlier set stays.
    Kept,
    /// A person's files are used as they are.
    Own,
}

impl RefreshState {
    /// The word in Python.
    pub fn name(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::Unchanged => "unchanged",
            Self::Recent => "recent",
            Self::Kept => "kept",
            Self::Own => "own",
        }
    }
}

/// The definitions that are used from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigRefresh {
    /// What happened.
    pub state: RefreshState,
    /// The folder of the definitions.
    pub folder: PathBuf,
    /// Where the definitions are from; none when they are a person's.
    pub record: Option<SourceRecord>,
    /// For how long the source was not asked.
    pub age: SignedDuration,
    /// Why the earlier set stays, or why the commit is not known; empty otherwise.
    pub reason: String,
    /// Where the earlier files lie now, when they were not all from a fetch.
    pub set_aside: Option<PathBuf>,
    /// What the new set changes; nothing on the first one, and where the earlier one could not be read.
    pub changes: CatalogChanges,
}

/// Brings the definitions in `{cache_dir}/gasbench_configs/` up to date, if it is time to, or `force`.
///
/// # Errors
/// [`Error::Fetch`], naming [`CONFIG_URL_VARIABLE`] and the folder, when the source fails and there is no earlier set
/// to go on with; [`Error::Argument`] when a local folder that was named cannot be listed; [`Error::Io`] when the cache
/// cannot be read or written; [`Error::Definition`] when there is no earlier set and the new one is not valid;
/// [`Error::Stopped`].
pub fn refresh(
    cache_dir: &Path,
    upstream: &Upstream,
    force: bool,
    now: Timestamp,
    fetch: &mut Fetch<'_>,
) -> Result<ConfigRefresh> {
    let folder = cache_dir.join(CONFIG_FOLDER);
    let cached = CachedSet::read(&folder)?;
    let earlier = match &cached.holding {
        Holding::Fetched(record) => Some(record.clone()),
        Holding::Nothing | Holding::Own => None,
    };
    let age = earlier.as_ref().map_or(SignedDuration::ZERO, |record| now.duration_since(record.fetched_at));
    let mut outcome = ConfigRefresh {
        state: RefreshState::Own,
        folder: folder.clone(),
        record: earlier.clone(),
        age,
        reason: String::new(),
        set_aside: None,
        changes: CatalogChanges::default(),
    };
    if !force && cached.holding == Holding::Own {
        return Ok(outcome);
    }
    if let Some(record) = &earlier
        && !force
        && record.url == upstream.shown()
        && is_whole(record, &folder)
        // A time to come is a clock that was wrong: ask.
        && age >= SignedDuration::ZERO
        && age < MAX_AGE
    {
        outcome.state = RefreshState::Recent;
        return Ok(outcome);
    }
    match collect(upstream, earlier.as_ref().filter(|record| is_whole(record, &folder)), fetch)
        .and_then(|collected| install(&folder, &cached, upstream, collected, now, &mut outcome))
    {
        Ok(()) => Ok(outcome),
        // These are about this machine and its settings: going on would hide them.
        Err(
            error @ (Error::Stopped | Error::Argument { .. } | Error::Io { .. } | Error::NotFound { .. }),
        ) => Err(error),
        Err(error) if cached.holding == Holding::Nothing => Err(with_advice(error, &folder)),
        Err(error) => {
            outcome.state = RefreshState::Kept;
            outcome.reason = error.to_string();
            Ok(outcome)
        }
    }
}

/// Brings the definitions up to date over the network, from where [`CONFIG_URL_VARIABLE`] says.
///
/// # Errors
/// As [`refresh`], and [`Error::Argument`] for an address that cannot be one.
pub fn refresh_over_http(cache_dir: &Path, force: bool, client: &HttpClient) -> Result<ConfigRefresh> {
    let upstream = Upstream::from_environment()?;
    refresh(cache_dir, &upstream, force, Timestamp::now(), &mut |url, accept| {
        let mut request = Request::new(url);
        request.headers.extend(accept.map(|accept| ("Accept".to_owned(), accept.to_owned())));
        match client.get_bytes(&request, MAX_DEFINITION_FILE_BYTES) {
            Ok((_, content)) => Ok(Some(content)),
            Err(Error::Fetch { kind: FetchErrorKind::NotFound, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    })
}

/// What a source has to offer.
enum Collected {
    /// The commit that is here already.
    SameCommit,
    /// Its files, and what there is to say of the commit.
    Files { files: Files, commit: Option<String>, reason: String },
}

/// Whether every file of the record is there: what lies there is as it was fetched in any case.
fn is_whole(record: &SourceRecord, folder: &Path) -> bool {
    record.files.keys().all(|name| folder.join(name).is_file())
}

fn collect(upstream: &Upstream, earlier: Option<&SourceRecord>, fetch: &mut Fetch<'_>) -> Result<Collected> {
    let (mut commit, mut reason) = (None, String::new());
    if *upstream == Upstream::Repository {
        match newest_commit(fetch) {
            Ok(newest) => commit = Some(newest),
            // The interface that tells it is limited to so many questions an hour; the files themselves are not.
            Err(error @ Error::Fetch { kind: FetchErrorKind::Gated, .. }) => {
                reason = format!("the commit is not known: {error}");
            }
            Err(error) => return Err(error),
        }
        let is_known = |record: &SourceRecord| record.url == upstream.shown() && record.commit == commit;
        if commit.is_some() && earlier.is_some_and(is_known) {
            return Ok(Collected::SameCommit);
        }
    }
    let mut read = |name: &str| match upstream {
        Upstream::Folder(folder) => read_optional_file(&folder.join(name)),
        _ => fetch(&upstream.file(name, commit.as_deref()), None),
    };
    if let Upstream::Folder(folder) = upstream
        && let Err(error) = std::fs::read_dir(folder)
    {
        return Err(Error::argument(CONFIG_URL_VARIABLE, format!("{}: {error}", folder.display())));
    }
    let mut files = Files::new();
    for modality in Modality::ALL {
        let names = upstream_files(modality);
        let mut missing = Vec::new();
        for name in names {
            match read(name)? {
                Some(bytes) => _ = files.insert(name.to_owned(), bytes),
                None => missing.push(name),
            }
        }
        if missing.len() == names.len() {
            let name = earlier_upstream_file(modality);
            match read(&name)? {
                Some(bytes) => _ = files.insert(name, bytes),
                None if *upstream == Upstream::Repository => return Err(not_there(upstream, names[0])),
                None => {}
            }
        } else if let (Upstream::Repository, [missing, ..]) = (upstream, missing.as_slice()) {
            // Half of a modality's definitions would drop every dataset of the other half.
            return Err(not_there(upstream, missing));
        }
    }
    if files.is_empty() {
        return Err(not_there(upstream, upstream_files(Modality::Image)[0]));
    }
    Ok(Collected::Files { files, commit, reason })
}

fn newest_commit(fetch: &mut Fetch<'_>) -> Result<String> {
    let address = location::newest_commit();
    let invalid = |reason: &str| Error::fetch(&address, FetchErrorKind::Invalid, reason);
    let answer = fetch(&address, Some(location::COMMIT_TYPE))?
        .ok_or_else(|| Error::fetch(&address, FetchErrorKind::NotFound, "no such repository or branch"))?;
    let commit = std::str::from_utf8(&answer).map(str::trim).unwrap_or_default();
    if commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(commit.to_owned())
    } else {
        Err(invalid("the answer is no commit of 40 hexadecimal digits"))
    }
}

fn not_there(upstream: &Upstream, name: &str) -> Error {
    let reason = "no such definition file";
    Error::fetch(upstream.shown_file(name, None), FetchErrorKind::NotFound, reason)
}

/// Looks at what was collected and, if it is valid and new, puts it in the folder's place.
fn install(
    folder: &Path,
    cached: &CachedSet,
    upstream: &Upstream,
    collected: Collected,
    now: Timestamp,
    outcome: &mut ConfigRefresh,
) -> Result<()> {
    let (files, commit) = match collected {
        Collected::Files { files, commit, reason } => {
            outcome.reason = reason;
            (Some(files), commit)
        }
        Collected::SameCommit => (None, outcome.record.as_ref().and_then(|record| record.commit.clone())),
    };
    let mut record =
        SourceRecord::new(upstream.shown(), commit, now, files.as_ref().unwrap_or(&Files::new()));
    let kept = outcome.record.clone().filter(|earlier| match &files {
        None => true,
        Some(_) => earlier.files == record.files && is_whole(earlier, folder),
    });
    if let Some(kept) = kept {
        record.files = kept.files;
        record.write(folder)?;
        outcome.state = RefreshState::Unchanged;
    } else {
        let staged = StagedSet::write(folder, files.as_ref().unwrap_or(&Files::new()), &record)?;
        let later =
            definitions(staged.path()).map_err(|error| at_source(error, staged.path(), upstream, &record))?;
        if later.is_empty() {
            let reason = "defines no dataset at all";
            return Err(Error::fetch(upstream.shown(), FetchErrorKind::Invalid, reason));
        }
        if cached.holding != Holding::Nothing
            && let Ok(earlier) = definitions(folder)
        {
            outcome.changes = CatalogChanges::between(&earlier, &later);
        }
        outcome.set_aside = staged.replace(folder, cached.has_others, now)?;
        outcome.state = RefreshState::Replaced;
    }
    outcome.record = Some(record);
    outcome.age = SignedDuration::ZERO;
    Ok(())
}

/// The definitions of all modalities.
fn definitions(folder: &Path) -> Result<Vec<DatasetDefinition>> {
    let mut definitions = Vec::new();
    for modality in Modality::ALL {
        definitions.extend(load_upstream(folder, modality)?.definitions);
    }
    Ok(definitions)
}

/// An error in a staged file, told of the file at the source.
fn at_source(error: Error, staged: &Path, upstream: &Upstream, record: &SourceRecord) -> Error {
    let Error::Definition { file, line, reason } = error else { return error };
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let file = PathBuf::from(upstream.shown_file(&name, record.commit.as_deref()));
    // A name that stands twice names the other file, too.
    let staged = format!("{}{}", staged.display(), std::path::MAIN_SEPARATOR);
    Error::Definition { file, line, reason: reason.replace(&staged, "") }
}

fn with_advice(error: Error, folder: &Path) -> Error {
    match error {
        Error::Fetch { url, kind, reason } => {
            let reason = format!(
                "{reason}; there are no definitions in {} to go on with: put the competition's files there, or set \
                 {CONFIG_URL_VARIABLE} to an address or a folder that holds them",
                folder.display()
            );
            Error::Fetch { url, kind, reason }
        }
        other => other,
    }
}

impl ConfigRefresh {
    /// What happened in words, one line for each thing; nothing of note is one line, too.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![match self.state {
            RefreshState::Replaced => format!("definitions: new ones from {}", self.source()),
            RefreshState::Unchanged => format!("definitions: nothing new at {}", self.source()),
            RefreshState::Recent => format!("definitions: {}, {} old", self.source(), shown_age(self.age)),
            RefreshState::Own => format!(
                "definitions: {} is used as it is, since it was filled or edited by hand; a forced refresh replaces \
                 it, and sets a copy aside",
                self.folder.display()
            ),
            RefreshState::Kept if self.record.is_none() => {
                format!(
                    "definitions: not refreshed, the files in {} stay: {}",
                    self.folder.display(),
                    self.reason
                )
            }
            RefreshState::Kept => format!(
                "definitions: not refreshed, {}, {} old, stay: {}",
                self.source(),
                shown_age(self.age),
                self.reason
            ),
        }];
        if self.state == RefreshState::Replaced && !self.reason.is_empty() {
            lines.push(format!("  {}", self.reason));
        }
        if let Some(aside) = &self.set_aside {
            lines.push(format!("  the earlier files lie in {}", aside.display()));
        }
        lines.extend(self.changes.lines().into_iter().map(|line| format!("  {line}")));
        lines
    }

    fn source(&self) -> String {
        let Some(record) = &self.record else { return self.folder.display().to_string() };
        match &record.commit {
            Some(commit) => format!("{} at {}", record.url, commit.get(..12).unwrap_or(commit)),
            None => record.url.clone(),
        }
    }
}

/// An age in the largest unit of which there is at least one.
fn shown_age(age: SignedDuration) -> String {
    let seconds = age.as_secs().max(0);
    let (count, unit) = match seconds {
        86_400.. => (seconds / 86_400, "day"),
        3_600.. => (seconds / 3_600, "hour"),
        60.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}
