//! From files on a disk to the samples of a split.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::error::{DecodeError, Result};
use crate::modality::{Label, MediaType, Modality};
use crate::split::{SPLIT_SEED, Split};

struct Cache(tempfile::TempDir);

impl Cache {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join("datasets/image").join(file)
    }

    /// Writes `{dataset}/{file}`; whatever begins with `bad` is no media.
    fn write(&self, file: &str, bytes: &str) {
        fs::create_dir_all(self.path(file).parent().unwrap()).unwrap();
        fs::write(self.path(file), bytes).unwrap();
    }

    fn write_many(&self, dataset: &str, count: usize) {
        for number in 0..count {
            self.write(&format!("{dataset}/{number:04}.jpg"), &format!("{dataset} {number}"));
        }
    }

    fn survey(&self, definitions: &[(&str, MediaType)]) -> Result<Survey> {
        let definitions: Vec<LabelledDataset> = definitions
            .iter()
            .map(|&(name, media_type)| LabelledDataset { name: name.to_owned(), media_type })
            .collect();
        survey(self.0.path(), Modality::Image, &definitions, &OPTIONS)
    }

    fn report(&self, definitions: &[(&str, MediaType)]) -> StoreReport {
        self.survey(definitions).unwrap().report
    }

    fn paths(&self, definitions: &[(&str, MediaType)], split: Split, most: Option<usize>) -> Vec<PathBuf> {
        paths(&self.survey(definitions).unwrap().select(split, most, SPLIT_SEED).unwrap())
    }
}

const OPTIONS: ScanOptions<'static> = ScanOptions { probe: &probe, progress: &|_| Ok(()), rescan: false };

fn probe(bytes: &[u8]) -> Result<(usize, usize), DecodeError> {
    if bytes.starts_with(b"bad") {
        return Err(DecodeError::UnknownFormat { medium: "image", found: "text".to_owned() });
    }
    Ok((1, 1))
}

fn paths(samples: &SampleList) -> Vec<PathBuf> {
    (0..samples.len()).map(|index| samples.path(index)).collect()
}

const REAL: MediaType = MediaType::Real;
const SYNTHETIC: MediaType = MediaType::Synthetic;

#[test]
fn train_and_val_share_all_samples_and_labels_come_from_the_definitions() {
    let cache = Cache::new();
    cache.write_many("cats", 40);
    cache.write_many("renders", 40);
    cache.write_many("edits", 20);
    let definitions = [("cats", REAL), ("renders", SYNTHETIC), ("edits", MediaType::Semisynthetic)];
    let survey = cache.survey(&definitions).unwrap();
    let all = survey.select(Split::All, None, SPLIT_SEED).unwrap();
    assert_eq!((all.count(Label::Real), all.count(Label::Synthetic)), (40, 60));
    for index in 0..all.len() {
        let expected = if all.dataset(index) == "cats" { Label::Real } else { Label::Synthetic };
        assert_eq!(all.label(index), expected);
        assert!(all.path(index).starts_with(cache.path(all.dataset(index))));
    }
    let train: HashSet<_> = cache.paths(&definitions, Split::Train, None).into_iter().collect();
    let val: HashSet<_> = cache.paths(&definitions, Split::Validation, None).into_iter().collect();
    assert!(train.is_disjoint(&val) && !val.is_empty());
    assert_eq!(train.union(&val).cloned().collect::<HashSet<_>>(), paths(&all).into_iter().collect());
}

#[test]
fn the_order_depends_on_nothing_but_the_samples() {
    let cache = Cache::new();
    cache.write_many("cats", 30);
    cache.write_many("renders", 30);
    let definitions = [("cats", REAL), ("renders", SYNTHETIC)];
    let order = cache.paths(&definitions, Split::All, None);
    assert_eq!(cache.paths(&[definitions[1], definitions[0]], Split::All, None), order);
    cache.write_many("dogs", 30);
    let more = cache.paths(&[("dogs", REAL), definitions[0], definitions[1]], Split::All, None);
    let kept: Vec<_> = more.into_iter().filter(|path| !path.starts_with(cache.path("dogs"))).collect();
    assert_eq!(kept, order);
    let halves = order.split_at(30);
    for half in [halves.0, halves.1] {
        let cats = half.iter().filter(|path| path.starts_with(cache.path("cats"))).count();
        assert!((5..=25).contains(&cats), "{cats} of 30: classes are mixed");
    }
}

