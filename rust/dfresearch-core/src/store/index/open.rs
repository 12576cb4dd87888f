//! Opening the index file: together with others, damaged, of another version, or where nothing can be written.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::schema::{self, OLDEST_KEPT_VERSION, SCHEMA_VERSION};
use super::{INDEX_FILE, Index};
use crate::error::{Error, Result};
use crate::store::lock::OpeningLock;

/// `dfre` in ASCII: tells our files from other programs' SQLite files.
const APPLICATION_ID: i64 = 0x6466_7265;

/// How long to wait for another process that is opening or writing.
const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

impl Index {
    /// Opens or creates the index of a cache folder.
    ///
    /// The index of an older version is brought up to date; one that is damaged or too old is set aside and built anew;
    /// one in a folder that cannot be written is copied to memory. The latter are said in [`Index::notices`]. Any
    /// number of processes may open and use it at once.
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
        let tables = look_at_tables(&looking, path)?;
        looking.commit()?;
        if tables == Tables::None {
            connection.pragma_update(None, "journal_mode", "WAL")?;
        }
        if tables != Tables::Current {
            make_tables(&mut connection, path)?;
        }
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(Self { connection, path: path.to_path_buf(), notices: Vec::new() })
    }

    /// An index that lasts as long as the process, filled from the file as far as that can be read.
    pub(in crate::store) fn in_memory(path: PathBuf, unwritable: Option<&str>) -> Result<Self> {
        let failed = |error: rusqlite::Error| OpenError::Database(error).into_error(&path);
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_URI;
        let mut connection = Connection::open_with_flags(":memory:", flags).map_err(failed)?;
        make_tables(&mut connection, &path).map_err(|error| error.into_error(&path))?;
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
        schema::copy_attached(&self.connection)
    }

    pub(super) fn failed(&self, error: rusqlite::Error) -> Error {
        OpenError::Database(error).into_error(&self.path)
    }
}

/// What a database file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tables {
    /// Nothing has been written to it yet.
    None,
    /// Those of an older version.
    Older,
    /// Today's.
    Current,
}

/// What is in a database file; an error when it is anything but our tables.
fn look_at_tables(connection: &Connection, path: &Path) -> Result<Tables, OpenError> {
    let version = schema::version(connection)?;
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if (version, application, tables) == (0, 0, 0) {
        return Ok(Tables::None);
    }
    if application != APPLICATION_ID {
        let reason = "an SQLite file of another program: move it out of the cache folder";
        return Err(refused(path, reason.to_owned()));
    }
    match version {
        SCHEMA_VERSION => Ok(Tables::Current),
        OLDEST_KEPT_VERSION..SCHEMA_VERSION => Ok(Tables::Older),
        ..OLDEST_KEPT_VERSION => Err(OpenError::Rebuild(format!(
            "the index has the schema of an older version ({version}; this version needs {SCHEMA_VERSION})"
        ))),
        _ => Err(refused(
            path,
            format!(
                "written by a newer version (schema {version}; this version writes {SCHEMA_VERSION}): \
                 update, or delete the file to have it built anew"
            ),
        )),
    }
}

fn make_tables(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    // Looked at again under the write lock, should a program that knows nothing of our lock have been quicker.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if look_at_tables(&transaction, path)? != Tables::Current {
        schema::upgrade(&transaction, APPLICATION_ID)?;
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
