//! From a definition and a listing to the source files that are read, in their order.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::archive::ArchiveFormat;
use crate::catalog::{DatasetDefinition, Source};
use crate::error::{Error, FetchErrorKind, Result};
use crate::http::HttpClient;
use crate::hub::{self, Hub, RemoteEntry};
use crate::modality::{MediaType, Modality};
use crate::prepare::PrepareOptions;
use crate::prepare::dataset::{is_complete, is_same_selection};
use crate::prepare::frames::{FrameFolder, frame_folders};
use crate::prepare::gasstation::{self, Week};
use crate::store::{FetchState, holds_media, media_extensions, modality_folder};

/// Formats that are looked for, in this order, when the definition names none or nothing has the named one.
const FALLBACK_FORMATS: [&str; 3] = ["parquet", "zip", "tar"];

/// The format of clips that are folders of images; only a definition that says so has any.
const FRAMES_FORMAT: &str = "frames";

/// Any of them matches all of them.
const TAR_ENDINGS: [&str; 3] = [".tar", ".tar.gz", ".tgz"];

/// Tells this order from others that are made of the same seed.
const ORDER_DOMAIN: &[u8] = b"dfresearch source file order";

/// What a dataset's samples are made of.
#[derive(Debug)]
pub(super) enum SourceFiles {
    /// Every file is a medium.
    Media(Vec<RemoteEntry>),
    /// Every folder is a clip.
    Frames(Vec<FrameFolder>),
    /// Every file holds media.
    Archives(Vec<ArchiveFile>),
}

/// An archive at the source.
#[derive(Debug)]
pub(super) struct ArchiveFile {
    pub entry: RemoteEntry,
    pub format: ArchiveFormat,
    /// Only these members; all of them where nothing says.
    pub members: Option<std::collections::HashSet<String>>,
}

/// How many media are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quota {
    /// Of the dataset.
    pub samples: usize,
    /// Of one archive; none takes all.
    pub per_archive: Option<usize>,
    /// Archives that are read; none reads all.
    pub archives: Option<usize>,
}

impl Quota {
    /// What the definition allows, and no more than `max_samples`.
    ///
    /// Rows that are chosen by a filter may be few in each archive: there, the product of the definition's two numbers
    /// counts, from as many archives as that takes.
    pub fn new(definition: &DatasetDefinition, max_samples: usize) -> Self {
        let limit = |count: Option<i64>| count.and_then(|count| usize::try_from(count).ok());
        let (per_archive, archives) =
            (limit(definition.media_per_archive), limit(definition.archives_per_dataset));
        let product = per_archive.zip(archives).map(|(media, archives)| media.saturating_mul(archives));
        let samples = product.map_or(max_samples, |product| product.min(max_samples));
        if is_filtered(definition) {
            return Self { samples, per_archive: None, archives: None };
        }
        Self { samples, per_archive, archives }
    }
}

/// How many samples a dataset has at most, without a look at its source.
pub(super) fn most_samples(definition: &DatasetDefinition, max_samples: usize) -> usize {
    Quota::new(definition, max_samples).samples
}

/// How many source files are read at most, as far as the definition itself tells.
fn most_files(definition: &DatasetDefinition, quota: Quota) -> Option<usize> {
    let format = definition.source_format.as_deref()?;
    match ArchiveFormat::from_path(&format!("a.{format}")) {
        Some(_) => quota.archives,
        None => Some(quota.samples),
    }
}

pub(super) fn is_filtered(definition: &DatasetDefinition) -> bool {
    definition.filter_column.is_some() && definition.filter_value.is_some()
}

