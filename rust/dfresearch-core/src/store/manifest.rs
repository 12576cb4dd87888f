//! The manifest of a dataset's folder: which files belong together.
//!
//! One JSON object a line: `{"file": "crops/001.jpg", "group": "photograph 17"}`. Further fields are left
//! alone, and so is a line without a group.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::optional_file::read_optional_file;

/// The manifest's name in a dataset's folder.
pub const MANIFEST_FILE: &str = "manifest.jsonl";

/// The groups that a manifest names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manifest {
    groups: HashMap<String, Group>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    line: usize,
}

#[derive(Deserialize)]
struct Line {
    file: String,
    group: Option<String>,
}

impl Manifest {
    /// Reads the manifest of a dataset's folder; a folder without one has no groups.
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
        let mut groups: HashMap<String, Group> = HashMap::new();
        for (index, bytes) in bytes.split(|&byte| byte == b'\n').enumerate() {
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            let line = index + 1;
            let refuse = |reason: String| Err(Error::Definition { file: path.to_path_buf(), line, reason });
            let entry: Line = match serde_json::from_slice(bytes) {
                Ok(entry) => entry,
                Err(error) => {
                    return refuse(format!(
                        "{error}; expected one object like {{\"file\": \"a.jpg\", \"group\": \"photograph 17\"}}"
                    ));
                }
            };
            let Some(file) = inside_folder(&entry.file) else {
                return refuse(format!(
                    "file {:?} is not a name inside the dataset's folder, like \"a.jpg\" or \"crops/a.jpg\"",
                    entry.file
                ));
            };
            let Some(name) = entry.group else { continue };
            if name.is_empty() {
                return refuse(format!("the group of {file:?} is empty: name it, or leave the field out"));
            }
            if let Some(earlier) = groups.get(file) {
                if earlier.name != name {
                    return refuse(format!(
                        "{file:?} is in group {name:?} here and in {:?} on line {}",
                        earlier.name, earlier.line
                    ));
                }
                continue;
            }
            groups.insert(file.to_owned(), Group { name, line });
        }
        Ok(Self { groups })
    }

    /// The group of a file, by its name relative to the folder.
    pub fn group(&self, file: &str) -> Option<&str> {
        self.groups.get(file).map(|group| group.name.as_str())
    }

    /// Files with a group that are not among `files`, with the manifest's line, in its order.
    pub fn unknown_files<'a>(&self, files: impl Iterator<Item = &'a str>) -> Vec<(usize, String)> {
        let mut unknown: HashMap<&str, usize> =
            self.groups.iter().map(|(file, group)| (file.as_str(), group.line)).collect();
        for file in files {
            unknown.remove(file);
        }
        let mut lines: Vec<_> = unknown.into_iter().map(|(file, line)| (line, file.to_owned())).collect();
        lines.sort_unstable();
        lines
    }
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
        assert_eq!(manifest.unknown_files(["a.jpg"].into_iter()), [(3, "b/c.jpg".to_owned())]);
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
}
