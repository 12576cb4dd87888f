//! Datasets that the competition's own generators fill week by week.
//!
//! Their parquet files hold no media: rows name an archive and a file in it. The archives of ISO week 2025W39 lie in
//! `archives/2025W39/`, and the metadata have the week in their path. The newest week counts, which is this one or, as
//! long as its metadata name nothing, one of the four before it.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Zoned};

use crate::archive::{ArchiveFormat, ByteSource, Flow, read_rows};
use crate::catalog::DatasetDefinition;
use crate::error::{Error, FetchErrorKind, Result};
use crate::hub::RemoteEntry;
use crate::prepare::plan::{ArchiveFile, is_included};
use crate::store::FetchState;

/// How far back an empty week sends.
const WEEKS_BACK: i64 = 4;

/// Where the archives lie, by week.
const ARCHIVE_FOLDER: &str = "archives";

/// The columns of the metadata that name an archive and a medium in it.
const ARCHIVE_COLUMN: &str = "archive_filename";
const MEMBER_COLUMN: &str = "file_path_in_archive";

/// The members of every archive, by its file name.
pub(super) type Members = BTreeMap<String, HashSet<String>>;

pub(super) fn is_gasstation(definition: &DatasetDefinition) -> bool {
    definition.name.to_ascii_lowercase().contains("gasstation")
}

/// What is to be said of a fetch that is complete: another week has begun since, whose media are not in it.
pub(super) fn age_note(definition: &DatasetDefinition, state: &FetchState) -> Option<String> {
    let fetched = state.finished_at.filter(|_| is_gasstation(definition))?;
    age_note_at(fetched.to_zoned(TimeZone::system()).date(), Zoned::now().date())
}

fn age_note_at(fetched: Date, today: Date) -> Option<String> {
    let weeks = [fetched, today].map(|date| date.iso_week_date().first_of_week().ok());
    let (Some(fetched), Some(today)) = (weeks[0], weeks[1]) else { return None };
    let week = week_name(fetched.date());
    let note = format!("fetched in {week}; remove its folder to have the media of the newest week instead");
    (fetched < today).then_some(note)
}

/// What a repository holds of one week.
#[derive(Debug)]
pub(super) struct Week {
    /// As 2025W39.
    pub name: String,
    /// Parquet files, the latest name first.
    pub metadata: Vec<RemoteEntry>,
    /// The archives, by file name.
    pub archives: HashMap<String, RemoteEntry>,
}

/// The weeks that have metadata, of this one and the four before it, the newest first.
pub(super) fn recent(definition: &DatasetDefinition, listing: &[RemoteEntry]) -> Result<Vec<Week>> {
    recent_at(definition, listing, Zoned::now().date())
}

fn recent_at(definition: &DatasetDefinition, listing: &[RemoteEntry], today: Date) -> Result<Vec<Week>> {
    let names = recent_weeks(today);
    let mut weeks = Vec::new();
    for week in &names {
        let in_week = || listing.iter().filter(|entry| entry.path.contains(week.as_str()));
        let mut metadata: Vec<RemoteEntry> = in_week()
            .filter(|entry| entry.path.ends_with(".parquet") && is_included(definition, &entry.path))
            .cloned()
            .collect();
        if metadata.is_empty() {
            continue;
        }
        metadata.sort_by(|first, second| second.path.cmp(&first.path));
        let folder = format!("{ARCHIVE_FOLDER}/{week}/");
        let archives = in_week()
            .filter_map(|entry| Some((entry.path.strip_prefix(&folder)?.to_owned(), entry.clone())))
            .collect();
        weeks.push(Week { name: week.clone(), metadata, archives });
    }
    if !weeks.is_empty() {
        return Ok(weeks);
    }
    let reason =
        format!("none of its {} files is a parquet file of the weeks {}", listing.len(), names.join(", "));
    Err(Error::fetch(&definition.path, FetchErrorKind::NotFound, reason))
}

/// This ISO week and the ones before it, the newest first.
fn recent_weeks(today: Date) -> Vec<String> {
    (0..=WEEKS_BACK)
        .filter_map(|back| today.checked_sub(Span::new().weeks(back)).ok())
        .map(week_name)
        .collect()
}

/// As 2025W39.
fn week_name(date: Date) -> String {
    let date = date.iso_week_date();
    format!("{}W{:02}", date.year(), date.week())
}

