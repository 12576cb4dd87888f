//! Files of an S3 bucket; a repository is `bucket` or `bucket/prefix`.
//!
//! A bucket has no commits: its revision is a digest of the listing (keys, sizes, entity tags), and every file is asked for with the
//! entity tag that was listed (`If-Match`), so that a file that changes meanwhile is noticed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

use super::{Environment, Hub, RemoteEntry, credentials, invalid, listing_digest};
use crate::error::{Error, Result};
use crate::http::{HttpClient, Request, encoded_path, parse_address, shown};

const REGION: &str = "us-east-1";

/// How long a signature is good: the longest that S3 allows, since a large file is asked for piece by piece.
const SIGNATURE_VALIDITY: Duration = Duration::from_secs(7 * 24 * 3600);

/// The largest page of a listing, in bytes: a thousand keys of a kilobyte, thrice encoded, and their surroundings.
const MAX_PAGE_BYTES: u64 = 16 * 1024 * 1024;

pub(super) struct S3 {
    client: HttpClient,
    endpoint: Option<String>,
    region: String,
    credentials: Option<Credentials>,
    /// The listings so far, by repository.
    listings: Mutex<HashMap<String, Arc<Listing>>>,
}

/// All files below a prefix, by path.
struct Listing {
    digest: String,
    files: Vec<Object>,
}

struct Object {
    path: String,
    size: u64,
    tag: String,
}

