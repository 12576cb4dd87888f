//! Where the competition's definition files are read from.

use std::path::PathBuf;

use url::Url;

use crate::error::{Error, Result};

/// The environment variable that names another place than the competition's repository.
pub const CONFIG_URL_VARIABLE: &str = "DFRESEARCH_CONFIG_URL";

const REPOSITORY: &str = "BitMind-AI/gasbench";
const BRANCH: &str = "main";
const FOLDER: &str = "src/gasbench/dataset/configs";

/// Where the competition's definition files are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// The competition's own repository, at the newest commit of its main branch.
    Repository,
    /// A web address under which the files lie.
    Web(Url),
    /// A folder of this machine.
    Folder(PathBuf),
}

impl Upstream {
    /// What [`CONFIG_URL_VARIABLE`] names, or the competition's repository where it is unset or empty.
    ///
    /// # Errors
    /// As [`Upstream::parse`].
    pub fn from_environment() -> Result<Self> {
        match std::env::var(CONFIG_URL_VARIABLE) {
            Ok(text) if !text.trim().is_empty() => Self::parse(&text),
            Ok(_) | Err(std::env::VarError::NotPresent) => Ok(Self::Repository),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(Error::argument(CONFIG_URL_VARIABLE, "is not valid UTF-8"))
            }
        }
    }

    /// Reads an `http://`, `https://` or `file://` address, or the path of a folder.
    ///
    /// # Errors
    /// [`Error::Argument`] when it is an address of another kind or none at all.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |reason: &str| {
            Err(Error::argument(
                CONFIG_URL_VARIABLE,
                format!("{text:?} {reason}: expected an http(s) address, file:///folder or a folder"),
            ))
        };
        let text = text.trim();
        if !text.contains("://") {
            return if text.is_empty() { refuse("is empty") } else { Ok(Self::Folder(PathBuf::from(text))) };
        }
        let Ok(address) = Url::parse(text) else { return refuse("is no address") };
        match address.scheme() {
            "http" | "https" => Ok(Self::Web(address)),
            "file" => match address.to_file_path() {
                Ok(folder) => Ok(Self::Folder(folder)),
                Err(()) => refuse("names no folder of this machine"),
            },
            _ => refuse("is of an unknown kind"),
        }
    }

    /// What is shown to people and written down: an address without user, password and query, or a folder.
    pub fn shown(&self) -> String {
        match self {
            Self::Repository => format!("https://github.com/{REPOSITORY}"),
            Self::Web(address) => without_secrets(address),
            Self::Folder(folder) => folder.display().to_string(),
        }
    }

    /// The address of a definition file; `commit` is that of the competition's repository, its branch where unknown.
    pub(super) fn file(&self, name: &str, commit: Option<&str>) -> String {
        match self {
            Self::Repository => {
                let commit = commit.unwrap_or(BRANCH);
                format!("https://raw.githubusercontent.com/{REPOSITORY}/{commit}/{FOLDER}/{name}")
            }
            Self::Web(address) => {
                let mut address = address.clone();
                if let Ok(mut segments) = address.path_segments_mut() {
                    segments.pop_if_empty().push(name);
                }
                address.into()
            }
            Self::Folder(folder) => folder.join(name).display().to_string(),
        }
    }

    /// The same for people.
    pub(super) fn shown_file(&self, name: &str, commit: Option<&str>) -> String {
        let file = self.file(name, commit);
        match self {
            Self::Web(_) => Url::parse(&file).map(|address| without_secrets(&address)).unwrap_or(file),
            _ => file,
        }
    }
}

/// The address that answers with the newest commit, 40 hexadecimal digits, when it is asked for [`COMMIT_TYPE`].
pub(super) fn newest_commit() -> String {
    format!("https://api.github.com/repos/{REPOSITORY}/commits/{BRANCH}")
}

/// The `Accept` header by which the commit alone is answered, without its message and its patches.
pub(super) const COMMIT_TYPE: &str = "application/vnd.github.sha";

fn without_secrets(address: &Url) -> String {
    let mut address = address.clone();
    // An address that cannot have a user has none to hide.
    let _ = address.set_username("");
    let _ = address.set_password(None);
    address.set_query(None);
    address.set_fragment(None);
    address.into()
}
