//! Which files of a dataset's folder are media.

use std::collections::HashSet;
use std::fs::{self, DirEntry};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::decode::video::frame_files;
use crate::error::{Error, Result};
use crate::modality::Modality;
use crate::store::manifest::MANIFEST_FILE;

/// Stems that a download in progress ends with.
const TEMPORARY_STEMS: [&str; 4] = [".tmp", ".part", ".partial", ".incomplete"];

/// The file extensions, in lower case, by which media of a modality are found. What a file really holds is
/// decided by its content.
pub fn media_extensions(modality: Modality) -> &'static [&'static str] {
    match modality {
        Modality::Image => &["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"],
        Modality::Video => {
            &["mp4", "avi", "mov", "mkv", "webm", "m4v", "mpg", "mpeg", "wmv", "flv", "3gp", "ogv"]
        }
        Modality::Audio => {
            &["wav", "mp3", "m4a", "flac", "ogg", "opus", "aac", "wma", "oga", "aif", "aiff", "mka", "npz"]
        }
    }
}

/// What a walk through a dataset's folder found.
///
/// A folder below it that holds images and no videos is one clip of a video dataset, frame by frame.
#[derive(Debug, Default)]
pub(super) struct FoundFiles {
    /// Files with a media extension, and folders of frames, sorted by name.
    pub media: Vec<FoundFile>,
    /// How many files have another extension.
    pub other_files: usize,
    /// Every folder that was walked, as it was before its content was read.
    pub folders: Vec<FolderState>,
}

/// A file with a media extension.
#[derive(Debug)]
pub(super) struct FoundFile {
    /// Name relative to the dataset's folder, `/` between folders.
    pub name: String,
    /// Size in bytes and time of the last change, or why the file cannot be read at all.
    pub state: Result<FileState, String>,
}

/// By what a change of a file is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileState {
    /// In bytes; of a folder of frames the sum of theirs.
    pub size: u64,
    /// The time of the last change, in nanoseconds since 1970.
    pub modified_ns: i64,
}

/// By what is noticed that a file was put into a folder, renamed or taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FolderState {
    /// Name relative to the dataset's folder, which itself has none.
    pub name: String,
    pub modified_ns: i64,
    /// The time that no program can set: what copies a folder with its times leaves this one.
    pub changed_ns: i64,
}

impl FolderState {
    /// What is never taken for unchanged.
    fn unknown(name: &str) -> Self {
        Self { name: name.to_owned(), modified_ns: i64::MAX, changed_ns: i64::MAX }
    }

    /// The state of a folder.
    pub fn read(dataset_folder: &Path, name: &str) -> std::io::Result<Self> {
        let metadata = fs::metadata(dataset_folder.join(name))?;
        let changed_ns = metadata.ctime().saturating_mul(1_000_000_000).saturating_add(metadata.ctime_nsec());
        let FileState { modified_ns, .. } = file_state(&metadata);
        Ok(Self { name: name.to_owned(), modified_ns, changed_ns })
    }
}

/// All media files below `folder`.
pub(super) fn find_media(folder: &Path, modality: Modality) -> Result<FoundFiles> {
    let mut found = FoundFiles::default();
    // Links may lead back to a folder that is being walked: each real folder is walked once.
    let mut walked = HashSet::new();
    let mut open = vec![(folder.to_path_buf(), String::new())];
    while let Some((path, prefix)) = open.pop() {
        // Before its content: what comes in between is noticed the next time.
        let name = prefix.trim_end_matches('/');
        found.folders.push(FolderState::read(folder, name).unwrap_or_else(|_| FolderState::unknown(name)));
        let listing = fs::canonicalize(&path).and_then(|real| {
            if walked.insert(real) { fs::read_dir(&path)?.collect() } else { Ok(Vec::new()) }
        });
        match listing {
            Ok(mut entries) => {
                // The last folder is walked first: of several names of one folder, the first one counts.
                entries.sort_by_key(|entry| std::cmp::Reverse(entry.file_name()));
                let mut paths: Vec<PathBuf> = entries.iter().map(DirEntry::path).collect();
                if modality == Modality::Video && !prefix.is_empty() && holds_frames(&paths) {
                    let name = prefix.trim_end_matches('/').to_owned();
                    let state =
                        media_state(&path, modality).map_err(|error| format!("cannot be read: {error}"));
                    found.media.push(FoundFile { name, state });
                    paths.retain(|path| !is_media_name(path, Modality::Image));
                }
                for path in paths {
                    visit(&path, &prefix, modality, &mut found, &mut open);
                }
            }
            Err(error) if prefix.is_empty() => return Err(Error::io(&path, error)),
            Err(error) => {
                let name = prefix.trim_end_matches('/').to_owned();
                found.media.push(FoundFile { name, state: Err(format!("folder cannot be read: {error}")) });
            }
        }
    }
    found.media.sort_by(|first, second| first.name.cmp(&second.name));
    Ok(found)
}

