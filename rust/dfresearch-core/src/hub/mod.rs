//! The places that datasets are fetched from: what a repository holds, at which revision, and how to ask for it.
//!
//! ```text
//!  resolve(repository) ──► revision ──► list(revision) ──► entries ──► request(entry) ──► fetch::RemoteFile
//!                          everything                      size and
//!                          is pinned to it                 checksum
//! ```

mod credentials;
mod huggingface;
mod modelscope;
mod s3;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use sha2::{Digest, Sha256};

use crate::catalog::Source;
use crate::error::{Error, FetchErrorKind, Result};
use crate::http::{HttpClient, Request};

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteEntry {
    /// Where it lies in the repository, for example `data/train-00000.parquet`.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// What its content must give, where the hub tells.
    pub checksum: Option<Checksum>,
}

/// What the content of a file must give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    /// SHA-256 of the content: the name of a Git LFS object.
    Sha256([u8; 32]),
    /// SHA-1 of `blob {size}\0` and the content: the name of a Git blob.
    GitBlob([u8; 20]),
}

impl Checksum {
    /// The checksum in lower-case hexadecimal digits, as hubs and entity tags write it.
    pub fn to_hex(&self) -> String {
        match self {
            Self::Sha256(digest) => hex(digest),
            Self::GitBlob(digest) => hex(digest),
        }
    }
}

/// A place that datasets are fetched from.
pub trait Hub: Send + Sync {
    /// The revision that everything of a dataset is then pinned to: of `revision`, for example a branch, or of the main branch.
    ///
    /// # Errors
    /// [`Error::Fetch`]; [`Error::Stopped`].
    fn resolve(&self, repository: &str, revision: Option<&str>) -> Result<String>;

    /// All files of a resolved revision whose path `keep` wants, in the hub's order.
    ///
    /// # Errors
    /// [`Error::Fetch`], of the kind `Invalid` when the revision is not there any more; [`Error::Stopped`].
    fn list(&self, repository: &str, revision: &str, keep: &dyn Fn(&str) -> bool)
    -> Result<Vec<RemoteEntry>>;

    /// How to ask for the content of a file of [`list`](Self::list).
    ///
    /// # Errors
    /// [`Error::Fetch`] of the kind `Invalid` for a path that cannot be asked for.
    fn request(&self, repository: &str, revision: &str, entry: &RemoteEntry) -> Result<Request>;

    /// The address where a person reads about the repository and asks for access.
    fn page(&self, repository: &str) -> String;
}

/// The hub of a source, with the endpoint and the credentials of the environment.
///
/// | source | endpoint | credentials |
/// |---|---|---|
/// | Hugging Face | `HF_ENDPOINT` | `HF_TOKEN`, or the file `HF_TOKEN_PATH`, `$HF_HOME/token` or `~/.cache/huggingface/token` |
/// | ModelScope | `MODELSCOPE_ENDPOINT` | `MODELSCOPE_API_TOKEN` |
/// | S3 | `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, or Amazon's for `AWS_REGION` or `AWS_DEFAULT_REGION` | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`; none: unsigned requests |
///
/// # Errors
/// [`Error::Argument`] for a variable that cannot be what it should be, [`Error::Io`] for a token's file that cannot be read.
pub fn connect(source: Source, client: &HttpClient) -> Result<Box<dyn Hub>> {
    connect_in(source, client, &|name| std::env::var_os(name))
}

/// The value of an environment variable.
type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

fn connect_in(source: Source, client: &HttpClient, environment: Environment<'_>) -> Result<Box<dyn Hub>> {
    Ok(match source {
        Source::HuggingFace => Box::new(huggingface::HuggingFace::new(client, environment)?),
        Source::ModelScope => Box::new(modelscope::ModelScope::new(client, environment)?),
        Source::S3 => Box::new(s3::S3::new(client, environment)?),
    })
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[digit as usize]))
        .collect()
}

/// The bytes of exactly `2 * N` hexadecimal digits.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(bytes)
}

/// A name for what a listing says, for hubs without commits: any change of a path, a size or a version gives another one.
fn listing_digest<'a>(files: impl Iterator<Item = (&'a str, u64, &'a str)>) -> String {
    let mut digest = Sha256::new();
    for (path, size, version) in files {
        // Lengths first: no two listings write the same bytes.
        for text in [path, version] {
            digest.update((text.len() as u64).to_le_bytes());
            digest.update(text);
        }
        digest.update(size.to_le_bytes());
    }
    hex(&digest.finalize())
}

fn invalid(about: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::fetch(about, FetchErrorKind::Invalid, reason)
}
