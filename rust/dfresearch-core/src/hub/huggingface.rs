//! Datasets of the Hugging Face hub, or of another server with its HTTP API.

use std::collections::HashSet;

use serde::Deserialize;

use super::{Checksum, Environment, Hub, RemoteEntry, credentials, from_hex, invalid};
use crate::error::Result;
use crate::http::{HttpClient, Request, encoded, encoded_path, parse_address, same_origin, shown};

const ENDPOINT: &str = "https://huggingface.co";
const MAIN_BRANCH: &str = "main";

pub(super) struct HuggingFace {
    client: HttpClient,
    endpoint: String,
    token: Option<String>,
}

/// What the hub says of a revision.
#[derive(Deserialize)]
struct RevisionInfo {
    sha: String,
}

/// A line of a tree.
#[derive(Deserialize)]
struct TreeEntry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    oid: Option<String>,
    lfs: Option<LargeFile>,
}

/// The file that a Git LFS pointer stands for.
#[derive(Deserialize)]
struct LargeFile {
    oid: String,
    size: u64,
}

impl HuggingFace {
    pub fn new(client: &HttpClient, environment: Environment<'_>) -> Result<Self> {
        let endpoint =
            credentials::endpoint(environment, &["HF_ENDPOINT"])?.unwrap_or_else(|| ENDPOINT.into());
        let token = credentials::hugging_face_token(environment)?;
        Ok(Self { client: client.clone(), endpoint, token })
    }

    /// A request to the hub itself, with the token.
    fn ask(&self, repository: &str, url: String) -> Request {
        let headers =
            self.token.iter().map(|token| ("authorization".into(), format!("Bearer {token}"))).collect();
        Request { headers, page: Some(self.page(repository)), ..Request::new(url) }
    }

    /// `{endpoint}{before}/{repository}`.
    fn address(&self, before: &str, repository: &str) -> Result<String> {
        Ok(format!("{}{before}/{}", self.endpoint, encoded_path(&self.endpoint, repository)?))
    }
}

impl Hub for HuggingFace {
    fn resolve(&self, repository: &str, revision: Option<&str>) -> Result<String> {
        let revision = encoded(revision.unwrap_or(MAIN_BRANCH));
        let url = format!("{}/revision/{revision}", self.address("/api/datasets", repository)?);
        let info: RevisionInfo = self.client.get_json(&self.ask(repository, url.clone()))?;
        match from_hex::<20>(&info.sha) {
            Some(_) => Ok(info.sha),
            None => Err(invalid(shown(&url), format!("{:?} is not the name of a commit", info.sha))),
        }
    }

    fn list(
        &self,
        repository: &str,
        revision: &str,
        keep: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<RemoteEntry>> {
        let tree = self.address("/api/datasets", repository)?;
        let first = format!("{tree}/tree/{}?recursive=true&expand=false", encoded(revision));
        let home = parse_address(&self.endpoint)?;
        let mut request = self.ask(repository, first);
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        while seen.insert(request.url.clone()) {
            let (response, page): (_, Vec<TreeEntry>) = self.client.get_json_response(&request)?;
            for entry in page {
                if entry.kind == "file" && keep(&entry.path) {
                    entries.push(remote_entry(&request.url, entry)?);
                }
            }
            let Some(next) = response.header("link").and_then(next_page) else { return Ok(entries) };
            let next = parse_address(&response.final_url)?
                .join(next)
                .map_err(|_| invalid(shown(&request.url), "the link to the next page is not an address"))?;
            // A server that names another host for its next page gets no token there.
            request = if same_origin(&home, &next) {
                self.ask(repository, next.into())
            } else {
                Request::new(next)
            };
        }
        Err(invalid(shown(&request.url), "the pages of the listing go round in circles"))
    }

    fn request(&self, repository: &str, revision: &str, entry: &RemoteEntry) -> Result<Request> {
        let resolve = format!("{}/resolve/{}", self.address("/datasets", repository)?, encoded(revision));
        let path = encoded_path(&resolve, &entry.path)?;
        Ok(self.ask(repository, format!("{resolve}/{path}")))
    }

    fn page(&self, repository: &str) -> String {
        format!("{}/datasets/{repository}", shown(&self.endpoint))
    }
}

fn remote_entry(url: &str, entry: TreeEntry) -> Result<RemoteEntry> {
    let (size, checksum) = match entry.lfs {
        // Some servers write the kind of the digest before it.
        Some(file) => {
            let digest = from_hex(file.oid.trim_start_matches("sha256:"));
            (file.size, digest.map(Checksum::Sha256).ok_or(file.oid))
        }
        None => {
            let digest = entry.oid.as_deref().and_then(from_hex);
            (entry.size, digest.map(Checksum::GitBlob).ok_or(entry.oid.unwrap_or_default()))
        }
    };
    let checksum = checksum
        .map_err(|oid| invalid(shown(url), format!("{:?} has {oid:?} for a checksum", entry.path)))?;
    Ok(RemoteEntry { path: entry.path, size, checksum: Some(checksum) })
}

/// The address of the relation `next` in a `Link` header (RFC 8288).
fn next_page(link: &str) -> Option<&str> {
    link.split('<').skip(1).find_map(|part| {
        let (address, parameters) = part.split_once('>')?;
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let parameter = parameter.trim();
            parameter.eq_ignore_ascii_case("rel=\"next\"") || parameter.eq_ignore_ascii_case("rel=next")
        });
        is_next.then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        assert_eq!(next_page("<https://h/a?b=1,2>; rel=\"next\""), Some("https://h/a?b=1,2"));
        assert_eq!(next_page("<https://h/1>; rel=\"prev\", <https://h/3>;rel=next"), Some("https://h/3"));
        assert_eq!(next_page("<https://h/1>; rel=\"prev\""), None);
        assert_eq!(next_page("https://h/1"), None);
        assert_eq!(next_page(""), None);
    }
}
