//! What is known about every media file, in an SQLite file in the cache folder.

mod datasets;
mod open;
mod schema;

use std::collections::HashMap;
use std::path::PathBuf;

use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};

use crate::archive::Origin;
use crate::error::Result;
use crate::modality::Modality;
use crate::store::files::FileState;
use crate::store::{ContentHash, MediaProperties, SampleOrigin};

pub(crate) use datasets::{DatasetRow, FetchSummary};
pub(super) use datasets::{ManifestGap, ScanMemory};
#[cfg(test)]
pub(super) use schema::VERSION_1;

/// The index's name in the cache folder.
pub const INDEX_FILE: &str = "index.sqlite3";

/// What the index knows about a media file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileRecord {
    /// Size in bytes when the file was read.
    pub size: u64,
    /// Time of the last change when the file was read, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// The hash of the bytes; none when the file could not be read.
    pub content: Option<ContentHash>,
    /// Width and height in pixels; none when the header was refused, and for sound.
    pub dimensions: Option<(u32, u32)>,
    /// How long it lasts; none for images, and where the header does not say.
    pub duration_seconds: Option<f64>,
    /// The format of an image in small letters, or FFmpeg's name of the codec; none when the header was refused.
    pub codec: Option<String>,
    /// Whether the scan found a media file. It stays true when a decoder refuses the file later.
    pub accepted: bool,
    /// Why the file is not used; none when it is.
    pub quarantine_reason: Option<String>,
    /// The group that the dataset's manifest names for the file.
    pub group: Option<String>,
    /// Where the file was fetched from, as the dataset's manifest says; none for files put in by hand.
    pub origin: Option<SampleOrigin>,
}

impl FileRecord {
    /// The same file with what its header says.
    pub(super) fn with_properties(self, properties: MediaProperties) -> Self {
        let MediaProperties { dimensions, duration_seconds, codec } = properties;
        Self { dimensions, duration_seconds, codec, ..self }
    }
}

/// A record, and whether its header has been asked for everything that is known today.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct KnownFile {
    pub record: FileRecord,
    pub is_probed: bool,
}

/// The index of one cache folder.
#[derive(Debug)]
pub struct Index {
    connection: Connection,
    path: PathBuf,
    notices: Vec<String>,
}

impl Index {
    /// What a person should know about how the index was opened; usually nothing.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// All files of a dataset, by their name relative to its folder.
    ///
    /// # Errors
    /// [`Error::Index`](crate::Error::Index) when the index cannot be read.
    pub fn files(&self, modality: Modality, dataset: &str) -> Result<HashMap<String, FileRecord>> {
        let known = self.known_files(modality, dataset)?;
        Ok(known.into_iter().map(|(name, known)| (name, known.record)).collect())
    }

    pub(super) fn known_files(
        &self,
        modality: Modality,
        dataset: &str,
    ) -> Result<HashMap<String, KnownFile>> {
        self.read_files(modality, dataset).map_err(|error| self.failed(error))
    }

