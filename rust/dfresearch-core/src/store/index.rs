//! What is known about every media file, in an SQLite file in the cache folder.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params};

use crate::error::{Error, Result};
use crate::modality::Modality;
use crate::store::ContentHash;
use crate::store::files::FileState;
use crate::store::lock::OpeningLock;

/// The index's name in the cache folder.
pub const INDEX_FILE: &str = "index.sqlite3";

/// Raised with every change of the tables.
const SCHEMA_VERSION: i64 = 1;

/// `dfre` in ASCII: tells our files from other programs' SQLite files.
const APPLICATION_ID: i64 = 0x6466_7265;

/// How long to wait for another process that is opening or writing.
const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

const SCHEMA: &str = "
CREATE TABLE dataset (
    id INTEGER PRIMARY KEY,
    modality TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (modality, name)
);
CREATE TABLE file (
    dataset INTEGER NOT NULL REFERENCES dataset (id),
    name TEXT NOT NULL,           -- relative to the dataset's folder
    size INTEGER NOT NULL,        -- bytes
    modified_ns INTEGER NOT NULL, -- since 1970
    content BLOB,                 -- SHA-256; NULL when the file could not be read
    width INTEGER,                -- pixels; NULL when the header was refused
    height INTEGER,
    accepted INTEGER NOT NULL,    -- by the scan; a decoder may refuse the file later
    status TEXT NOT NULL CHECK (status IN ('ok', 'quarantined')),
    reason TEXT CHECK ((reason IS NULL) = (status = 'ok')),
    group_name TEXT,              -- from the dataset's manifest
    PRIMARY KEY (dataset, name)
) WITHOUT ROWID;
";

/// What the index knows about a media file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    /// Size in bytes when the file was read.
    pub size: u64,
    /// Time of the last change when the file was read, in nanoseconds since 1970.
    pub modified_ns: i64,
    /// The hash of the bytes; none when the file could not be read.
    pub content: Option<ContentHash>,
    /// Width and height in pixels; none when the header was refused, or is not looked at.
    pub dimensions: Option<(u32, u32)>,
    /// Whether the scan found a media file. It stays true when a decoder refuses the file later.
    pub accepted: bool,
    /// Why the file is not used; none when it is.
    pub quarantine_reason: Option<String>,
    /// The group that the dataset's manifest names for the file.
    pub group: Option<String>,
}

/// The index of one cache folder.
#[derive(Debug)]
pub struct Index {
    connection: Connection,
    path: PathBuf,
    notices: Vec<String>,
}

impl Index {
    /// Opens or creates the index of a cache folder.
    ///
    /// An index that is damaged or older is set aside and built anew; one in a folder that cannot be written
    /// is copied to memory. Both are said in [`Index::notices`]. Any number of processes may open and use it
    /// at once.
    ///
    /// # Errors
    /// [`Error::Index`] when the file belongs to another program or to a newer version, or is kept locked by
    /// another process.
    pub fn open(cache_dir: &Path) -> Result<Self> {
        let path = cache_dir.join(INDEX_FILE);
        if !cache_dir.is_dir() {
            return Self::in_memory(path, None);
        }
        match Self::open_alone(&path) {
            Err(OpenError::Unwritable(reason)) => Self::in_memory(path, Some(&reason)),
            opened => opened.map_err(|error| error.into_error(&path)),
        }
    }

    /// Opens the file while no other process does: nobody sees a file that is half made, and nobody sets a
    /// file aside that another process has just made.
    fn open_alone(path: &Path) -> Result<Self, OpenError> {
        let lock = OpeningLock::acquire(&beside(path, ".lock"), BUSY_TIMEOUT)
            .map_err(|error| OpenError::Unwritable(format!("{INDEX_FILE}.lock cannot be locked: {error}")))?;
        let Some(_lock) = lock else {
            let seconds = BUSY_TIMEOUT.as_secs();
            return Err(refused(path, format!("another process is opening it for over {seconds} seconds")));
        };
        let reason = match Self::open_file(path) {
            Err(OpenError::Rebuild(reason)) => reason,
            opened => return opened,
        };
        let aside = set_aside(path).map_err(OpenError::Refused)?;
        let notice = format!(
            "{}: {reason}. It was set aside as {}, and all media files are read again.",
            path.display(),
            aside.display()
        );
        tracing::warn!("{notice}");
        let mut index = Self::open_file(path)?;
        index.notices.push(notice);
        Ok(index)
    }

