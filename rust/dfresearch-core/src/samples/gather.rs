//! From definitions and a cache folder to the samples of a split.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::modality::{Label, MediaType, Modality};
use crate::samples::list::{SampleList, SampleListBuilder};
use crate::samples::report::{
    Conflict, DatasetReport, DatasetStatus, QuarantinedFile, StoreReport, UnknownManifestFile,
};
use crate::split::{Member, Side, Split, assign_sides, rank};
use crate::store::{
    ContentHash, DatasetScan, Index, MANIFEST_FILE, Probe, Progress, check_dataset_name, modality_folder,
    scan_dataset,
};

/// What a definition says about a folder: its name and what lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledDataset {
    /// The folder's name below the modality's folder.
    pub name: String,
    /// The media type, which decides the label.
    pub media_type: MediaType,
}

/// All usable files of a modality, before a cap and a split, and the report on them.
#[derive(Debug)]
pub struct Survey {
    folder: PathBuf,
    datasets: Vec<LabelledDataset>,
    /// Readable files, those included that link groups but are no samples.
    candidates: Vec<Candidate>,
    /// What was found.
    pub report: StoreReport,
}

#[derive(Debug)]
struct Candidate {
    dataset: usize,
    name: String,
    content: ContentHash,
    group: Option<String>,
    is_sample: bool,
}

/// Samples of one split of all datasets, in the order of their hash ranks, and the report on the cache.
///
/// The order mixes classes and datasets, does not depend on the order of `definitions`, and a sample keeps
/// its place relative to the others when datasets are added. `max_per_class` keeps the lowest ranks of each
/// label, and the split is made of what is left.
///
/// # Errors
/// [`Error::Argument`] for names that leave the cache, for one name with two media types and for a cap of
/// zero; [`Error::Definition`] for a bad manifest; [`Error::Index`] and [`Error::Io`] when index or folders
/// cannot be read; whatever `progress` returns.
#[allow(clippy::too_many_arguments)] // The call that scripts know by these names.
pub fn gather_samples(
    cache_dir: &Path,
    modality: Modality,
    definitions: &[LabelledDataset],
    split: Split,
    max_per_class: Option<usize>,
    seed: u64,
    probe: &Probe,
    progress: &Progress<'_>,
) -> Result<(SampleList, StoreReport)> {
    let survey = survey(cache_dir, modality, definitions, probe, progress)?;
    let samples = survey.select(split, max_per_class, seed)?;
    Ok((samples, survey.report))
}

/// Brings the index up to date and lists what can be used. Errors as in [`gather_samples`].
pub fn survey(
    cache_dir: &Path,
    modality: Modality,
    definitions: &[LabelledDataset],
    probe: &Probe,
    progress: &Progress<'_>,
) -> Result<Survey> {
    let datasets = unique_datasets(definitions)?;
    let folder = modality_folder(cache_dir, modality);
    let mut index = Index::open(cache_dir)?;
    let mut report = StoreReport { notices: index.notices().to_vec(), ..StoreReport::default() };
    report.undefined_folders = undefined_folders(&folder, &datasets)?;
    let mut candidates = Vec::new();
    for (number, dataset) in datasets.iter().enumerate() {
        let scan = scan_dataset(&mut index, cache_dir, modality, &dataset.name, probe, progress)?;
        add_dataset(&mut report, &mut candidates, number, dataset, &folder, scan);
    }
    let mut survey = Survey { folder, datasets, candidates, report };
    survey.leave_out_conflicts();
    survey.count_duplicates();
    survey.report.datasets.iter_mut().for_each(set_status);
    Ok(survey)
}

impl Survey {
    /// The samples of one split. Errors as in [`gather_samples`].
    pub fn select(&self, split: Split, max_per_class: Option<usize>, seed: u64) -> Result<SampleList> {
        if max_per_class == Some(0) {
            return Err(Error::argument("max_per_class", "0 keeps nothing; leave it out to keep everything"));
        }
        let members: Vec<Member<'_>> = self
            .candidates
            .iter()
            .map(|candidate| Member { content: candidate.content, group: candidate.group.as_deref() })
            .collect();
        let sides = assign_sides(seed, &members);
        let mut ranked: Vec<(u64, &Candidate, Side)> = self
            .candidates
            .iter()
            .zip(sides)
            .filter(|(candidate, _)| candidate.is_sample)
            .map(|(candidate, side)| (rank(seed, &candidate.content), candidate, side))
            .collect();
        // Copies of the same bytes have one rank: their names decide.
        ranked.sort_unstable_by(|first, second| {
            first.0.cmp(&second.0).then_with(|| self.place(first.1).cmp(&self.place(second.1)))
        });
        let mut builder = SampleListBuilder::default();
        let folders: Vec<u32> = self
            .datasets
            .iter()
            .map(|dataset| {
                let folder = self.folder.join(&dataset.name);
                builder.add_dataset(&dataset.name, &folder, dataset.media_type.label())
            })
            .collect();
        let mut kept = HashMap::from([(Label::Real, 0), (Label::Synthetic, 0)]);
        for (_, candidate, side) in ranked {
            let kept = kept.entry(self.label(candidate)).or_insert(0);
            *kept += 1;
            if max_per_class.is_none_or(|most| *kept <= most) && split.contains(side) {
                builder.push(folders[candidate.dataset], &candidate.name);
            }
        }
        Ok(builder.build())
    }

