//! Datasets of the ModelScope hub.
//!
//! Its API lists a branch, not a commit; so the revision that a dataset is pinned to is the branch and a digest of its listing,
//! which holds the SHA-256 of every large file: `master@{64 hexadecimal digits}`.

use std::collections::HashSet;

use serde::Deserialize;

use super::{Checksum, Environment, Hub, RemoteEntry, credentials, from_hex, invalid, listing_digest};
use crate::error::{Error, FetchErrorKind, Result};
use crate::http::{HttpClient, Request, encoded, encoded_path, shown};

const ENDPOINT: &str = "https://www.modelscope.cn";
const MAIN_BRANCH: &str = "master";

/// How many files a page is asked to hold.
const PAGE_SIZE: usize = 500;

pub(super) struct ModelScope {
    client: HttpClient,
    endpoint: String,
    token: Option<String>,
}

/// Every answer of the API.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    code: i64,
    success: Option<bool>,
    #[serde(default)]
    message: String,
    data: Option<Tree>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tree {
    files: Option<Vec<File>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct File {
    path: String,
    #[serde(rename = "Type")]
    kind: String,
    #[serde(default)]
    size: u64,
    sha256: Option<String>,
    revision: Option<String>,
}

impl ModelScope {
    pub fn new(client: &HttpClient, environment: Environment<'_>) -> Result<Self> {
        let endpoint = credentials::endpoint(environment, &["MODELSCOPE_ENDPOINT"])?;
        let token = credentials::token(environment, "MODELSCOPE_API_TOKEN")?;
        Ok(Self { client: client.clone(), endpoint: endpoint.unwrap_or_else(|| ENDPOINT.into()), token })
    }

    fn ask(&self, repository: &str, url: String) -> Request {
        let mut headers = Vec::new();
        if let Some(token) = &self.token {
            headers.push(("authorization".into(), format!("Bearer {token}")));
            headers.push(("cookie".into(), format!("m_session_id={token}")));
        }
        Request { headers, page: Some(self.page(repository)), ..Request::new(url) }
    }

    fn address(&self, repository: &str) -> Result<String> {
        Ok(format!("{}/api/v1/datasets/{}/repo", self.endpoint, encoded_path(&self.endpoint, repository)?))
    }

    /// All files of a branch, by path.
    fn files(&self, repository: &str, branch: &str) -> Result<Vec<File>> {
        let address = self.address(repository)?;
        let mut seen = HashSet::new();
        let mut files: Vec<File> = Vec::new();
        for page in 1.. {
            let url = format!(
                "{address}/tree?Revision={}&Recursive=true&PageNumber={page}&PageSize={PAGE_SIZE}",
                encoded(branch)
            );
            let answer: Answer = self.client.get_json(&self.ask(repository, url.clone()))?;
            let listed = answer.into_files(&shown(&url), &self.page(repository))?;
            let known = seen.len();
            files.extend(listed.into_iter().filter(|file| seen.insert(file.path.clone())));
            // A page may hold fewer files than it was asked to, and still not be the last one.
            if seen.len() == known {
                break;
            }
        }
        files.retain(|file| file.kind != "tree");
        files.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(files)
    }
}

impl Answer {
    fn into_files(self, url: &str, page: &str) -> Result<Vec<File>> {
        match (self.success, self.data) {
            (Some(true) | None, Some(Tree { files })) => Ok(files.unwrap_or_default()),
            _ => {
                let kind = match self.code {
                    401 | 403 => FetchErrorKind::Gated,
                    404 => FetchErrorKind::NotFound,
                    _ => FetchErrorKind::Invalid,
                };
                let message = self.message.split_whitespace().collect::<Vec<_>>().join(" ");
                Err(Error::fetch(url, kind, format!("code {}: {message}; see {page}", self.code)))
            }
        }
    }
}

impl File {
    /// What changes when the content does.
    fn version(&self) -> &str {
        let text = |field: &'_ Option<String>| field.as_deref().is_some_and(|text| !text.is_empty());
        let field = if text(&self.sha256) { &self.sha256 } else { &self.revision };
        field.as_deref().unwrap_or_default()
    }
}

impl Hub for ModelScope {
    fn resolve(&self, repository: &str, revision: Option<&str>) -> Result<String> {
        let branch = revision.unwrap_or(MAIN_BRANCH);
        let files = self.files(repository, branch)?;
        let digest = listing_digest(files.iter().map(|file| (file.path.as_str(), file.size, file.version())));
        Ok(format!("{branch}@{digest}"))
    }

    fn list(
        &self,
        repository: &str,
        revision: &str,
        keep: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<RemoteEntry>> {
        let branch = branch_of(revision);
        let files = self.files(repository, branch)?;
        let digest = listing_digest(files.iter().map(|file| (file.path.as_str(), file.size, file.version())));
        if revision != branch && revision != format!("{branch}@{digest}") {
            return Err(invalid(self.page(repository), "the files changed since the revision was resolved"));
        }
        let kept = files.into_iter().filter(|file| keep(&file.path));
        Ok(kept
            .map(|file| RemoteEntry {
                checksum: file.sha256.as_deref().and_then(from_hex).map(Checksum::Sha256),
                path: file.path,
                size: file.size,
            })
            .collect())
    }

    fn request(&self, repository: &str, revision: &str, entry: &RemoteEntry) -> Result<Request> {
        let address = self.address(repository)?;
        encoded_path(&address, &entry.path)?;
        let branch = encoded(branch_of(revision));
        Ok(self.ask(repository, format!("{address}?Revision={branch}&FilePath={}", encoded(&entry.path))))
    }

    fn page(&self, repository: &str) -> String {
        format!("{}/datasets/{repository}", shown(&self.endpoint))
    }
}

fn branch_of(revision: &str) -> &str {
    revision.rsplit_once('@').map_or(revision, |(branch, _)| branch)
}