    fn open_file(path: &Path) -> Result<Self, OpenError> {
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        if connection.is_readonly(rusqlite::MAIN_DB)? {
            return Err(OpenError::Unwritable("the file cannot be written".to_owned()));
        }
        // In one transaction: what is read is of one moment, whatever another process commits in between.
        let looking = connection.transaction()?;
        let is_blank = is_blank(&looking, path)?;
        looking.commit()?;
        if is_blank {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            create_tables(&mut connection, path)?;
        }
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(Self { connection, path: path.to_path_buf(), notices: Vec::new() })
    }

    /// An index that lasts as long as the process, filled from the file as far as that can be read.
    pub(super) fn in_memory(path: PathBuf, unwritable: Option<&str>) -> Result<Self> {
        let failed = |error: rusqlite::Error| OpenError::Database(error).into_error(&path);
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_URI;
        let mut connection = Connection::open_with_flags(":memory:", flags).map_err(failed)?;
        create_tables(&mut connection, &path).map_err(|error| error.into_error(&path))?;
        let mut index = Self { connection, path: path.clone(), notices: Vec::new() };
        if let Some(reason) = unwritable {
            let copied = index.copy_from(&path).unwrap_or(0);
            let notice = format!(
                "{}: {reason}. The index is kept in memory only ({copied} files were known): files that it does \
                 not know are read again by every process.",
                path.display()
            );
            tracing::warn!("{notice}");
            index.notices.push(notice);
        }
        Ok(index)
    }

    /// Copies what a file that cannot be written knows; returns the number of files.
    fn copy_from(&self, path: &Path) -> rusqlite::Result<usize> {
        // SQLite's URIs escape these three; `immutable` reads a WAL file without writing beside it.
        let name = path.display().to_string().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        self.connection.execute("ATTACH ?1 AS disk", [format!("file:{name}?immutable=1")])?;
        let version: i64 =
            self.connection.pragma_query_value(Some("disk"), "user_version", |row| row.get(0))?;
        if version != SCHEMA_VERSION {
            return Ok(0);
        }
        self.connection.execute("INSERT INTO dataset SELECT * FROM disk.dataset", [])?;
        self.connection.execute("INSERT INTO file SELECT * FROM disk.file", [])
    }

    /// What a person should know about how the index was opened; usually nothing.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// All files of a dataset, by their name relative to its folder.
    ///
    /// # Errors
    /// [`Error::Index`] when the index cannot be read.
    pub fn files(&self, modality: Modality, dataset: &str) -> Result<HashMap<String, FileRecord>> {
        self.read_files(modality, dataset).map_err(|error| self.failed(error))
    }