    fn place<'a>(&'a self, candidate: &'a Candidate) -> (&'a str, &'a str) {
        (&self.datasets[candidate.dataset].name, &candidate.name)
    }

    fn label(&self, candidate: &Candidate) -> Label {
        self.datasets[candidate.dataset].media_type.label()
    }

    fn path(&self, candidate: &Candidate) -> PathBuf {
        self.folder.join(&self.datasets[candidate.dataset].name).join(&candidate.name)
    }

    fn leave_out_conflicts(&mut self) {
        let mut labels: HashMap<ContentHash, [bool; 2]> = HashMap::with_capacity(self.candidates.len());
        for candidate in &self.candidates {
            labels.entry(candidate.content).or_default()[self.label(candidate) as usize] = true;
        }
        labels.retain(|_, seen| seen[0] && seen[1]);
        let mut conflicts: HashMap<ContentHash, usize> = HashMap::new();
        for number in 0..self.candidates.len() {
            let candidate = &self.candidates[number];
            if !labels.contains_key(&candidate.content) {
                continue;
            }
            let (path, label) = (self.path(candidate), self.label(candidate));
            let report = &mut self.report;
            let conflict = *conflicts.entry(candidate.content).or_insert_with(|| {
                report.conflicts.push(Conflict { real: Vec::new(), synthetic: Vec::new() });
                report.conflicts.len() - 1
            });
            match label {
                Label::Real => report.conflicts[conflict].real.push(path),
                Label::Synthetic => report.conflicts[conflict].synthetic.push(path),
            }
            if candidate.is_sample {
                let dataset = &mut report.datasets[candidate.dataset];
                dataset.samples -= 1;
                dataset.conflicting += 1;
                self.candidates[number].is_sample = false;
            }
        }
    }

    fn count_duplicates(&mut self) {
        let samples = self.candidates.iter().filter(|candidate| candidate.is_sample);
        let contents: std::collections::HashSet<ContentHash> =
            samples.clone().map(|candidate| candidate.content).collect();
        self.report.duplicates = samples.count() - contents.len();
    }
}

/// Every dataset once, with a name that stays in the cache.
fn unique_datasets(definitions: &[LabelledDataset]) -> Result<Vec<LabelledDataset>> {
    let mut media_types: HashMap<&str, MediaType> = HashMap::new();
    let mut datasets = Vec::with_capacity(definitions.len());
    for definition in definitions {
        check_dataset_name(&definition.name)?;
        match media_types.insert(&definition.name, definition.media_type) {
            None => datasets.push(definition.clone()),
            Some(earlier) if earlier == definition.media_type => {}
            Some(earlier) => {
                return Err(Error::argument(
                    "definitions",
                    format!("{:?} is both {earlier} and {}", definition.name, definition.media_type),
                ));
            }
        }
    }
    Ok(datasets)
}

fn undefined_folders(folder: &Path, datasets: &[LabelledDataset]) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io(folder, error)),
    };
    let defined: BTreeSet<&str> = datasets.iter().map(|dataset| dataset.name.as_str()).collect();
    let mut undefined = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Error::io(folder, error))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with('.') && !defined.contains(name.as_ref()) && entry.path().is_dir() {
            undefined.push(entry.path());
        }
    }
    undefined.sort();
    Ok(undefined)
}

fn add_dataset(
    report: &mut StoreReport,
    candidates: &mut Vec<Candidate>,
    number: usize,
    dataset: &LabelledDataset,
    folder: &Path,
    scan: DatasetScan,
) {
    let folder = folder.join(&dataset.name);
    let mut entry = DatasetReport {
        name: dataset.name.clone(),
        media_type: dataset.media_type,
        status: DatasetStatus::Missing,
        samples: 0,
        quarantined: 0,
        conflicting: 0,
        other_files: scan.other_files,
        reason: String::new(),
    };
    if !scan.folder_exists {
        entry.reason = format!("no folder {}", folder.display());
    }
    report.read += scan.read;
    report.unknown_manifest_files.extend(
        scan.unknown_manifest_files.into_iter().map(|(line, file)| UnknownManifestFile {
            manifest: folder.join(MANIFEST_FILE),
            line,
            file,
        }),
    );
    for file in scan.files {
        let is_sample = file.record.quarantine_reason.is_none();
        // What never was an image links nothing: empty files and error pages are alike everywhere. What a
        // decoder refused later goes on linking, so that the refusal moves no other sample.
        if let Some(content) = file.record.content
            && file.record.accepted
        {
            let group = file.record.group;
            candidates.push(Candidate {
                dataset: number,
                name: file.name.clone(),
                content,
                group,
                is_sample,
            });
        }
        match file.record.quarantine_reason {
            None => entry.samples += 1,
            Some(reason) => {
                entry.quarantined += 1;
                report.quarantined.push(QuarantinedFile { path: folder.join(file.name), reason });
            }
        }
    }
    report.datasets.push(entry);
}

fn set_status(dataset: &mut DatasetReport) {
    let left_out = dataset.quarantined + dataset.conflicting;
    dataset.status = match (dataset.samples, left_out) {
        (0, 0) => DatasetStatus::Missing,
        (0, _) => DatasetStatus::Failed,
        (_, 0) => DatasetStatus::Ok,
        (_, _) => DatasetStatus::Partial,
    };
    let mut reasons = Vec::new();
    if !dataset.reason.is_empty() {
        reasons.push(std::mem::take(&mut dataset.reason));
    } else if dataset.status == DatasetStatus::Missing {
        reasons.push("no media files in the folder".to_owned());
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
