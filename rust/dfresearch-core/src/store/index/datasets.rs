//! What the index knows about datasets as a whole: their definition, their fetch, and what the last scan saw.

use std::collections::HashMap;

use rusqlite::{TransactionBehavior, params};

use super::{Index, dataset_id};
use crate::error::Result;
use crate::modality::{MediaType, Modality};
use crate::store::fetch_state::{FetchState, FetchStatus};
use crate::store::files::{FileState, FolderState};

/// A dataset as the index remembers it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DatasetRow {
    pub id: i64,
    pub media_type: Option<String>,
    /// Files with extensions that are not the modality's.
    pub other_files: usize,
    pub fetch: Option<FetchSummary>,
    /// The manifest when it was read last; none where there was none.
    pub(super) manifest: Option<FileState>,
    /// Whether files need not be looked at while folders and manifest stay as they are.
    pub(super) is_settled: bool,
}

/// What is said of a fetch in a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FetchSummary {
    pub status: FetchStatus,
    pub reason: String,
    pub wanted: Option<usize>,
    pub fetched: usize,
}

/// A file as far as the choice of samples is concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileRow<'a> {
    pub name: &'a str,
    pub content: Option<[u8; 32]>,
    pub accepted: bool,
    pub quarantine_reason: Option<&'a str>,
    pub group: Option<&'a str>,
    pub state: FileState,
}

/// A line of a manifest whose file is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ManifestGap {
    pub line: usize,
    pub file: String,
    /// Whether the file had been fetched.
    pub fetched: bool,
}

/// What a scan saw of a dataset beside its files.
#[derive(Debug, Default)]
pub(crate) struct ScanMemory {
    pub other_files: usize,
    pub manifest: Option<FileState>,
    pub folders: Vec<FolderState>,
    pub gaps: Vec<ManifestGap>,
    pub is_settled: bool,
}

impl DatasetRow {
    /// Whether the scan that is remembered is of a folder with this manifest, and may be trusted.
    pub fn is_settled_with(&self, manifest: Option<FileState>) -> bool {
        self.is_settled && self.manifest == manifest
    }
}

