//! Archives as they lie at a source: where in them a medium stood, and what kind of file its bytes are.

mod sniff;

pub use sniff::sniff;

/// The place of a medium in the file that it came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// The entry of a ZIP or tar archive.
    pub member: Option<String>,
    /// The row of a Parquet file, counted from 0.
    pub row: Option<u64>,
    /// The column of the row.
    pub column: Option<String>,
    /// The position in a cell that is a list, counted from 0.
    pub position: Option<u32>,
}
