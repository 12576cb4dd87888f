//! From definitions and a cache folder to the samples of a split.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::modality::{Label, MediaType, Modality};
use crate::samples::candidates::Candidates;
use crate::samples::list::{KnownContent, SampleList, SampleListBuilder};
use crate::samples::report::{
    Conflict, DatasetReport, DatasetStatus, QuarantinedFile, StoreReport, UnknownManifestFile,
};
use crate::samples::status::set_status;
use crate::split::{Split, compute_all, rank};
use crate::store::{
    ContentHash, DatasetRow, Index, MANIFEST_FILE, Probe, Progress, check_dataset_name, is_unchanged_dataset,
    modality_folder, scan_dataset,
};

/// What a definition says about a folder: its name and what lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledDataset {
    /// The folder's name below the modality's folder.
    pub name: String,
    /// The media type, which decides the label.
    pub media_type: MediaType,
}

/// How files are looked at.
#[derive(Clone, Copy)]
pub struct ScanOptions<'a> {
    /// Reads the headers of new images.
    pub probe: &'a Probe<'a>,
    /// Called between reads of new files.
    pub progress: &'a Progress<'a>,
    /// Whether every file is looked at. Otherwise those of a dataset whose folders have not changed are taken to be as
    /// they were, but for quarantined ones: a file that is overwritten in place is then noticed with the folder's next
    /// change, or when it does not decode.
    pub rescan: bool,
}

/// All usable files of a modality, before a cap and a split, and the report on them.
#[derive(Debug)]
pub struct Survey {
    folder: PathBuf,
    datasets: Vec<LabelledDataset>,
    candidates: Candidates,
    /// What was found.
    pub report: StoreReport,
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
pub fn gather_samples(
    cache_dir: &Path,
    modality: Modality,
    definitions: &[LabelledDataset],
    split: Split,
    max_per_class: Option<usize>,
    seed: u64,
    options: &ScanOptions<'_>,
) -> Result<(SampleList, StoreReport)> {
    let survey = survey(cache_dir, modality, definitions, options)?;
    let samples = survey.select(split, max_per_class, seed)?;
    Ok((samples, survey.report))
}

/// Brings the index up to date and lists what can be used. Errors as in [`gather_samples`].
pub fn survey(
    cache_dir: &Path,
    modality: Modality,
    definitions: &[LabelledDataset],
    options: &ScanOptions<'_>,
) -> Result<Survey> {
    let datasets = unique_datasets(definitions)?;
    let folder = modality_folder(cache_dir, modality);
    let mut index = Index::open(cache_dir)?;
    let mut report = StoreReport { notices: index.notices().to_vec(), ..StoreReport::default() };
    report.undefined_folders = undefined_folders(&folder, &datasets)?;

    let known = index.datasets(modality)?;
    let mut is_there = Vec::with_capacity(datasets.len());
    for dataset in &datasets {
        let row = known.get(&dataset.name).filter(|_| !options.rescan);
        let folder = folder.join(&dataset.name);
        let is_unchanged =
            row.map_or(Ok(false), |row| is_unchanged_dataset(&index, row, &folder, modality))?;
        if is_unchanged {
            is_there.push(true);
            continue;
        }
        let ScanOptions { probe, progress, .. } = options;
        let scan = scan_dataset(&mut index, cache_dir, modality, &dataset.name, probe, progress)?;
        report.read += scan.read;
        is_there.push(scan.folder_exists);
    }
    let known = index.datasets(modality)?;
    let mut survey = Survey { folder, datasets, candidates: Candidates::default(), report };
    let row = |survey: &Survey, number: usize| {
        known.get(&survey.datasets[number].name).filter(|_| is_there[number])
    };
    for number in 0..survey.datasets.len() {
        survey.add_dataset(&mut index, number, row(&survey, number))?;
    }
    survey.candidates.compare();
    survey.leave_out_conflicts();
    survey.count_duplicates();
    for number in 0..survey.datasets.len() {
        let fetch = row(&survey, number).and_then(|row| row.fetch.as_ref());
        set_status(&mut survey.report.datasets[number], fetch);
    }
    Ok(survey)
}

impl Survey {
    /// The samples of one split. Errors as in [`gather_samples`].
    pub fn select(&self, split: Split, max_per_class: Option<usize>, seed: u64) -> Result<SampleList> {
        if max_per_class == Some(0) {
            return Err(Error::argument("max_per_class", "0 keeps nothing; leave it out to keep everything"));
        }
        let files = &self.candidates;
        let mut ranked: Vec<(u64, u32)> =
            compute_all(files.len(), |number| (rank(seed, files.content(number)), number as u32));
        ranked.retain(|&(_, number)| files.is_sample(number as usize));
        // Copies of the same bytes have one rank: their names decide.
        ranked.sort_unstable_by(|first, second| {
            first.0.cmp(&second.0).then_with(|| self.place(first.1).cmp(&self.place(second.1)))
        });
        let sides = if split == Split::All { Vec::new() } else { files.sides(seed) };
        let mut builder = SampleListBuilder::default();
        let folders: Vec<u32> = self
            .datasets
            .iter()
            .map(|dataset| {
                let folder = self.folder.join(&dataset.name);
                builder.add_dataset(&dataset.name, &folder, dataset.media_type.label())
            })
            .collect();
        let mut kept = [0; 2];
        for (_, number) in ranked {
            let number = number as usize;
            let kept = &mut kept[self.label(number) as usize];
            *kept += 1;
            let is_on_side = sides.get(number).is_none_or(|side| split.contains(*side));
            if is_on_side && max_per_class.is_none_or(|most| *kept <= most) {
                let (folder, known) = (folders[files.dataset(number)], files.known_content(number));
                builder.push(folder, files.name(number), Some(known));
            }
        }
        Ok(builder.build())
    }