/// Whether a folder holds any medium; one that is not there does not.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be listed.
pub fn holds_media(folder: &Path, modality: Modality) -> Result<bool> {
    match find_media(folder, modality) {
        Ok(found) => Ok(!found.media.is_empty()),
        Err(Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn visit(
    path: &Path,
    prefix: &str,
    modality: Modality,
    found: &mut FoundFiles,
    open: &mut Vec<(PathBuf, String)>,
) {
    let Some(file_name) = path.file_name() else { return };
    let readable_name = file_name.to_string_lossy();
    if readable_name.starts_with('.') || (prefix.is_empty() && readable_name == MANIFEST_FILE) {
        return;
    }
    let name = format!("{prefix}{readable_name}");
    let is_temporary = has_temporary_stem(path);
    let is_media = is_media_name(path, modality);
    let metadata = fs::metadata(path);
    let state = match &metadata {
        Ok(metadata) if metadata.is_dir() && !is_media => {
            open.push((path.to_path_buf(), format!("{name}/")));
            return;
        }
        _ if !is_media => {
            found.other_files += usize::from(!is_temporary);
            return;
        }
        _ if file_name.to_str().is_none() => Err("file name is not valid UTF-8: rename the file".to_owned()),
        Ok(metadata) if metadata.is_dir() => Err("a folder, not a file".to_owned()),
        Ok(metadata) if !metadata.is_file() => Err("not a regular file".to_owned()),
        Ok(metadata) => Ok(file_state(metadata)),
        Err(error) => Err(format!("cannot be read: {error}")),
    };
    found.media.push(FoundFile { name, state });
}

/// Whether a name is that of a medium, neither hidden nor that of a download in progress.
fn is_media_name(path: &Path, modality: Modality) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let is_hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    !is_hidden && !has_temporary_stem(path) && media_extensions(modality).contains(&extension.as_str())
}

fn has_temporary_stem(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    TEMPORARY_STEMS.iter().any(|ending| stem.ends_with(ending))
}

/// Whether a folder's content is the frames of one clip.
fn holds_frames(content: &[PathBuf]) -> bool {
    let any = |modality| content.iter().any(|path| is_media_name(path, modality));
    any(Modality::Image) && !any(Modality::Video)
}

/// The state of a media file; of a folder of frames the sizes of all frames, and the latest of their changes and the
/// folder's own.
pub(crate) fn media_state(path: &Path, modality: Modality) -> std::io::Result<FileState> {
    let metadata = fs::metadata(path)?;
    if modality != Modality::Video || !metadata.is_dir() {
        return Ok(file_state(&metadata));
    }
    let mut state = FileState { size: 0, ..file_state(&metadata) };
    // Those that are decoded: what is not, changes nothing.
    for frame in frame_files(path)? {
        let FileState { size, modified_ns } = file_state(&fs::metadata(frame)?);
        state.size = state.size.saturating_add(size);
        state.modified_ns = state.modified_ns.max(modified_ns);
    }
    Ok(state)
}

/// The state of a file that is no medium; none if it is not there.
pub(super) fn optional_file_state(path: &Path) -> Option<FileState> {
    fs::metadata(path).ok().map(|metadata| file_state(&metadata))
}

fn file_state(metadata: &fs::Metadata) -> FileState {
    // A file system without times leaves 0: there, only the size tells of a change.
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
    let modified_ns = match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    };
    FileState { size: metadata.len(), modified_ns }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn names(found: &FoundFiles) -> Vec<&str> {
        found.media.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn media_are_found_by_extension_at_any_depth_and_sorted() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("b/c")).unwrap();
        for name in [
            "z.JPG",
            "b/c/1.png",
            "b/0.jpeg",
            "a.webp",
            "manifest.jsonl",
            ".download_complete",
            ".hidden.jpg",
            "half.tmp.png",
            "half.png.part",
            "notes.txt",
            "clip.mp4",
        ] {
            fs::write(folder.path().join(name), b"x").unwrap();
        }
        let found = find_media(folder.path(), Modality::Image).unwrap();
        assert_eq!(names(&found), ["a.webp", "b/0.jpeg", "b/c/1.png", "z.JPG"]);
        assert_eq!(found.other_files, 3, "half.png.part, notes.txt and clip.mp4");
        let clips = find_media(folder.path(), Modality::Video).unwrap();
        assert_eq!(names(&clips), ["b", "b/c", "clip.mp4"], "folders of images are clips");
    }

    #[test]
    fn what_is_no_readable_file_is_listed_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("folder.jpg")).unwrap();
        fs::write(folder.path().join("folder.jpg/inside.jpg"), b"x").unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("broken.jpg")).unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.path().join("device.jpg")).unwrap();
        let found = find_media(folder.path(), Modality::Image).unwrap();
        assert_eq!(names(&found), ["broken.jpg", "device.jpg", "folder.jpg"]);
        let reasons: Vec<_> = found.media.iter().map(|file| file.state.clone().unwrap_err()).collect();
        assert!(reasons[0].starts_with("cannot be read: "), "{}", reasons[0]);
        assert_eq!(reasons[1], "not a regular file");
        assert_eq!(reasons[2], "a folder, not a file");
    }

    #[test]
    fn a_folder_of_images_is_one_clip() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"frame").unwrap();
        };
        let names_in_folder = [
            "root.png",
            "clip/1.png",
            "clip/2.PNG",
            "clip/notes.txt",
            "clip/.3.png",
            "both/a.mp4",
            "both/a.jpg",
        ];
        names_in_folder.into_iter().for_each(write);
        let found = find_media(folder.path(), Modality::Video).unwrap();
        assert_eq!(names(&found), ["both/a.mp4", "clip"]);
        assert_eq!(found.other_files, 3, "root.png, clip/notes.txt and both/a.jpg");
        let before = *found.media[1].state.as_ref().unwrap();
        assert_eq!(before.size, 10);
        write("clip/10.png");
        assert_ne!(media_state(&folder.path().join("clip"), Modality::Video).unwrap(), before);
        let images = find_media(folder.path(), Modality::Image).unwrap();
        assert_eq!(names(&images), ["both/a.jpg", "clip/1.png", "clip/10.png", "clip/2.PNG", "root.png"]);
    }

    #[test]
    fn links_are_followed_and_circles_end() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("far.jpg"), b"x").unwrap();
        fs::write(folder.path().join("near.jpg"), b"x").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("linked")).unwrap();
        std::os::unix::fs::symlink(folder.path(), elsewhere.path().join("back")).unwrap();
        let found = find_media(folder.path(), Modality::Image).unwrap();
        assert_eq!(names(&found), ["linked/far.jpg", "near.jpg"]);
    }
    #[test]
    fn of_several_names_of_one_folder_the_first_counts() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let groups = ["g0", "g1", "g2", "g3", "g4", "g5", "g6", "g7"];
        for group in groups {
            let real = elsewhere.path().join(group);
            fs::create_dir_all(&real).unwrap();
            fs::write(real.join("far.jpg"), b"x").unwrap();
            fs::create_dir(folder.path().join(group)).unwrap();
            // Each group has its own names: some file systems list the same names in the same order everywhere.
            for name in ["m", "c", "x", "a", "q", "b", "z"] {
                let link = folder.path().join(group).join(format!("{name}-{group}"));
                std::os::unix::fs::symlink(&real, link).unwrap();
            }
        }
        let found = find_media(folder.path(), Modality::Image).unwrap();
        assert_eq!(names(&found), groups.map(|group| format!("{group}/a-{group}/far.jpg")));
    }
}