/// Adds the members that a metadata file names.
pub(super) fn read_members(source: &mut dyn ByteSource, path: &str, members: &mut Members) -> Result<()> {
    let read = read_rows(source, &[ARCHIVE_COLUMN, MEMBER_COLUMN], &mut |mut row| {
        let member = row.pop().flatten();
        if let (Some(archive), Some(member)) = (row.pop().flatten(), member) {
            members.entry(archive).or_default().insert(member);
        }
        Ok(Flow::Continue)
    });
    read.map_err(|error| match error {
        // Which file it is, the reader does not know.
        Error::Fetch { kind: FetchErrorKind::Invalid, reason, .. } => {
            Error::fetch(path, FetchErrorKind::Invalid, reason)
        }
        other => other,
    })
}

impl Week {
    /// The archives that the metadata name, the latest name first, and those that are named but not there.
    pub fn archive_files(&self, members: Members) -> (Vec<ArchiveFile>, Vec<String>) {
        let mut found = Vec::new();
        let mut missing = Vec::new();
        for (name, members) in members.into_iter().rev() {
            match self.archives.get(&name) {
                Some(entry) => found.push(ArchiveFile {
                    entry: entry.clone(),
                    format: ArchiveFormat::from_path(&name).unwrap_or(ArchiveFormat::Tar),
                    members: Some(members),
                }),
                None => missing.push(format!("{ARCHIVE_FOLDER}/{}/{name}", self.name)),
            }
        }
        (found, missing)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use jiff::civil::date;

    use super::*;
    use crate::modality::{MediaType, Modality};

    fn listing(paths: &[&str]) -> Vec<RemoteEntry> {
        let entry = |path: &&str| RemoteEntry { path: (*path).to_owned(), size: 1, checksum: None };
        paths.iter().map(entry).collect()
    }

    fn definition() -> DatasetDefinition {
        DatasetDefinition {
            exclude_paths: Some(vec!["draft".to_owned()]),
            ..DatasetDefinition::new("gasstation-images", "owner/gs", Modality::Image, MediaType::Synthetic)
        }
    }

    #[test]
    fn weeks_are_those_of_the_iso_calendar() {
        assert_eq!(recent_weeks(date(2026, 1, 8)), ["2026W02", "2026W01", "2025W52", "2025W51", "2025W50"]);
        assert_eq!(recent_weeks(date(2021, 1, 3))[0], "2020W53");
        assert_eq!(recent_weeks(date(2024, 12, 30))[0], "2025W01");
    }

    #[test]
    fn what_was_fetched_in_an_earlier_week_is_told_of() {
        assert_eq!(age_note_at(date(2025, 12, 29), date(2026, 1, 4)), None, "both in 2026W01");
        let note = age_note_at(date(2025, 12, 28), date(2025, 12, 29)).unwrap();
        assert!(note.starts_with("fetched in 2025W52"), "{note}");
        assert_eq!(age_note_at(date(2026, 1, 4), date(2025, 12, 28)), None, "a clock that was put back");
    }

    #[test]
    fn weeks_with_metadata_come_newest_first() {
        let files = listing(&[
            "metadata/2025W38/a.parquet",
            "metadata/2025W39/a.parquet",
            "metadata/2025W39/b.parquet",
            "metadata/2025W39/draft.parquet",
            "metadata/2025W40/readme.md",
            "archives/2025W39/one.tar",
            "archives/2025W38/two.tar",
        ]);
        let weeks = recent_at(&definition(), &files, date(2025, 10, 3)).unwrap();
        let names: Vec<_> = weeks.iter().map(|week| week.name.as_str()).collect();
        assert_eq!(names, ["2025W39", "2025W38"], "2025W40 has no metadata");
        let week = &weeks[0];
        let paths: Vec<_> = week.metadata.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["metadata/2025W39/b.parquet", "metadata/2025W39/a.parquet"]);
        let members = Members::from([
            ("one.tar".to_owned(), HashSet::from(["x.png".to_owned()])),
            ("three.tar".to_owned(), HashSet::new()),
        ]);
        let (found, missing) = week.archive_files(members);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].entry.path, "archives/2025W39/one.tar");
        assert_eq!(missing, ["archives/2025W39/three.tar"]);

        let error = recent_at(&definition(), &files, date(2025, 12, 3)).unwrap_err();
        assert!(error.to_string().contains("2025W49, 2025W48"), "{error}");
    }
}
