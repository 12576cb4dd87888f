//! The samples that a loader walks through: which file, which label, in which order.

mod candidates;
mod gather;
mod list;
mod report;
mod status;

pub use gather::{LabelledDataset, ScanOptions, Survey, gather_samples, survey};
pub use list::{KnownContent, SampleList, SampleListBuilder};
pub use report::{Conflict, DatasetReport, DatasetStatus, QuarantinedFile, StoreReport, UnknownManifestFile};

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod fetched_tests;