    fn read_files(&self, modality: Modality, dataset: &str) -> rusqlite::Result<HashMap<String, KnownFile>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT file.name, size, modified_ns, content, width, height, duration_seconds, codec, accepted, reason,
                    group_name, source_file, member, \"row\", \"column\", position, probed
             FROM file JOIN dataset ON dataset.id = file.dataset
             WHERE modality = ?1 AND dataset.name = ?2",
        )?;
        let rows = statement
            .query_map(params![modality.name(), dataset], |row| Ok((row.get(0)?, known_file(row)?)))?;
        rows.collect()
    }

    /// Writes what was found out about files of a dataset, and forgets files that are gone, in one step.
    ///
    /// # Errors
    /// [`Error::Index`](crate::Error::Index) when the index cannot be written.
    pub fn update(
        &mut self,
        modality: Modality,
        dataset: &str,
        seen: &[(&str, &FileRecord)],
        gone: &[&str],
    ) -> Result<()> {
        if seen.is_empty() && gone.is_empty() {
            return Ok(());
        }
        self.write_files(modality, dataset, seen, gone).map_err(|error| self.failed(error))
    }

    fn write_files(
        &mut self,
        modality: Modality,
        dataset: &str,
        seen: &[(&str, &FileRecord)],
        gone: &[&str],
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let id = dataset_id(&transaction, modality, dataset)?;
            let mut write = transaction.prepare_cached(
                "INSERT OR REPLACE INTO file
                 (dataset, name, size, modified_ns, content, width, height, accepted, status, reason, group_name,
                  probed, duration_seconds, codec, source_file, member, \"row\", \"column\", position)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 1, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
            )?;
            for (name, record) in seen {
                let status = if record.quarantine_reason.is_some() { "quarantined" } else { "ok" };
                let origin = record.origin.as_ref();
                let place = origin.map(|origin| &origin.origin);
                write.execute(params![
                    id,
                    name,
                    record.size.cast_signed(),
                    record.modified_ns,
                    record.content.as_ref().map(ContentHash::as_bytes),
                    record.dimensions.map(|dimensions| dimensions.0),
                    record.dimensions.map(|dimensions| dimensions.1),
                    record.accepted,
                    status,
                    record.quarantine_reason,
                    record.group,
                    record.duration_seconds,
                    record.codec,
                    origin.map(|origin| &origin.source_file),
                    place.and_then(|place| place.member.as_ref()),
                    place.and_then(|place| place.row).map(u64::cast_signed),
                    place.and_then(|place| place.column.as_ref()),
                    place.and_then(|place| place.position),
                ])?;
            }
            let mut forget =
                transaction.prepare_cached("DELETE FROM file WHERE dataset = ?1 AND name = ?2")?;
            for name in gone {
                forget.execute(params![id, name])?;
            }
        }
        transaction.commit()
    }

    /// Marks a file as not usable until it is in another state than `state`; without one, than in the state in
    /// which it was read. Returns whether the index knows the file.
    ///
    /// The content and dimensions stay those that were read.
    pub(super) fn quarantine(
        &mut self,
        modality: Modality,
        dataset: &str,
        name: &str,
        state: Option<FileState>,
        reason: &str,
    ) -> Result<bool> {
        let changed = self.connection.execute(
            "UPDATE file SET status = 'quarantined', reason = ?4,
                 size = coalesce(?5, size), modified_ns = coalesce(?6, modified_ns)
             WHERE name = ?3 AND dataset = (SELECT id FROM dataset WHERE modality = ?1 AND name = ?2)",
            params![
                modality.name(),
                dataset,
                name,
                reason,
                state.map(|state| state.size.cast_signed()),
                state.map(|state| state.modified_ns),
            ],
        );
        changed.map(|rows| rows > 0).map_err(|error| self.failed(error))
    }
}

/// The row after its name, as [`Index::known_files`] asks for it.
fn known_file(row: &Row<'_>) -> rusqlite::Result<KnownFile> {
    let width: Option<u32> = row.get(4)?;
    let height: Option<u32> = row.get(5)?;
    let place = Origin {
        member: row.get(12)?,
        row: row.get::<_, Option<i64>>(13)?.map(i64::cast_unsigned),
        column: row.get(14)?,
        position: row.get(15)?,
    };
    let source_file: Option<String> = row.get(11)?;
    let record = FileRecord {
        size: row.get::<_, i64>(1)?.cast_unsigned(),
        modified_ns: row.get(2)?,
        content: row.get::<_, Option<[u8; 32]>>(3)?.map(ContentHash::from_bytes),
        dimensions: width.zip(height),
        duration_seconds: row.get(6)?,
        codec: row.get(7)?,
        accepted: row.get(8)?,
        quarantine_reason: row.get(9)?,
        group: row.get(10)?,
        origin: source_file.map(|source_file| SampleOrigin { source_file, origin: place }),
    };
    Ok(KnownFile { record, is_probed: row.get(16)? })
}

/// The number of a dataset, which is made if it has none.
fn dataset_id(transaction: &Transaction<'_>, modality: Modality, name: &str) -> rusqlite::Result<i64> {
    let names = params![modality.name(), name];
    transaction.execute("INSERT OR IGNORE INTO dataset (modality, name) VALUES (?1, ?2)", names)?;
    transaction.query_row("SELECT id FROM dataset WHERE modality = ?1 AND name = ?2", names, |row| row.get(0))
}
