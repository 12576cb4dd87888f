//! What a fetch finds when it begins: whatever the one before has committed, and what a kill has left of the rest.

use std::collections::{HashMap, HashSet};
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use super::{DatasetWriter, Session};
use crate::decode::{ImageLimits, read_dimensions};
use crate::error::{Error, Result};
use crate::modality::Modality;
use crate::optional_file::read_optional_file;
use crate::store::durable::{replace_file, sync_folder};
use crate::store::fetch_state::{FetchIdentity, SampleOrigin};
use crate::store::files::media_extensions;
use crate::store::manifest::{FetchedLine, MANIFEST_FILE};
use crate::store::scan::scan_dataset;
use crate::store::staging::remove_medium;

/// Digits of a sample's name; more where a million samples are not enough.
const NUMBER_DIGITS: usize = 6;

/// A manifest, taken apart.
#[derive(Debug, Default)]
pub(super) struct ManifestContent {
    /// Lines that a person wrote.
    pub foreign: String,
    /// Lines that a fetch wrote, with their line numbers.
    pub fetched: Vec<FetchedLine>,
    /// Bytes up to the end of the last whole line.
    pub whole: u64,
}

/// What follows the last whole line of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ManifestEnd {
    /// Nothing.
    Whole,
    /// A part of a line, or what a power cut made of some.
    Torn,
    /// A person's line that lacks nothing but its end.
    Unterminated,
}

impl DatasetWriter {
    /// Brings manifest, files and index in line.
    pub(super) fn recover(&mut self, identity: &FetchIdentity) -> Result<Session> {
        let path = self.folder.join(MANIFEST_FILE);
        let (content, end) = split_manifest(&path, u64::MAX)?;
        let mut manifest_length = content.whole;
        match end {
            ManifestEnd::Whole => {}
            ManifestEnd::Torn => write_end(&path, content.whole, b"")?,
            ManifestEnd::Unterminated => {
                write_end(&path, content.whole, b"\n")?;
                manifest_length += 1;
            }
        }
        let mut lines = content.fetched;
        let whole = whole_prefix(&lines, &identity.revision);
        if whole < lines.len() {
            lines.truncate(whole);
            let mut text = content.foreign;
            for line in &lines {
                text += &line.to_text().map_err(|error| Error::io(&path, error.into()))?;
            }
            replace_file(&path, text.as_bytes())?;
            manifest_length = text.len() as u64;
        }
        self.remove_numbered(&lines.iter().map(|line| line.file.as_str()).collect())?;

        let mut index = self.open_index()?;
        let probe = |bytes: &[u8]| read_dimensions(bytes, &ImageLimits::default());
        let name = &self.dataset.name;
        let scan = scan_dataset(&mut index, &self.cache_dir, self.modality(), name, &probe, &|_| Ok(()))?;
        let contents: HashMap<&str, String> = scan
            .files
            .iter()
            .filter_map(|file| Some((file.name.as_str(), file.record.content?.to_string())))
            .collect();
        let mut session = Session {
            index,
            gaps: HashMap::new(),
            committed: Vec::new(),
            known: HashSet::new(),
            pending: Vec::new(),
            pending_bytes: 0,
            numbered: lines.len(),
            manifest_length,
            is_manifest_ahead: false,
            refused: self.refused(),
            is_state_new: false,
            lines: Vec::new(),
        };
        for (number, line) in lines.iter().enumerate() {
            if contents.get(line.file.as_str()) == Some(&line.sha256) {
                session.committed.push(line.origin.clone());
                session.known.insert(line.origin.clone());
            } else {
                session.gaps.insert(line.origin.clone(), number);
            }
        }
        session.lines = lines;
        Ok(session)
    }

    fn refused(&self) -> HashSet<SampleOrigin> {
        let refused = self.state.iter().flat_map(|state| &state.refused);
        refused.map(|refused| refused.origin.clone()).collect()
    }