#[test]
fn a_cap_keeps_the_lowest_ranks_of_each_class_and_moves_nothing() {
    let cache = Cache::new();
    cache.write_many("cats", 60);
    cache.write_many("dogs", 60);
    cache.write_many("renders", 20);
    let definitions = [("cats", REAL), ("dogs", REAL), ("renders", SYNTHETIC)];
    let survey = cache.survey(&definitions).unwrap();
    let capped = survey.select(Split::All, Some(50), SPLIT_SEED).unwrap();
    assert_eq!((capped.count(Label::Real), capped.count(Label::Synthetic)), (50, 20));
    let all = survey.select(Split::All, None, SPLIT_SEED).unwrap();
    let lowest: Vec<_> =
        (0..all.len()).filter(|&i| all.label(i) == Label::Real).take(50).map(|i| all.path(i)).collect();
    let kept: Vec<_> =
        (0..capped.len()).filter(|&i| capped.label(i) == Label::Real).map(|i| capped.path(i)).collect();
    assert_eq!(kept, lowest);
    let side = |split, most| -> HashSet<PathBuf> {
        paths(&survey.select(split, most, SPLIT_SEED).unwrap()).into_iter().collect()
    };
    for split in [Split::Train, Split::Validation] {
        assert!(side(split, Some(50)).is_subset(&side(split, None)));
        assert!(side(split, Some(10)).is_subset(&side(split, Some(50))));
    }
    let refused = survey.select(Split::All, Some(0), SPLIT_SEED).unwrap_err().to_string();
    assert!(refused.starts_with("max_per_class: "), "{refused}");
}

#[test]
fn copies_stay_samples_of_one_side_and_are_counted() {
    let cache = Cache::new();
    cache.write_many("cats", 50);
    for number in 0..50 {
        cache.write(&format!("dogs/{number}.jpg"), &format!("cats {number}"));
    }
    let definitions = [("cats", REAL), ("dogs", REAL)];
    assert_eq!(cache.report(&definitions).duplicates, 50);
    let content = |path: &PathBuf| fs::read_to_string(path).unwrap();
    let train = cache.paths(&definitions, Split::Train, None);
    let val: HashSet<_> = cache.paths(&definitions, Split::Validation, None).iter().map(content).collect();
    assert_eq!(train.len() + 2 * val.len(), 100);
    assert!(train.iter().all(|path| !val.contains(&content(path))));
}

#[test]
fn members_of_a_group_stay_together_across_datasets_and_labels() {
    let cache = Cache::new();
    let mut manifest = String::new();
    for number in 0..60 {
        for dataset in ["photos", "renders"] {
            cache.write(&format!("{dataset}/{number}.jpg"), &format!("{dataset} {number}"));
        }
        manifest += &format!("{{\"file\": \"{number}.jpg\", \"group\": \"photograph {}\"}}\n", number / 3);
    }
    cache.write("photos/manifest.jsonl", &manifest);
    cache.write("renders/manifest.jsonl", &manifest);
    let definitions = [("photos", REAL), ("renders", SYNTHETIC)];
    let groups = |split| -> HashSet<usize> {
        let group =
            |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse::<usize>().unwrap() / 3;
        cache.paths(&definitions, split, None).iter().map(group).collect()
    };
    let (train, val) = (groups(Split::Train), groups(Split::Validation));
    assert!(train.is_disjoint(&val) && !val.is_empty());
    assert_eq!(train.len() + val.len(), 20);
}

#[test]
fn a_refused_file_goes_on_linking_its_group() {
    let cache = Cache::new();
    // Fifty validation groups, each linked by one copy to a group of its own in a second dataset.
    let mut manifests = [String::new(), String::new()];
    for number in 0..50 {
        for (dataset, manifest) in ["a", "b"].into_iter().zip(&mut manifests) {
            cache.write(&format!("{dataset}/link{number}.jpg"), &format!("link {number}"));
            cache.write(&format!("{dataset}/own{number}.jpg"), &format!("{dataset} {number}"));
            for file in ["link", "own"] {
                *manifest +=
                    &format!("{{\"file\": \"{file}{number}.jpg\", \"group\": \"{dataset} {number}\"}}\n");
            }
        }
    }
    cache.write("a/manifest.jsonl", &manifests[0]);
    cache.write("b/manifest.jsonl", &manifests[1]);
    let definitions = [("a", REAL), ("b", REAL)];
    let before: HashSet<_> = cache.paths(&definitions, Split::Train, None).into_iter().collect();
    let refused: Vec<_> =
        (0..50).map(|number| (cache.path(&format!("a/link{number}.jpg")), "truncated".to_owned())).collect();
    assert_eq!(crate::store::quarantine(cache.0.path(), &refused).unwrap(), 50);
    let after = cache.paths(&definitions, Split::Validation, None);
    assert!(after.iter().all(|path| !before.contains(path)), "a refusal moved a sample to val");
    assert_eq!(cache.report(&definitions).quarantined.len(), 50);
}

