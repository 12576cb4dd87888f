//! The manifest of a dataset's folder: which files belong together, and where fetched ones come from.
//!
//! One JSON object a line. A person writes `{"file": "crops/001.jpg", "group": "photograph 17"}`; a fetch writes
//! [`FetchedLine`]s. Further fields are left alone, and so is a line without any of these.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::optional_file::read_optional_file;
use crate::store::SampleOrigin;

/// The manifest's name in a dataset's folder.
pub const MANIFEST_FILE: &str = "manifest.jsonl";

/// What a manifest says of the files that it names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    entries: HashMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    line: usize,
    group: Option<Group>,
    origin: Option<SampleOrigin>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    line: usize,
}

/// The fields of a line that every reader needs; what else a fetch wrote is optional here.
#[derive(Deserialize)]
struct Line {
    file: String,
    group: Option<String>,
}

/// The line that a fetch writes for each of its samples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FetchedLine {
    /// The numbered file.
    pub file: String,
    /// The hash of its bytes, in hexadecimal.
    pub sha256: String,
    /// The file of the repository, and the place in it.
    #[serde(flatten)]
    pub origin: SampleOrigin,
    /// The commit of the repository.
    pub revision: String,
    /// The files that must be on one side of the split.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<String>,
}

impl FetchedLine {
    /// The line as it stands in the manifest, with its end.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self).map(|line| line + "\n")
    }
}

impl Manifest {
    /// Reads the manifest of a dataset's folder; a folder without one says nothing.
    ///
    /// A last line without its end, of which a part is missing, is left alone: a fetch that is running or was killed
    /// has written no more of it.
    ///
    /// # Errors
    /// [`Error::Definition`] with file and line for a line that is no such object, names a file outside of
    /// the folder, or contradicts another line; [`Error::Io`] when the file cannot be read.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST_FILE);
        match read_optional_file(&path)? {
            Some(bytes) => Self::parse(&bytes, &path),
            None => Ok(Self::default()),
        }
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self> {
        let mut entries: HashMap<String, Entry> = HashMap::new();
        for (index, bytes) in bytes.split_inclusive(|&byte| byte == b'\n').enumerate() {
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let line = index + 1;
            let refuse = |reason: String| Err(Error::Definition { file: path.to_path_buf(), line, reason });
            let parsed: Line = match serde_json::from_slice(bytes) {
                Ok(parsed) => parsed,
                Err(error) if is_torn(bytes, &error) => break,
                Err(error) => {
                    return refuse(format!(
                        "{error}; expected one object like {{\"file\": \"a.jpg\", \"group\": \"photograph 17\"}}"
                    ));
                }
            };
            let Some(file) = inside_folder(&parsed.file) else {
                return refuse(format!(
                    "file {:?} is not a name inside the dataset's folder, like \"a.jpg\" or \"crops/a.jpg\"",
                    parsed.file
                ));
            };
            let origin = serde_json::from_slice(bytes).ok().map(|fetched: FetchedLine| fetched.origin);
            if parsed.group.is_none() && origin.is_none() {
                continue;
            }
            let entry = entries.entry(file.to_owned()).or_insert(Entry { line, group: None, origin: None });
            // Of several lines of a fetch, which only a person can have made, the first one counts.
            entry.origin = entry.origin.take().or(origin);
            let Some(name) = parsed.group else { continue };
            if name.is_empty() {
                return refuse(format!("the group of {file:?} is empty: name it, or leave the field out"));
            }
            match &entry.group {
                Some(earlier) if earlier.name != name => {
                    return refuse(format!(
                        "{file:?} is in group {name:?} here and in {:?} on line {}",
                        earlier.name, earlier.line
                    ));
                }
                Some(_) => {}
                None => entry.group = Some(Group { name, line }),
            }
        }
        Ok(Self { entries })
    }

    /// The group of a file, by its name relative to the folder.
    pub fn group(&self, file: &str) -> Option<&str> {
        self.entries.get(file)?.group.as_ref().map(|group| group.name.as_str())
    }

    /// Where a file was fetched from, by its name relative to the folder; none for files put in by hand.
    pub fn origin(&self, file: &str) -> Option<&SampleOrigin> {
        self.entries.get(file)?.origin.as_ref()
    }

    /// Files that the manifest says something of and that are not among `files`: the line, the file, and whether it
    /// had been fetched, in the manifest's order.
    pub fn unknown_files<'a>(&self, files: impl Iterator<Item = &'a str>) -> Vec<(usize, String, bool)> {
        let mut unknown: HashMap<&str, &Entry> =
            self.entries.iter().map(|(file, entry)| (file.as_str(), entry)).collect();
        for file in files {
            unknown.remove(file);
        }
        let lines = unknown.into_iter();
        let mut lines: Vec<_> =
            lines.map(|(file, entry)| (entry.line, file.to_owned(), entry.origin.is_some())).collect();
        lines.sort_unstable();
        lines
    }
}