    /// Removes everything that was fetched: first the manifest's lines, so that files without them are what a kill
    /// leaves.
    pub(super) fn discard(&self) -> Result<()> {
        let path = self.folder.join(MANIFEST_FILE);
        let (content, end) = split_manifest(&path, u64::MAX)?;
        let mut text = content.foreign;
        if end == ManifestEnd::Unterminated {
            text.push('\n');
        }
        if !text.is_empty() {
            replace_file(&path, text.as_bytes())?;
        } else if let Err(error) = fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Error::io(path, error));
        }
        sync_folder(&self.folder)?;
        self.remove_numbered(&HashSet::new())
    }

    /// Removes the numbered files of the folder, and its numbered folders of frames, that are not among `named`.
    fn remove_numbered(&self, named: &HashSet<&str>) -> Result<()> {
        let failed = |error| Error::io(&self.folder, error);
        let mut removed = false;
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let is_folder = entry.file_type().map_err(failed)?.is_dir();
            if is_numbered(name, is_folder, self.modality()) && !named.contains(name) {
                remove_medium(&entry.path()).map_err(|error| Error::io(entry.path(), error))?;
                removed = true;
            }
        }
        if removed { sync_folder(&self.folder) } else { Ok(()) }
    }
}

/// Whether a name is one that a fetch gives to a file, or to a folder.
fn is_numbered(name: &str, is_folder: bool, modality: Modality) -> bool {
    let is_number =
        |number: &str| number.len() >= NUMBER_DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
    match name.split_once('.') {
        None => is_folder && modality == Modality::Video && is_number(name),
        Some((number, extension)) => {
            !is_folder && is_number(number) && media_extensions(modality).contains(&extension)
        }
    }
}

/// How many of the lines are those of samples 0, 1, 2 and so on of this revision, each another one. Behind them,
/// somebody has taken lines away or put others in.
fn whole_prefix(lines: &[FetchedLine], revision: &str) -> usize {
    let mut origins = HashSet::new();
    for (number, line) in lines.iter().enumerate() {
        let name = line.file.split_once('.').map_or(line.file.as_str(), |(name, _)| name);
        if name != format!("{number:06}") || line.revision != revision || !origins.insert(&line.origin) {
            return number;
        }
    }
    lines.len()
}

/// Takes the first `limit` bytes of a manifest apart.
pub(super) fn split_manifest(path: &Path, limit: u64) -> Result<(ManifestContent, ManifestEnd)> {
    let bytes = read_optional_file(path)?.unwrap_or_default();
    let bytes = &bytes[..bytes.len().min(usize::try_from(limit).unwrap_or(usize::MAX))];
    let mut content = ManifestContent::default();
    for (index, line) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
        let is_ended = line.ends_with(b"\n");
        if let Ok(fetched) = serde_json::from_slice::<FetchedLine>(line) {
            if !is_ended {
                return Ok((content, ManifestEnd::Torn));
            }
            content.fetched.push(fetched);
        } else if line.trim_ascii().is_empty() || serde_json::from_slice::<serde_json::Value>(line).is_ok() {
            content.foreign += &String::from_utf8_lossy(line);
            if !is_ended {
                content.whole += line.len() as u64;
                return Ok((content, ManifestEnd::Unterminated));
            }
        } else if !is_ended || line.contains(&0) {
            // Where a power cut came between a file's growth and its bytes, there are zeros.
            return Ok((content, ManifestEnd::Torn));
        } else {
            let reason = "neither a line of a fetch nor a JSON object of a person's: mend it, or delete it";
            let (file, line) = (path.to_path_buf(), index + 1);
            return Err(Error::Definition { file, line, reason: reason.to_owned() });
        }
        content.whole += line.len() as u64;
    }
    Ok((content, ManifestEnd::Whole))
}

/// Ends a manifest with `end` behind its first `length` bytes.
fn write_end(path: &Path, length: u64, end: &[u8]) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        file.seek(SeekFrom::Start(length))?;
        file.write_all(end)?;
        file.sync_data()
    };
    write().map_err(|error| Error::io(path, error))
}