/// The files of a listing that a definition means, in the seed's order.
///
/// # Errors
/// [`Error::Fetch`] of the kind `NotFound` when none of the files is meant.
pub(super) fn choose_files(
    definition: &DatasetDefinition,
    listing: Vec<RemoteEntry>,
    seed: u64,
) -> Result<SourceFiles> {
    let listed = listing.len();
    let named = definition.source_format.as_deref();
    if named == Some(FRAMES_FORMAT) && definition.modality == Modality::Video {
        let mut folders = frame_folders(&listing);
        if !folders.is_empty() {
            sort_by_seed(&mut folders, seed, &definition.path, |clip| &clip.folder);
            return Ok(SourceFiles::Frames(folders));
        }
    }
    let formats =
        named.into_iter().chain(FALLBACK_FORMATS.into_iter().filter(|&format| Some(format) != named));
    for format in formats {
        let mut files: Vec<RemoteEntry> =
            listing.iter().filter(|entry| has_format(&entry.path, format)).cloned().collect();
        if !files.is_empty() {
            sort_by_seed(&mut files, seed, &definition.path, |entry| &entry.path);
            return Ok(source_files(files));
        }
    }
    // Where the definition names no format at all, the files themselves tell.
    let mut media: Vec<RemoteEntry> =
        listing.into_iter().filter(|entry| is_medium(&entry.path, definition.modality)).collect();
    if media.is_empty() {
        let format = named.map_or_else(String::new, |format| format!(" {format},"));
        let reason = format!(
            "none of its {listed} files that the definition's paths leave is{format} parquet, zip, tar or a {} file",
            definition.modality
        );
        return Err(Error::fetch(&definition.path, FetchErrorKind::NotFound, reason));
    }
    sort_by_seed(&mut media, seed, &definition.path, |entry| &entry.path);
    Ok(SourceFiles::Media(media))
}

/// Whether the definition's `include_paths` and `exclude_paths` leave a file.
pub(super) fn is_included(definition: &DatasetDefinition, path: &str) -> bool {
    // An empty list says nothing.
    let contains_any = |parts: &Option<Vec<String>>| {
        let parts = parts.as_deref().filter(|parts| !parts.is_empty())?;
        Some(parts.iter().any(|part| path.contains(part.as_str())))
    };
    contains_any(&definition.include_paths).unwrap_or(true)
        && !contains_any(&definition.exclude_paths).unwrap_or(false)
}

fn has_format(path: &str, format: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let ending = format!(".{format}");
    if TAR_ENDINGS.contains(&ending.as_str()) {
        return TAR_ENDINGS.iter().any(|ending| path.ends_with(ending));
    }
    path.ends_with(&ending)
}

fn is_medium(path: &str, modality: Modality) -> bool {
    let extension = Path::new(path).extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    media_extensions(modality).contains(&extension.as_str())
}

/// All files have one format: either all are archives or none is.
fn source_files(files: Vec<RemoteEntry>) -> SourceFiles {
    let archive = |entry: &RemoteEntry| {
        let format = ArchiveFormat::from_path(&entry.path)?;
        Some(ArchiveFile { entry: entry.clone(), format, members: None })
    };
    match files.iter().map(archive).collect::<Option<Vec<_>>>() {
        Some(archives) => SourceFiles::Archives(archives),
        None => SourceFiles::Media(files),
    }
}

/// A shuffle that no other file has a say in: each file's place comes from its own path.
fn sort_by_seed<T>(files: &mut [T], seed: u64, repository: &str, path: impl Fn(&T) -> &str) {
    files.sort_by_cached_key(|file| {
        let mut hasher = Sha256::new();
        hasher.update(ORDER_DOMAIN);
        hasher.update(seed.to_le_bytes());
        for part in [repository, path(file)] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        <[u8; 32]>::from(hasher.finalize())
    });
}

/// What would be done about a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planned {
    /// It is there already.
    Complete,
    /// It would be fetched.
    Fetch,
    /// It would be fetched, and its source could not be asked how much that is.
    Unknown,
    /// It was filled by a person or another program: left as it is.
    Kept,
    /// It cannot be fetched.
    Refused,
}

impl Planned {
    /// The word in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Fetch => "fetch",
            Self::Unknown => "unknown",
            Self::Kept => "kept",
            Self::Refused => "refused",
        }
    }
}

/// What would be fetched of a dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetPlan {
    /// The definition's name.
    pub name: String,
    /// What lies in it.
    pub media_type: MediaType,
    /// What would be done.
    pub planned: Planned,
    /// Source files that would be read at most; none when neither the definition nor the source tells.
    pub files: Option<usize>,
    /// Samples that it would have at most.
    pub samples: Option<usize>,
    /// Bytes that would come over the network at most; none when the source could not be asked, or does not say.
    pub bytes: Option<u64>,
    /// What a person should know; empty when there is nothing.
    pub note: String,
}

/// What is there of a dataset before a fetch.
enum Present {
    Nothing,
    Complete(usize),
    Foreign,
}

/// Plans datasets without writing anything.
pub(super) struct Planner<'a> {
    options: &'a PrepareOptions,
    client: HttpClient,
    /// Sources that did not answer, and why: they are not asked again.
    unreachable: Mutex<HashMap<&'static str, String>>,
}

