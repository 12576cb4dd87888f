//! The tables of the index, and how those of an older version become today's.

use rusqlite::{Connection, Transaction};

/// Raised with every change of the tables.
pub(super) const SCHEMA_VERSION: i64 = UPGRADES.len() as i64;

/// The oldest version whose files are brought up to date; what is older is built anew.
pub(super) const OLDEST_KEPT_VERSION: i64 = 1;

/// What makes version 1 of nothing, version 2 of version 1, and so on: new files and old ones end up alike.
const UPGRADES: [&str; 2] = [VERSION_1, VERSION_2];

pub(in crate::store) const VERSION_1: &str = "
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

const VERSION_2: &str = "
ALTER TABLE dataset ADD COLUMN media_type TEXT;          -- from the definition, as are the next four
ALTER TABLE dataset ADD COLUMN label INTEGER;            -- 0 real, 1 synthetic
ALTER TABLE dataset ADD COLUMN generator_family TEXT;
ALTER TABLE dataset ADD COLUMN content_category TEXT;
ALTER TABLE dataset ADD COLUMN source TEXT;              -- from the fetch, as is all that follows
ALTER TABLE dataset ADD COLUMN path TEXT;
ALTER TABLE dataset ADD COLUMN revision TEXT;
ALTER TABLE dataset ADD COLUMN wanted INTEGER;           -- samples
ALTER TABLE dataset ADD COLUMN fetched INTEGER;          -- samples
ALTER TABLE dataset ADD COLUMN fetch_status TEXT;        -- ok, partial, gated, failed; NULL without a fetch
ALTER TABLE dataset ADD COLUMN fetch_reason TEXT;
ALTER TABLE dataset ADD COLUMN other_files INTEGER NOT NULL DEFAULT 0; -- with other extensions, at the last scan
ALTER TABLE dataset ADD COLUMN manifest_size INTEGER;    -- bytes; NULL without a manifest
ALTER TABLE dataset ADD COLUMN manifest_modified_ns INTEGER;
ALTER TABLE dataset ADD COLUMN is_settled INTEGER NOT NULL DEFAULT 0; -- files need not be looked at while the folders stay as they are
ALTER TABLE file ADD COLUMN probed INTEGER NOT NULL DEFAULT 0; -- whether the next two have been looked for
ALTER TABLE file ADD COLUMN duration_seconds REAL;       -- NULL when there is none, or the header does not say
ALTER TABLE file ADD COLUMN codec TEXT;
ALTER TABLE file ADD COLUMN source_file TEXT;            -- in the repository; NULL for files put in by hand
ALTER TABLE file ADD COLUMN member TEXT;                 -- of an archive
ALTER TABLE file ADD COLUMN \"row\" INTEGER;               -- of a Parquet file, from 0
ALTER TABLE file ADD COLUMN \"column\" TEXT;
ALTER TABLE file ADD COLUMN position INTEGER;            -- in a list, from 0
CREATE TABLE folder (
    dataset INTEGER NOT NULL REFERENCES dataset (id),
    name TEXT NOT NULL,            -- relative to the dataset's folder, which itself is ''
    modified_ns INTEGER NOT NULL,  -- when a file in it was last made, renamed or removed
    changed_ns INTEGER NOT NULL,
    PRIMARY KEY (dataset, name)
) WITHOUT ROWID;
CREATE TABLE manifest_gap (        -- lines of manifests whose file is not there
    dataset INTEGER NOT NULL REFERENCES dataset (id),
    line INTEGER NOT NULL,         -- from 1
    file TEXT NOT NULL,
    fetched INTEGER NOT NULL,      -- whether the file had been fetched
    PRIMARY KEY (dataset, line)
) WITHOUT ROWID;
CREATE VIEW sample AS
SELECT lower(hex(file.content)) AS id, modality, dataset.name AS dataset, file.name AS file, label, media_type,
       generator_family, content_category, size, width, height, duration_seconds, codec,
       source, path, source_file, revision, member, \"row\", \"column\", position, group_name, status, reason
FROM file JOIN dataset ON dataset.id = file.dataset;
";

/// Makes the tables of a blank database, or brings those of an older version up to date.
pub(super) fn upgrade(transaction: &Transaction<'_>, application_id: i64) -> rusqlite::Result<()> {
    let version = version(transaction)?;
    for upgrade in UPGRADES.iter().skip(usize::try_from(version).unwrap_or(0)) {
        transaction.execute_batch(upgrade)?;
    }
    transaction.pragma_update(None, "application_id", application_id)?;
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)
}

/// The version of a database's tables; 0 for a blank one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Copies everything from a database that is attached as `disk`, whatever version it has; returns the number of files.
pub(super) fn copy_attached(connection: &Connection) -> rusqlite::Result<usize> {
    let version: i64 = connection.pragma_query_value(Some("disk"), "user_version", |row| row.get(0))?;
    if !(OLDEST_KEPT_VERSION..=SCHEMA_VERSION).contains(&version) {
        return Ok(0);
    }
    let mut files = 0;
    for table in ["dataset", "file", "folder", "manifest_gap"] {
        // Later versions have all columns of the earlier ones.
        let columns: Vec<String> = connection
            .prepare("SELECT '\"' || name || '\"' FROM pragma_table_info(?1, 'disk')")?
            .query_map([table], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        if !columns.is_empty() {
            let columns = columns.join(", ");
            let copied = connection.execute(
                &format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM disk.{table}"),
                [],
            )?;
            files += if table == "file" { copied } else { 0 };
        }
    }
    Ok(files)
}
