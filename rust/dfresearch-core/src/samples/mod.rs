//! The samples that a loader walks through: which file, which label, in which order.

mod gather;
mod list;
mod report;

pub use gather::{LabelledDataset, Survey, gather_samples, survey};
pub use list::{SampleList, SampleListBuilder};
pub use report::{Conflict, DatasetReport, DatasetStatus, QuarantinedFile, StoreReport, UnknownManifestFile};