impl<'a> Planner<'a> {
    pub fn new(options: &'a PrepareOptions, client: HttpClient) -> Self {
        Self { options, client, unreachable: Mutex::default() }
    }

    /// # Errors
    /// Only those that end the whole run.
    pub fn plan(&self, definition: &DatasetDefinition) -> Result<DatasetPlan> {
        let quota = Quota::new(definition, self.options.max_samples);
        let plan = |planned, note: String| DatasetPlan {
            name: definition.name.clone(),
            media_type: definition.media_type,
            planned,
            files: most_files(definition, quota),
            samples: Some(quota.samples),
            bytes: None,
            note,
        };
        match self.present(definition, quota)? {
            Present::Nothing => {}
            Present::Complete(samples) => {
                let complete = plan(Planned::Complete, String::new());
                return Ok(DatasetPlan {
                    samples: Some(samples),
                    files: Some(0),
                    bytes: Some(0),
                    ..complete
                });
            }
            Present::Foreign => {
                let note = "filled by hand or by another program: used as it is";
                return Ok(DatasetPlan {
                    files: Some(0),
                    bytes: Some(0),
                    ..plan(Planned::Kept, note.to_owned())
                });
            }
        }
        let source = definition.source.name();
        if let Some(reason) = self.unreachable().get(source) {
            return Ok(plan(Planned::Unknown, reason.clone()));
        }
        match self.look(definition, quota) {
            Ok((files, bytes)) => Ok(DatasetPlan {
                files: Some(files),
                bytes: Some(bytes),
                ..plan(Planned::Fetch, String::new())
            }),
            Err(Error::Stopped) => Err(Error::Stopped),
            Err(Error::Fetch { kind: FetchErrorKind::Unavailable, reason, .. }) => {
                let reason = format!("{} cannot be reached: {reason}", source_name(definition.source));
                self.unreachable().insert(source, reason.clone());
                Ok(plan(Planned::Unknown, reason))
            }
            Err(error) => Ok(DatasetPlan { samples: Some(0), ..plan(Planned::Refused, error.to_string()) }),
        }
    }