/// Whether a line that could not be parsed is the first part of one.
pub(super) fn is_torn(line: &[u8], error: &serde_json::Error) -> bool {
    !line.ends_with(b"\n") && !error.is_data()
}

/// The name as it stands in the index, when it is a relative path that stays in the folder.
fn inside_folder(name: &str) -> Option<&str> {
    let name = name.strip_prefix("./").unwrap_or(name);
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    name.split('/').all(plain).then_some(name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifest> {
        Manifest::parse(text.as_bytes(), Path::new("cats/manifest.jsonl"))
    }

    #[test]
    fn groups_are_read_and_other_fields_left_alone() {
        let manifest = parse(
            "{\"file\": \"a.jpg\", \"group\": \"one\", \"width\": 3}\r\n\n{\"file\": \"./b/c.jpg\", \"group\": \"två\"}\n\
             {\"file\": \"d.jpg\"}\n{\"file\": \"a.jpg\", \"group\": \"one\"}",
        )
        .unwrap();
        assert_eq!(manifest.group("a.jpg"), Some("one"));
        assert_eq!(manifest.group("b/c.jpg"), Some("två"));
        assert_eq!(manifest.group("d.jpg"), None);
        assert_eq!(manifest.unknown_files(["a.jpg"].into_iter()), [(3, "b/c.jpg".to_owned(), false)]);
    }

    #[test]
    fn a_folder_without_manifest_has_no_groups() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), Manifest::default());
    }

    #[test]
    fn a_manifest_that_cannot_be_read_is_not_taken_for_none() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join(MANIFEST_FILE);
        std::os::unix::fs::symlink("nowhere", &manifest).unwrap();
        let error = Manifest::read(folder.path()).unwrap_err();
        assert!(matches!(&error, Error::Io { path, .. } if *path == manifest), "{error}");
    }

    #[test]
    fn bad_lines_are_refused_with_their_number() {
        let good = "{\"file\": \"a.jpg\", \"group\": \"one\"}\n";
        for (bad, expected) in [
            ("{\"file\": \"a.jpg\"", "EOF"),
            ("[]", "expected one object"),
            ("{\"group\": \"one\"}", "missing field `file`"),
            ("{\"file\": \"b.jpg\", \"group\": 3}", "expected a string"),
            ("{\"file\": \"b.jpg\", \"group\": \"\"}", "is empty"),
            ("{\"file\": \"../b.jpg\", \"group\": \"one\"}", "not a name inside"),
            ("{\"file\": \"/b.jpg\", \"group\": \"one\"}", "not a name inside"),
            ("{\"file\": \"\", \"group\": \"one\"}", "not a name inside"),
            ("{\"file\": \"a.jpg\", \"group\": \"two\"}", "in \"one\" on line 1"),
            ("\u{fffd}\0", "expected"),
        ] {
            let message = parse(&format!("{good}{bad}\n")).unwrap_err().to_string();
            assert!(message.starts_with("cats/manifest.jsonl:2: "), "{message}");
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_fetched_line_comes_back_and_a_person_s_one_has_no_origin() {
        let origin = crate::archive::Origin {
            member: Some("a/b.jpg".to_owned()),
            row: Some(u64::MAX),
            column: Some("image".to_owned()),
            position: Some(3),
        };
        let origin = SampleOrigin { source_file: "data/0.parquet".to_owned(), origin };
        let line = FetchedLine {
            file: "000000.jpg".to_owned(),
            sha256: "00".repeat(32),
            origin: origin.clone(),
            revision: "abc".to_owned(),
            group: Some("cats:data/0.parquet:3".to_owned()),
        };
        let text = line.to_text().unwrap();
        assert_eq!(serde_json::from_str::<FetchedLine>(&text).unwrap(), line);
        let manifest = parse(&(text + "{\"file\": \"a.jpg\", \"source\": \"my camera\"}\n")).unwrap();
        assert_eq!(manifest.origin("000000.jpg"), Some(&origin));
        assert_eq!(manifest.group("000000.jpg"), Some("cats:data/0.parquet:3"));
        assert_eq!(manifest.origin("a.jpg"), None);
        assert_eq!(manifest.unknown_files([].into_iter()), [(1, "000000.jpg".to_owned(), true)]);
    }

    #[test]
    fn the_first_part_of_a_last_line_is_left_alone() {
        let (good, last) =
            ("{\"file\": \"a.jpg\", \"group\": \"one\"}\n", "{\"file\": \"b.jpg\", \"group\": \"tv\u{e5}\"}");
        let whole = parse(&format!("{good}{last}")).unwrap();
        assert_eq!(whole.group("b.jpg"), Some("tv\u{e5}"));
        for length in 0..last.len() {
            let bytes = [good.as_bytes(), &last.as_bytes()[..length]].concat();
            let manifest = Manifest::parse(&bytes, Path::new("cats/manifest.jsonl")).unwrap();
            assert_eq!((manifest.group("a.jpg"), manifest.group("b.jpg")), (Some("one"), None), "{length}");
        }
        assert!(parse(&format!("{good}{{\"file\": 7}}")).is_err(), "whole, and wrong");
    }
}
