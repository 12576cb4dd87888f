//! The source files of one dataset at its pinned revision.

use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::archive::ByteSource;
use crate::catalog::DatasetDefinition;
use crate::error::{Error, Result};
use crate::fetch::{Meter, RemoteFile};
use crate::hub::{Hub, RemoteEntry};
use crate::prepare::dataset::Fetcher;
use crate::prepare::permits::Permit;

/// Below a dataset's folder: what has come of source files that are not read to their end yet.
pub(super) const PARTS_FOLDER: &str = ".parts";

/// Bytes of a path's hash that name its part: enough that two never meet.
const PART_NAME_BYTES: usize = 16;

/// Where the source files of a dataset come from, and through whose hands.
#[derive(Clone, Copy)]
pub(super) struct RemoteSource<'a> {
    pub fetcher: &'a Fetcher<'a>,
    pub definition: &'a DatasetDefinition,
    pub hub: &'a dyn Hub,
    pub revision: &'a str,
    pub meter: &'a Arc<dyn Meter>,
}

impl<'a> RemoteSource<'a> {
    /// Waits for a transfer to be allowed.
    pub fn permit(&self) -> Result<Permit<'a>> {
        self.fetcher.permits.acquire(self.fetcher.stop)
    }

    /// A source file, as far as it has come already.
    pub fn open(&self, entry: &RemoteEntry) -> Result<RemoteFile> {
        let request = self.hub.request(&self.definition.path, self.revision, entry)?;
        let parts = self.fetcher.parts_folder(self.definition);
        std::fs::create_dir_all(&parts).map_err(|error| Error::io(&parts, error))?;
        let hash = Sha256::digest(entry.path.as_bytes());
        let name: String = hash.iter().take(PART_NAME_BYTES).map(|byte| format!("{byte:02x}")).collect();
        RemoteFile::open(&self.fetcher.client, request, entry, &parts.join(name), self.meter)
    }

    /// Removes what has come of a source file.
    pub fn discard(&self, remote: RemoteFile) -> Result<()> {
        let bytes = remote.fetched();
        remote.remove()?;
        self.fetcher.budget.give_back(bytes);
        Ok(())
    }
}

impl ByteSource for RemoteFile {
    fn prefetch(&mut self, ranges: &[Range<u64>]) -> Result<()> {
        RemoteFile::prefetch(self, ranges)
    }
}
