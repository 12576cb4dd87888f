//! What is said of a dataset: one word, and why.

use crate::samples::report::{DatasetReport, DatasetStatus};
use crate::store::{FetchStatus, FetchSummary};

/// Sets status and reason of a dataset whose files are counted. `OK` never stands beside 0 samples.
pub(super) fn set_status(dataset: &mut DatasetReport, fetch: Option<&FetchSummary>) {
    let left_out = dataset.quarantined + dataset.conflicting;
    let of_files = match (dataset.samples, left_out) {
        (0, 0) => DatasetStatus::Missing,
        (0, _) => DatasetStatus::Failed,
        (_, 0) if dataset.gone == 0 => DatasetStatus::Ok,
        (_, _) => DatasetStatus::Partial,
    };
    dataset.status = match fetch.map(|fetch| fetch.status) {
        None | Some(FetchStatus::Ok) => of_files,
        Some(FetchStatus::Partial) => DatasetStatus::Partial,
        Some(FetchStatus::Gated) => DatasetStatus::Gated,
        Some(FetchStatus::Failed) => DatasetStatus::Failed,
    };
    let mut reasons = Vec::new();
    if !dataset.reason.is_empty() {
        reasons.push(std::mem::take(&mut dataset.reason));
    } else if let Some(fetch) = fetch.filter(|fetch| !fetch.reason.is_empty()) {
        // A fetch that brought all there is may say why that is less than was wanted.
        reasons.push(fetch.reason.clone());
    } else if dataset.status == DatasetStatus::Missing && dataset.gone == 0 {
        reasons.push("no media files in the folder".to_owned());
    }
    if dataset.gone > 0 {
        let fetched = fetch.map_or(0, |fetch| fetch.fetched).max(dataset.gone);
        let (left, gone) = (fetched - dataset.gone, dataset.gone);
        reasons.push(format!("{left} of {fetched}: {gone} files are gone; the next prepare.py fetches them"));
    }
    if dataset.quarantined > 0 {
        reasons.push(format!("{} quarantined", dataset.quarantined));
    }
    if dataset.conflicting > 0 {
        reasons.push(format!("{} also under the other label", dataset.conflicting));
    }
    if dataset.status == DatasetStatus::Missing && dataset.other_files > 0 {
        reasons.push(format!("{} with other extensions", dataset.other_files));
    }
    dataset.reason = reasons.join(", ");
}