impl Index {
    /// Remembers what a definition says of a dataset.
    pub(crate) fn describe(
        &mut self,
        modality: Modality,
        name: &str,
        media_type: MediaType,
        generator_family: Option<&str>,
        content_category: Option<&str>,
    ) -> Result<()> {
        let mut describe = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let id = dataset_id(&transaction, modality, name)?;
            transaction.execute(
                "UPDATE dataset SET media_type = ?2, label = ?3, generator_family = ?4, content_category = ?5
                 WHERE id = ?1",
                params![
                    id,
                    media_type.name(),
                    media_type.label().index(),
                    generator_family,
                    content_category
                ],
            )?;
            transaction.commit()
        };
        describe().map_err(|error| self.failed(error))
    }

    /// Remembers the label of a dataset of which no more is known than that.
    pub(crate) fn relabel(&mut self, id: i64, media_type: MediaType) -> Result<()> {
        let relabelled = self.connection.execute(
            "UPDATE dataset SET media_type = ?2, label = ?3 WHERE id = ?1",
            params![id, media_type.name(), media_type.label().index()],
        );
        relabelled.map(|_| ()).map_err(|error| self.failed(error))
    }

    /// Remembers the state of a dataset's fetch, or that nothing was fetched.
    pub(crate) fn set_fetch(
        &mut self,
        modality: Modality,
        name: &str,
        state: Option<&FetchState>,
    ) -> Result<()> {
        let identity = state.and_then(|state| state.identity.as_ref());
        let mut set = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let id = dataset_id(&transaction, modality, name)?;
            transaction.execute(
                "UPDATE dataset SET source = ?2, path = ?3, revision = ?4, wanted = ?5, fetched = ?6,
                     fetch_status = ?7, fetch_reason = ?8
                 WHERE id = ?1",
                params![
                    id,
                    identity.map(|identity| &identity.source),
                    identity.map(|identity| &identity.path),
                    identity.map(|identity| &identity.revision),
                    state.and_then(|state| state.wanted).map(|wanted| wanted as i64),
                    state.map(|state| state.samples as i64),
                    state.map(|state| state.status.name()),
                    state.map(|state| &state.reason),
                ],
            )?;
            transaction.commit()
        };
        set().map_err(|error| self.failed(error))
    }

    /// Remembers what a scan saw, in place of what the one before it saw.
    pub(crate) fn remember_scan(
        &mut self,
        modality: Modality,
        name: &str,
        memory: &ScanMemory,
    ) -> Result<()> {
        let mut remember = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let id = dataset_id(&transaction, modality, name)?;
            let manifest = memory.manifest;
            transaction.execute(
                "UPDATE dataset SET other_files = ?2, manifest_size = ?3, manifest_modified_ns = ?4, is_settled = ?5
                 WHERE id = ?1",
                params![
                    id,
                    memory.other_files as i64,
                    manifest.map(|state| state.size.cast_signed()),
                    manifest.map(|state| state.modified_ns),
                    memory.is_settled,
                ],
            )?;
            transaction.execute("DELETE FROM folder WHERE dataset = ?1", [id])?;
            transaction.execute("DELETE FROM manifest_gap WHERE dataset = ?1", [id])?;
            for folder in &memory.folders {
                transaction
                    .prepare_cached("INSERT OR REPLACE INTO folder VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![id, folder.name, folder.modified_ns, folder.changed_ns])?;
            }
            for gap in &memory.gaps {
                transaction
                    .prepare_cached("INSERT OR REPLACE INTO manifest_gap VALUES (?1, ?2, ?3, ?4)")?
                    .execute(params![id, gap.line as i64, gap.file, gap.fetched])?;
            }
            transaction.commit()
        };
        remember().map_err(|error| self.failed(error))
    }

    /// All datasets of a modality, by their names.
    pub(crate) fn datasets(&self, modality: Modality) -> Result<HashMap<String, DatasetRow>> {
        let read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT name, id, media_type, other_files, fetch_status, fetch_reason, wanted, fetched,
                        manifest_size, manifest_modified_ns, is_settled
                 FROM dataset WHERE modality = ?1",
            )?;
            let rows = statement.query_map([modality.name()], |row| {
                let status: Option<String> = row.get(4)?;
                let fetch = match status.as_deref().and_then(FetchStatus::from_name) {
                    None => None,
                    Some(status) => Some(FetchSummary {
                        status,
                        reason: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
                        wanted: row.get::<_, Option<i64>>(6)?.map(|wanted| wanted as usize),
                        fetched: row.get::<_, Option<i64>>(7)?.unwrap_or(0) as usize,
                    }),
                };
                let manifest_size: Option<i64> = row.get(8)?;
                let manifest_modified_ns: Option<i64> = row.get(9)?;
                let manifest = manifest_size.zip(manifest_modified_ns);
                let row = (
                    row.get(0)?,
                    DatasetRow {
                        id: row.get(1)?,
                        media_type: row.get(2)?,
                        other_files: row.get::<_, i64>(3)? as usize,
                        fetch,
                        manifest: manifest
                            .map(|(size, modified_ns)| FileState { size: size.cast_unsigned(), modified_ns }),
                        is_settled: row.get(10)?,
                    },
                );
                Ok(row)
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| self.failed(error))
    }

    /// The folders of a dataset as the last scan saw them.
    pub(crate) fn folders(&self, dataset: i64) -> Result<Vec<FolderState>> {
        let read = || {
            let mut statement = self
                .connection
                .prepare_cached("SELECT name, modified_ns, changed_ns FROM folder WHERE dataset = ?1")?;
            let rows = statement.query_map([dataset], |row| {
                Ok(FolderState { name: row.get(0)?, modified_ns: row.get(1)?, changed_ns: row.get(2)? })
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| self.failed(error))
    }

    /// The lines of a dataset's manifest whose file was not there at the last scan.
    pub(crate) fn manifest_gaps(&self, dataset: i64) -> Result<Vec<ManifestGap>> {
        let read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT line, file, fetched FROM manifest_gap WHERE dataset = ?1 ORDER BY line",
            )?;
            let rows = statement.query_map([dataset], |row| {
                Ok(ManifestGap {
                    line: row.get::<_, i64>(0)? as usize,
                    file: row.get(1)?,
                    fetched: row.get(2)?,
                })
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| self.failed(error))
    }

    /// The files of a dataset that are not used: name, state, and whether they could be read.
    pub(crate) fn quarantined_files(&self, dataset: i64) -> Result<Vec<(String, FileState, bool)>> {
        let read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT name, size, modified_ns, content IS NOT NULL FROM file
                 WHERE dataset = ?1 AND status = 'quarantined'",
            )?;
            let rows = statement.query_map([dataset], |row| {
                let state =
                    FileState { size: row.get::<_, i64>(1)?.cast_unsigned(), modified_ns: row.get(2)? };
                Ok((row.get(0)?, state, row.get(3)?))
            })?;
            rows.collect::<rusqlite::Result<_>>()
        };
        read().map_err(|error| self.failed(error))
    }

    /// Goes through the files of a dataset in the order of their names.
    pub(crate) fn each_file(&self, dataset: i64, visit: &mut dyn FnMut(FileRow<'_>)) -> Result<()> {
        let mut read = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT name, content, accepted, reason, group_name, size, modified_ns FROM file WHERE dataset = ?1 ORDER BY name",
            )?;
            let mut rows = statement.query([dataset])?;
            while let Some(row) = rows.next()? {
                let content = row.get_ref(1)?.as_blob_or_null()?;
                visit(FileRow {
                    name: row.get_ref(0)?.as_str()?,
                    content: content.and_then(|bytes| bytes.try_into().ok()),
                    accepted: row.get(2)?,
                    quarantine_reason: row.get_ref(3)?.as_str_or_null()?,
                    group: row.get_ref(4)?.as_str_or_null()?,
                    state: FileState {
                        size: row.get::<_, i64>(5)?.cast_unsigned(),
                        modified_ns: row.get(6)?,
                    },
                });
            }
            rusqlite::Result::Ok(())
        };
        read().map_err(|error| self.failed(error))
    }
}