#[test]
fn what_never_was_media_links_nothing() {
    let cache = Cache::new();
    for dataset in ["a", "b"] {
        cache.write_many(dataset, 3);
        cache.write(&format!("{dataset}/page.jpg"), "bad: one error page for all");
        cache.write(&format!("{dataset}/empty.jpg"), "");
    }
    let report = cache.report(&[("a", REAL), ("b", SYNTHETIC)]);
    assert_eq!(report.conflicts, []);
    assert_eq!(report.quarantined.len(), 4);
    let page = report.quarantined.iter().find(|file| file.path == cache.path("a/page.jpg")).unwrap();
    assert_eq!(page.reason, "not a known image format: text");
    let [a, _] = report.datasets.as_slice() else { panic!() };
    assert_eq!((a.status, a.samples, a.quarantined), (DatasetStatus::Partial, 3, 2));
    assert_eq!(a.reason, "2 quarantined");
}

#[test]
fn the_same_bytes_under_both_labels_are_reported_and_left_out() {
    let cache = Cache::new();
    cache.write_many("cats", 3);
    cache.write_many("renders", 3);
    cache.write("cats/both.jpg", "seen twice");
    cache.write("cats/again.jpg", "seen twice");
    cache.write("renders/both.jpg", "seen twice");
    let definitions = [("cats", REAL), ("renders", SYNTHETIC)];
    let report = cache.report(&definitions);
    let conflict = Conflict {
        real: vec![cache.path("cats/again.jpg"), cache.path("cats/both.jpg")],
        synthetic: vec![cache.path("renders/both.jpg")],
    };
    assert_eq!(report.conflicts, [conflict]);
    assert_eq!((report.samples(), report.duplicates), (6, 0));
    assert_eq!(cache.paths(&definitions, Split::All, None).len(), 6);
    assert_eq!(report.datasets[0].reason, "2 also under the other label");
    assert_eq!(cache.report(&definitions[..1]).samples(), 5, "alone, the dataset has no conflict");
}

#[test]
fn the_report_names_what_is_missing_and_what_nobody_defined() {
    let cache = Cache::new();
    cache.write_many("cats", 2);
    cache.write_many("stray", 2);
    cache.write("broken/a.jpg", "bad");
    cache.write("notes/readme.txt", "no media");
    cache.write("cats/manifest.jsonl", "{\"file\": \"gone.jpg\", \"group\": \"x\"}\n");
    fs::create_dir(cache.path(".staging")).unwrap();
    let definitions =
        [("cats", REAL), ("absent", REAL), ("broken", SYNTHETIC), ("notes", SYNTHETIC), ("cats", REAL)];
    let report = cache.report(&definitions);
    let seen: Vec<_> = report
        .datasets
        .iter()
        .map(|dataset| (dataset.name.as_str(), dataset.status, dataset.samples))
        .collect();
    let expected = [
        ("cats", DatasetStatus::Ok, 2),
        ("absent", DatasetStatus::Missing, 0),
        ("broken", DatasetStatus::Failed, 0),
        ("notes", DatasetStatus::Missing, 0),
    ];
    assert_eq!(seen, expected);
    assert!(report.datasets[1].reason.contains("no folder"));
    assert_eq!(report.datasets[3].reason, "no media files in the folder, 1 with other extensions");
    assert_eq!(report.undefined_folders, [cache.path("stray")]);
    let unknown = &report.unknown_manifest_files[0];
    assert_eq!((unknown.line, unknown.file.as_str()), (1, "gone.jpg"));
    assert_eq!(report.read, 3);
    assert_eq!(cache.report(&definitions).read, 0);
}

#[test]
fn names_that_leave_the_cache_or_contradict_each_other_are_refused() {
    let cache = Cache::new();
    for name in ["..", "a/b", "/etc", ""] {
        assert!(cache.survey(&[(name, REAL)]).is_err(), "{name:?}");
    }
    let both = cache.survey(&[("cats", REAL), ("cats", SYNTHETIC)]).unwrap_err().to_string();
    assert!(both.contains("\"cats\" is both real and synthetic"), "{both}");
}

#[test]
fn a_cache_that_does_not_exist_has_no_samples_and_is_not_created() {
    let nowhere = Path::new("/nowhere/cache");
    let definitions = [LabelledDataset { name: "cats".to_owned(), media_type: REAL }];
    let survey = survey(nowhere, Modality::Image, &definitions, &OPTIONS).unwrap();
    assert!(survey.select(Split::All, None, SPLIT_SEED).unwrap().is_empty());
    assert_eq!(survey.report.datasets[0].status, DatasetStatus::Missing);
    assert_eq!(survey.report.notices, [] as [&str; 0]);
}