    fn place(&self, number: u32) -> (&str, &str) {
        let number = number as usize;
        (&self.datasets[self.candidates.dataset(number)].name, self.candidates.name(number))
    }

    fn label(&self, number: usize) -> Label {
        self.datasets[self.candidates.dataset(number)].media_type.label()
    }

    fn path(&self, number: usize) -> PathBuf {
        let dataset = &self.datasets[self.candidates.dataset(number)];
        self.folder.join(&dataset.name).join(self.candidates.name(number))
    }

    fn leave_out_conflicts(&mut self) {
        let count = self.candidates.len();
        // Which labels each content has, by its first file.
        let mut labels = vec![0u8; count];
        for number in 0..count {
            labels[self.candidates.first_of_content(number)] |= 1 << self.label(number) as u8;
        }
        let mut conflicts: HashMap<usize, usize> = HashMap::new();
        for number in 0..count {
            let first = self.candidates.first_of_content(number);
            if labels[first] != 0b11 {
                continue;
            }
            let (path, label) = (self.path(number), self.label(number));
            let report = &mut self.report;
            let conflict = *conflicts.entry(first).or_insert_with(|| {
                report.conflicts.push(Conflict { real: Vec::new(), synthetic: Vec::new() });
                report.conflicts.len() - 1
            });
            match label {
                Label::Real => report.conflicts[conflict].real.push(path),
                Label::Synthetic => report.conflicts[conflict].synthetic.push(path),
            }
            if self.candidates.is_sample(number) {
                let dataset = &mut report.datasets[self.candidates.dataset(number)];
                dataset.samples -= 1;
                dataset.conflicting += 1;
                self.candidates.leave_out(number);
            }
        }
    }

    fn count_duplicates(&mut self) {
        let mut is_seen = vec![false; self.candidates.len()];
        for number in (0..self.candidates.len()).filter(|&number| self.candidates.is_sample(number)) {
            let first = self.candidates.first_of_content(number);
            self.report.duplicates += usize::from(std::mem::replace(&mut is_seen[first], true));
        }
    }

    /// Takes a dataset's files from the index; there is no row when there is no folder.
    fn add_dataset(&mut self, index: &mut Index, number: usize, row: Option<&DatasetRow>) -> Result<()> {
        let Self { folder, datasets, candidates, report } = self;
        let dataset = &datasets[number];
        let folder = folder.join(&dataset.name);
        let mut entry = DatasetReport {
            name: dataset.name.clone(),
            media_type: dataset.media_type,
            status: DatasetStatus::Missing,
            samples: 0,
            quarantined: 0,
            conflicting: 0,
            other_files: 0,
            wanted: None,
            gone: 0,
            reason: String::new(),
        };
        let Some(row) = row else {
            entry.reason = format!("no folder {}", folder.display());
            report.datasets.push(entry);
            return Ok(());
        };
        if row.media_type.as_deref() != Some(dataset.media_type.name()) {
            index.relabel(row.id, dataset.media_type)?;
        }
        entry.other_files = row.other_files;
        index.each_file(row.id, &mut |file| {
            let is_sample = file.quarantine_reason.is_none();
            // What never was an image links nothing: empty files and error pages are alike everywhere. What a
            // decoder refused later goes on linking, so that the refusal moves no other sample.
            if let Some(content) = file.content.filter(|_| file.accepted) {
                let content = KnownContent { hash: ContentHash::from_bytes(content), state: file.state };
                candidates.push(number, file.name, content, file.group, is_sample);
            }
            match file.quarantine_reason {
                None => entry.samples += 1,
                Some(reason) => {
                    entry.quarantined += 1;
                    let file = QuarantinedFile { path: folder.join(file.name), reason: reason.to_owned() };
                    report.quarantined.push(file);
                }
            }
        })?;
        let gaps = index.manifest_gaps(row.id)?;
        entry.gone = gaps.iter().filter(|gap| gap.fetched).count();
        if let Some(fetch) = &row.fetch {
            entry.wanted = fetch.wanted;
            // Where the manifest is gone as well.
            let files = entry.samples + entry.quarantined;
            entry.gone = entry.gone.max(fetch.fetched.saturating_sub(files));
        }
        let manifest = folder.join(MANIFEST_FILE);
        report.unknown_manifest_files.extend(
            gaps.into_iter().filter(|gap| !gap.fetched).map(|gap| UnknownManifestFile {
                manifest: manifest.clone(),
                line: gap.line,
                file: gap.file,
            }),
        );
        report.datasets.push(entry);
        Ok(())
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