impl S3 {
    pub fn new(client: &HttpClient, environment: Environment<'_>) -> Result<Self> {
        let endpoint = credentials::endpoint(environment, &["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])?;
        let region = match credentials::text(environment, "AWS_REGION")? {
            Some(region) => Some(region),
            None => credentials::text(environment, "AWS_DEFAULT_REGION")?,
        };
        let key = credentials::token(environment, "AWS_ACCESS_KEY_ID")?;
        let secret = credentials::token(environment, "AWS_SECRET_ACCESS_KEY")?;
        let session = credentials::token(environment, "AWS_SESSION_TOKEN")?;
        let credentials = match (key, secret, session) {
            (Some(key), Some(secret), Some(session)) => {
                Some(Credentials::new_with_token(key, secret, session))
            }
            (Some(key), Some(secret), None) => Some(Credentials::new(key, secret)),
            (None, None, _) => None,
            (Some(_), None, _) => return Err(lonely("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
            (None, Some(_), _) => return Err(lonely("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")),
        };
        let region = region.unwrap_or_else(|| REGION.into());
        Ok(Self { client: client.clone(), endpoint, region, credentials, listings: Mutex::default() })
    }

    /// The bucket of a repository, and the prefix of its keys: empty, or with a slash at its end.
    fn bucket(&self, repository: &str) -> Result<(Bucket, String)> {
        let (name, prefix) = repository.split_once('/').unwrap_or((repository, ""));
        let prefix = prefix.trim_end_matches('/');
        let about = self.page(repository);
        if !prefix.is_empty() {
            encoded_path(&about, prefix)?;
        }
        // A name with dots is no host that Amazon has a certificate for.
        let style = if self.endpoint.is_some() || name.contains('.') {
            UrlStyle::Path
        } else {
            UrlStyle::VirtualHost
        };
        let amazon = || format!("https://s3.{}.amazonaws.com", self.region);
        let endpoint = parse_address(&self.endpoint.clone().unwrap_or_else(amazon))?;
        let bucket = Bucket::new(endpoint, style, name.to_owned(), self.region.clone());
        let bucket = bucket.map_err(|error| invalid(about, format!("{name:?} is not a bucket: {error}")))?;
        Ok((bucket, if prefix.is_empty() { String::new() } else { format!("{prefix}/") }))
    }

    fn fetch_listing(&self, repository: &str) -> Result<Arc<Listing>> {
        let (bucket, prefix) = self.bucket(repository)?;
        let mut files = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut action = ListObjectsV2::new(&bucket, self.credentials.as_ref());
            action.with_prefix(prefix.as_str());
            if let Some(token) = &token {
                action.with_continuation_token(token.as_str());
            }
            let url = action.sign(SIGNATURE_VALIDITY).to_string();
            let request = Request { page: Some(self.page(repository)), ..Request::new(url) };
            let (_, content) = self.client.get_bytes(&request, MAX_PAGE_BYTES)?;
            let wrong =
                |reason: String| invalid(shown(&request.url), format!("not a listing of S3: {reason}"));
            let content = String::from_utf8(content).map_err(|error| wrong(error.to_string()))?;
            let page = ListObjectsV2::parse_response(&content).map_err(|error| wrong(error.to_string()))?;
            for object in page.contents {
                let Some(path) = object.key.strip_prefix(&prefix) else {
                    return Err(wrong(format!("{:?} does not begin with {prefix:?}", object.key)));
                };
                // A key that ends in a slash stands for a folder.
                if path.is_empty() || path.ends_with('/') {
                    continue;
                }
                let size = object.size.ok_or_else(|| wrong(format!("{:?} has no size", object.key)))?;
                files.push(Object { path: path.to_owned(), size, tag: object.etag.unwrap_or_default() });
            }
            if page.next_continuation_token.is_some() && page.next_continuation_token == token {
                return Err(wrong("its pages go round in circles".into()));
            }
            token = page.next_continuation_token;
            if token.is_none() {
                break;
            }
        }
        files.sort_by(|one, other| one.path.cmp(&other.path));
        let digest =
            listing_digest(files.iter().map(|file| (file.path.as_str(), file.size, file.tag.as_str())));
        let listing = Arc::new(Listing { digest, files });
        let mut listings = self.listings.lock().unwrap_or_else(PoisonError::into_inner);
        listings.insert(repository.to_owned(), Arc::clone(&listing));
        Ok(listing)
    }

    /// The listing that gave the revision.
    fn listing(&self, repository: &str, revision: &str) -> Result<Arc<Listing>> {
        let known = self.listings.lock().unwrap_or_else(PoisonError::into_inner).get(repository).cloned();
        let listing = match known.filter(|listing| listing.digest == revision) {
            Some(listing) => listing,
            None => self.fetch_listing(repository)?,
        };
        if listing.digest == revision {
            Ok(listing)
        } else {
            Err(invalid(self.page(repository), "the files changed since the revision was resolved"))
        }
    }
}

impl Hub for S3 {
    fn resolve(&self, repository: &str, revision: Option<&str>) -> Result<String> {
        match revision {
            Some(revision) => self.listing(repository, revision).map(|listing| listing.digest.clone()),
            None => self.fetch_listing(repository).map(|listing| listing.digest.clone()),
        }
    }

    fn list(
        &self,
        repository: &str,
        revision: &str,
        keep: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<RemoteEntry>> {
        let listing = self.listing(repository, revision)?;
        let kept = listing.files.iter().filter(|file| keep(&file.path));
        Ok(kept
            .map(|file| RemoteEntry { path: file.path.clone(), size: file.size, checksum: None })
            .collect())
    }

    fn request(&self, repository: &str, revision: &str, entry: &RemoteEntry) -> Result<Request> {
        let (bucket, prefix) = self.bucket(repository)?;
        encoded_path(&self.page(repository), &entry.path)?;
        let listing = self.listing(repository, revision)?;
        let object = listing.files.binary_search_by(|file| file.path.as_str().cmp(&entry.path));
        let tag = object.ok().map(|position| listing.files[position].tag.clone());
        let tag = tag.ok_or_else(|| invalid(self.page(repository), format!("no file {:?}", entry.path)))?;
        let key = format!("{prefix}{}", entry.path);
        let url = bucket.get_object(self.credentials.as_ref(), &key).sign(SIGNATURE_VALIDITY);
        let headers = if tag.is_empty() { Vec::new() } else { vec![("if-match".into(), tag)] };
        Ok(Request { headers, page: Some(self.page(repository)), ..Request::new(url) })
    }

    fn page(&self, repository: &str) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{}/{repository}", shown(endpoint)),
            None => format!("s3://{repository}"),
        }
    }
}

fn lonely(set: &'static str, missing: &str) -> Error {
    Error::argument(set, format!("is set, but {missing} is not"))
}