    fn read_files(&self, modality: Modality, dataset: &str) -> rusqlite::Result<HashMap<String, FileRecord>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT file.name, size, modified_ns, content, width, height, accepted, reason, group_name
             FROM file JOIN dataset ON dataset.id = file.dataset
             WHERE modality = ?1 AND dataset.name = ?2",
        )?;
        let rows = statement.query_map(params![modality.name(), dataset], |row| {
            let width: Option<u32> = row.get(4)?;
            let height: Option<u32> = row.get(5)?;
            let record = FileRecord {
                size: row.get::<_, i64>(1)?.cast_unsigned(),
                modified_ns: row.get(2)?,
                content: row.get::<_, Option<[u8; 32]>>(3)?.map(ContentHash::from_bytes),
                dimensions: width.zip(height),
                accepted: row.get(6)?,
                quarantine_reason: row.get(7)?,
                group: row.get(8)?,
            };
            Ok((row.get(0)?, record))
        })?;
        rows.collect()
    }

    /// Writes what was found out about files of a dataset, and forgets files that are gone, in one step.
    ///
    /// # Errors
    /// [`Error::Index`] when the index cannot be written.
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
            transaction.execute(
                "INSERT OR IGNORE INTO dataset (modality, name) VALUES (?1, ?2)",
                params![modality.name(), dataset],
            )?;
            let id: i64 = transaction.query_row(
                "SELECT id FROM dataset WHERE modality = ?1 AND name = ?2",
                params![modality.name(), dataset],
                |row| row.get(0),
            )?;
            let mut write = transaction.prepare_cached(
                "INSERT OR REPLACE INTO file
                 (dataset, name, size, modified_ns, content, width, height, accepted, status, reason, group_name)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?;
            for (name, record) in seen {
                let status = if record.quarantine_reason.is_some() { "quarantined" } else { "ok" };
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

    fn failed(&self, error: rusqlite::Error) -> Error {
        OpenError::Database(error).into_error(&self.path)
    }
}

/// Whether nothing has been written to the file yet; an error when it holds anything but our tables.
fn is_blank(connection: &Connection, path: &Path) -> Result<bool, OpenError> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if (version, application, tables) == (0, 0, 0) {
        return Ok(true);
    }
    if application != APPLICATION_ID {
        let reason = "an SQLite file of another program: move it out of the cache folder";
        return Err(refused(path, reason.to_owned()));
    }
    match version.cmp(&SCHEMA_VERSION) {
        Ordering::Equal => Ok(false),
        Ordering::Less => Err(OpenError::Rebuild(format!(
            "the index has the schema of an older version ({version}; this version needs {SCHEMA_VERSION})"
        ))),
        Ordering::Greater => Err(refused(
            path,
            format!(
                "written by a newer version (schema {version}; this version writes {SCHEMA_VERSION}): \
                 update, or delete the file to have it built anew"
            ),
        )),
    }
}

fn create_tables(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    // Looked at again under the write lock, should a program that knows nothing of our lock have been quicker.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if is_blank(&transaction, path)? {
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    }
    Ok(transaction.commit()?)
}

/// Why an index file did not open.
enum OpenError {
    /// The file is not ours to replace.
    Refused(Error),
    /// The file is of no use and can be built anew.
    Rebuild(String),
    /// File or folder cannot be written.
    Unwritable(String),
    /// SQLite's reason.
    Database(rusqlite::Error),
}

impl OpenError {
    fn into_error(self, path: &Path) -> Error {
        let reason = match self {
            Self::Refused(error) => return error,
            Self::Rebuild(reason) | Self::Unwritable(reason) => reason,
            Self::Database(error) if is_damaged(&error) => format!(
                "the index is damaged ({error}): delete the file, it is built anew from the media files"
            ),
            Self::Database(error) => error.to_string(),
        };
        Error::Index { path: path.to_path_buf(), reason }
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        if is_damaged(&error) {
            Self::Rebuild(format!("the index is damaged ({error})"))
        } else if cannot_be_written(&error) {
            Self::Unwritable(error.to_string())
        } else {
            Self::Database(error)
        }
    }
}

fn refused(path: &Path, reason: String) -> OpenError {
    OpenError::Refused(Error::Index { path: path.to_path_buf(), reason })
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

fn cannot_be_written(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::SystemIoFailure
        )
    )
}

/// A file that belongs to the index, named after it.
fn beside(path: &Path, ending: &str) -> PathBuf {
    path.with_file_name(format!("{INDEX_FILE}{ending}"))
}

/// Moves an index that is of no use out of the way; the one that was set aside before it is replaced.
fn set_aside(path: &Path) -> Result<PathBuf> {
    let aside = beside(path, ".unusable");
    fs::rename(path, &aside).map_err(|error| Error::io(path, error))?;
    for ending in ["-wal", "-shm"] {
        // Left over, they would be taken for the new file's.
        let left_over = beside(path, ending);
        match fs::remove_file(&left_over) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(left_over, error));
            }
            _ => {}
        }
    }
    Ok(aside)
}
