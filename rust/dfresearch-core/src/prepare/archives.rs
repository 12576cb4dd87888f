//! Media out of archives, one archive after another until there are enough.

use crate::archive::{ExtractLimits, Flow, Origin, Selection, SkipReason, Skipped, extract};
use crate::catalog::DatasetDefinition;
use crate::error::{Error, FetchErrorKind, Result};
use crate::fetch::RemoteFile;
use crate::modality::Modality;
use crate::prepare::job::{End, Job};
use crate::prepare::plan::{ArchiveFile, is_filtered};
use crate::prepare::source::RemoteSource;
use crate::store::SampleOrigin;

/// Archives up to this size are fetched whole and their checksum looked at before anything is taken out of them. Of a
/// larger one only the parts that are needed are fetched, unless it came wrong before.
const CHECKED_FIRST_BYTES: u64 = 8 << 20;

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
            Ok(()) => {
                job.has_come(path)?;
                read += 1;
            }
            Err(error) => job.pass_over(path, error)?,
        }
    }
    Ok(if job.writer.count() >= job.quota.samples { End::Enough } else { End::Exhausted })
}

fn fetch_archive(job: &mut Job<'_>, archive: &ArchiveFile) -> Result<()> {
    let path = archive.entry.path.as_str();
    let source = job.source;
    let mut taken = job.writer.origins(path).len();
    let mut left = job.left_in_archive(taken);
    if left == 0 {
        return Ok(());
    }
    let permit = source.permit()?;
    let mut remote = source.open(&archive.entry)?;
    if archive.entry.size <= CHECKED_FIRST_BYTES || job.is_suspect(path) {
        remote.fetch_all()?;
    }
    let mut refused = 0;
    let mut is_second_copy = false;
    // Media that are refused are replaced by further ones, once the archive has handed out what seemed to be enough.
    let skipped = loop {
        let wanted = left + taken + refused;
        let pass = read_archive(job, archive, &mut remote, wanted)?;
        taken = job.writer.origins(path).len();
        left = job.left_in_archive(taken);
        refused = pass.handed_out.saturating_sub(taken);
        if pass.skipped.0.contains_key(&SkipReason::Corrupt) && !is_second_copy {
            // It may have been broken on its way.
            source.discard(remote)?;
            remote = source.open(&archive.entry)?;
            is_second_copy = true;
            continue;
        }
        if left == 0 || pass.handed_out < wanted {
            break pass.skipped;
        }
    };
    if remote.fetched() == remote.size()
        && let Err(error) = remote.fetch_all()
    {
        // What was taken out of it may be wrong, and nothing tells which.
        if matches!(error, Error::Fetch { kind: FetchErrorKind::Invalid, .. }) {
            return Err(job.start_over(path, error)?);
        }
        return Err(error);
    }
    drop(permit);
    let skipped = skipped.0.into_iter().map(|(kind, count)| (kind.name().to_owned(), count)).collect();
    job.writer.note_skipped(path, skipped)?;
    source.discard(remote)
}

struct Pass {
    /// Media that the archive handed out, those included that were known.
    handed_out: usize,
    skipped: Skipped,
}

/// Takes what of the first `wanted` media of an archive is not known yet.
fn read_archive(
    job: &mut Job<'_>,
    archive: &ArchiveFile,
    remote: &mut RemoteFile,
    wanted: usize,
) -> Result<Pass> {
    let path = archive.entry.path.as_str();
    let RemoteSource { definition, fetcher, .. } = job.source;
    let key = format!("{}/{path}", definition.path);
    let selection = Selection {
        modality: definition.modality,
        seed: fetcher.options.seed,
        key: &key,
        data_columns: definition.data_columns.as_deref(),
        filter: definition
            .filter_column
            .as_deref()
            .zip(definition.filter_value.as_ref())
            .filter(|_| is_filtered(definition)),
        include_members: definition.archive_include_paths.as_deref(),
        exclude_members: definition.archive_exclude_paths.as_deref(),
        wanted: Some(wanted),
        members: archive.members.as_ref(),
        limits: ExtractLimits::default(),
    };
    let stager = job.writer.stager();
    let mut handed_out = 0;
    let skipped = extract(remote, archive.format, &selection, fetcher.stop, &mut |medium| {
        handed_out += 1;
        let group =
            shared_row(definition, &medium.origin).map(|row| format!("{}:{path}:{row}", definition.name));
        let origin = SampleOrigin { source_file: path.to_owned(), origin: medium.origin };
        if job.writer.is_known(&origin) || job.writer.is_refused(&origin) {
            return Ok(Flow::Continue);
        }
        match stager.stage(medium.content)? {
            Ok(staged) => job.accept(staged, origin, group)?,
            Err(refusal) => job.writer.refuse(origin, refusal.reason)?,
        }
        Ok(Flow::Continue)
    })?;
    Ok(Pass { handed_out, skipped })
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