    /// What lies in the dataset's folder, by what the fetch wrote down about it.
    fn present(&self, definition: &DatasetDefinition, quota: Quota) -> Result<Present> {
        let folder = modality_folder(&self.options.cache_dir, definition.modality).join(&definition.name);
        let state = match FetchState::read(&folder) {
            Ok(state) => state,
            // The fetch will say so.
            Err(Error::Definition { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(match state {
            Some(state) if is_same_selection(&state, definition, self.options.seed) => {
                if is_complete(&state, state.samples, quota) {
                    Present::Complete(state.samples)
                } else {
                    Present::Nothing
                }
            }
            Some(_) => Present::Nothing,
            None if holds_media(&folder, definition.modality)? => Present::Foreign,
            None => Present::Nothing,
        })
    }

    fn unreachable(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, String>> {
        self.unreachable.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many source files would be read, and their bytes: an upper bound where only parts of archives are.
    fn look(&self, definition: &DatasetDefinition, quota: Quota) -> Result<(usize, u64)> {
        let hub = hub::connect(definition.source, &self.client)?;
        let revision = hub.resolve(&definition.path, None)?;
        let sizes = |entries: &mut dyn Iterator<Item = &RemoteEntry>| {
            entries.fold((0, 0u64), |(files, bytes), entry| (files + 1, bytes.saturating_add(entry.size)))
        };
        Ok(match list_files(&*hub, definition, &revision, self.options.seed)? {
            Listing::Files(SourceFiles::Media(media)) => sizes(&mut media.iter().take(quota.samples)),
            Listing::Files(SourceFiles::Frames(folders)) => {
                sizes(&mut folders.iter().take(quota.samples).flat_map(|clip| &clip.frames))
            }
            Listing::Files(SourceFiles::Archives(archives)) => {
                // With a medium at least in each, no more archives are read than samples are wanted.
                let most = quota.archives.unwrap_or(usize::MAX).min(quota.samples);
                sizes(&mut archives.iter().map(|archive| &archive.entry).take(most))
            }
            Listing::Weeks(weeks) => {
                let newest = weeks.first();
                sizes(
                    &mut newest
                        .into_iter()
                        .flat_map(|week| week.metadata.iter().chain(week.archives.values())),
                )
            }
        })
    }
}

/// What a repository holds of a dataset.
#[derive(Debug)]
pub(super) enum Listing {
    /// Source files, in their order.
    Files(SourceFiles),
    /// Weeks of the competition's own generators, the newest first.
    Weeks(Vec<Week>),
}

impl Listing {
    /// The file that is read first.
    pub fn first(&self) -> Option<&RemoteEntry> {
        match self {
            Self::Files(SourceFiles::Media(media)) => media.first(),
            Self::Files(SourceFiles::Frames(folders)) => folders.first()?.frames.first(),
            Self::Files(SourceFiles::Archives(archives)) => archives.first().map(|archive| &archive.entry),
            Self::Weeks(weeks) => weeks.first()?.metadata.first(),
        }
    }
}

/// What a repository holds of a dataset at a revision.
pub(super) fn list_files(
    hub: &dyn Hub,
    definition: &DatasetDefinition,
    revision: &str,
    seed: u64,
) -> Result<Listing> {
    if gasstation::is_gasstation(definition) {
        let listing = hub.list(&definition.path, revision, &|_| true)?;
        return gasstation::recent(definition, &listing).map(Listing::Weeks);
    }
    let listing = hub.list(&definition.path, revision, &|path| is_included(definition, path))?;
    choose_files(definition, listing, seed).map(Listing::Files)
}

fn source_name(source: Source) -> &'static str {
    match source {
        Source::HuggingFace => "the Hugging Face hub",
        Source::ModelScope => "ModelScope",
        Source::S3 => "the S3 bucket",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    /// The files of a repository that a definition means.
    fn chosen(modality: Modality, format: Option<&str>, paths: &[&str], seed: u64) -> Result<SourceFiles> {
        let entry = |path: &&str| RemoteEntry { path: (*path).to_owned(), size: 1, checksum: None };
        let definition = DatasetDefinition {
            source_format: format.map(str::to_owned),
            ..DatasetDefinition::new("clips", "owner/clips", modality, MediaType::Real)
        };
        choose_files(&definition, paths.iter().map(entry).collect(), seed)
    }

    fn folders(files: SourceFiles) -> Vec<String> {
        let SourceFiles::Frames(clips) = files else { panic!("{files:?}") };
        clips.into_iter().map(|clip| clip.folder).collect()
    }

    #[test]
    fn folders_of_frames_come_in_the_seeds_order() {
        let paths: Vec<String> = (0..20).map(|clip| format!("clips/{clip}/{}.png", clip % 3)).collect();
        let mut paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let with_seed =
            |seed, paths: &[&str]| folders(chosen(Modality::Video, Some("frames"), paths, seed).unwrap());
        let first = with_seed(1, &paths);
        assert_eq!(first.len(), 20);
        assert_ne!(with_seed(2, &paths), first);
        // What else lies there has no say in it, nor has the order of the listing.
        paths.reverse();
        paths.extend(["clips/more/1.png", "README.md", "clips/3/other.png"]);
        let more = with_seed(1, &paths);
        assert_eq!(more.into_iter().filter(|folder| folder != "clips/more").collect::<Vec<_>>(), first);
    }

    #[test]
    fn only_a_definition_of_videos_that_says_frames_has_folders_of_them() {
        let paths = ["a/1.png", "a/2.png", "v/1.mp4", "v/2.mp4", "v/3.mp4"];
        let frames = |modality, format| chosen(modality, format, &paths, 0).unwrap();
        assert_eq!(folders(frames(Modality::Video, Some("frames"))), ["a"]);
        for (modality, format, count) in [
            (Modality::Video, None, 3),
            (Modality::Video, Some("mp4"), 3),
            (Modality::Image, Some("frames"), 2),
            (Modality::Image, None, 2),
        ] {
            let SourceFiles::Media(media) = frames(modality, format) else { panic!("{modality} {format:?}") };
            assert_eq!(media.len(), count, "{modality} {format:?}");
        }
        // Where there are none, what a definition without a format would mean.
        let files = chosen(Modality::Video, Some("frames"), &["v/1.mp4", "all.zip"], 0).unwrap();
        assert!(matches!(&files, SourceFiles::Archives(archives) if archives.len() == 1), "{files:?}");
        let nothing = chosen(Modality::Video, Some("frames"), &["README.md"], 0).unwrap_err();
        assert!(nothing.to_string().contains("is frames, parquet, zip, tar or a video file"), "{nothing}");
    }
}
