//! Media out of archives, one archive after another until there are enough.

use std::collections::HashSet;

use crate::archive::{Flow, Origin, Selection, extract};
use crate::catalog::DatasetDefinition;
use crate::error::Result;
use crate::modality::Modality;
use crate::prepare::dataset::{End, Job};
use crate::prepare::plan::{ArchiveFile, is_filtered};
use crate::store::SampleOrigin;

/// Reads archives in their order.
///
/// What is there tells how far an earlier run came: archives before the last one that gave something are done, unless
/// a file out of them is gone.
pub(super) fn fetch(job: &mut Job<'_>, archives: &[ArchiveFile]) -> Result<End> {
    let resume_at = archives.iter().rposition(|archive| job.has_touched(&archive.entry.path)).unwrap_or(0);
    let mut read = 0;
    for (number, archive) in archives.iter().enumerate() {
        if job.writer.count() >= job.quota.samples {
            return Ok(End::Enough);
        }
        if job.quota.archives.is_some_and(|most| read >= most) {
            return Ok(End::Exhausted);
        }
        let path = archive.entry.path.as_str();
        if number < resume_at && !job.writer.has_gap(path) {
            if !job.failed_before.contains_key(path) {
                read += 1;
                continue;
            }
            if !job.source.fetcher.options.retry {
                job.keep_failure(path);
                continue;
            }
        }
        match fetch_archive(job, archive) {
            Ok(()) => read += 1,
            Err(error) => job.pass_over(path, error)?,
        }
    }
    Ok(if job.writer.count() >= job.quota.samples { End::Enough } else { End::Exhausted })
}

fn fetch_archive(job: &mut Job<'_>, archive: &ArchiveFile) -> Result<()> {
    let path = archive.entry.path.as_str();
    let taken: HashSet<Origin> = job.writer.origins(path);
    let of_archive = job.quota.per_archive.unwrap_or(usize::MAX).saturating_sub(taken.len());
    let mut left = of_archive.min(job.quota.samples - job.writer.count());
    if left == 0 {
        return Ok(());
    }
    let source = job.source;
    let definition = source.definition;
    let key = format!("{}/{path}", definition.path);
    let selection = Selection {
        modality: definition.modality,
        seed: source.fetcher.options.seed,
        key: &key,
        data_columns: definition.data_columns.as_deref(),
        filter: definition
            .filter_column
            .as_deref()
            .zip(definition.filter_value.as_ref())
            .filter(|_| is_filtered(definition)),
        include_members: definition.archive_include_paths.as_deref(),
        exclude_members: definition.archive_exclude_paths.as_deref(),
        wanted: Some(left + taken.len()),
        members: archive.members.as_ref(),
        limits: crate::archive::ExtractLimits::default(),
    };
    let permit = source.permit()?;
    let mut remote = source.open(&archive.entry)?;
    let stager = job.writer.stager();
    let skipped = extract(&mut remote, archive.format, &selection, source.fetcher.stop, &mut |medium| {
        if taken.contains(&medium.origin) {
            return Ok(Flow::Continue);
        }
        let group =
            shared_row(definition, &medium.origin).map(|row| format!("{}:{path}:{row}", definition.name));
        let origin = SampleOrigin { source_file: path.to_owned(), origin: medium.origin };
        if job.writer.is_refused(&origin) {
            return Ok(Flow::Continue);
        }
        match stager.stage(medium.content)? {
            Ok(staged) => {
                job.writer.accept(staged, origin, group)?;
                left -= 1;
                job.show_samples();
            }
            Err(refusal) => job.writer.refuse(origin, refusal.reason)?,
        }
        Ok(if left == 0 { Flow::Stop } else { Flow::Continue })
    })?;
    drop(permit);
    for (kind, count) in skipped.0 {
        *job.skipped.entry(kind.to_string()).or_insert(0) += count;
    }
    source.discard(remote)
}

/// The row of a medium that shares it with others: several columns of media, or a list.
fn shared_row(definition: &DatasetDefinition, origin: &Origin) -> Option<u64> {
    let column = origin.column.as_deref().unwrap_or_default();
    let several = match definition.data_columns.as_deref() {
        Some(columns) => columns.len() > 1,
        // Without a column of this name every one that looks like sound is taken.
        None => definition.modality == Modality::Audio && !column.eq_ignore_ascii_case("audio"),
    };
    origin.row.filter(|_| several || origin.position.is_some())
}
