//! What differs between two sets of definitions, dataset by dataset.

use std::collections::HashMap;

use crate::catalog::definition::DatasetDefinition;
use crate::modality::{MediaType, Modality};

/// What names a dataset: a name is unique within a modality.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DatasetKey {
    /// What kind of media it holds.
    pub modality: Modality,
    /// Its name.
    pub name: String,
}

impl DatasetKey {
    fn of(definition: &DatasetDefinition) -> Self {
        Self { modality: definition.modality, name: definition.name.clone() }
    }
}

impl std::fmt::Display for DatasetKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.modality, self.name)
    }
}

/// A dataset whose media type is another one now. Its media stay; only what they are called moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relabelled {
    /// The dataset.
    pub dataset: DatasetKey,
    /// What its media were called.
    pub from: MediaType,
    /// What they are called now.
    pub to: MediaType,
}

/// What differs between an earlier and a later set of definitions; each list in the order of the definitions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CatalogChanges {
    /// Datasets of the later set alone.
    pub added: Vec<DatasetKey>,
    /// Datasets of the earlier set alone: their media stay on the disk, and nothing lists them any more.
    pub removed: Vec<DatasetKey>,
    /// Datasets with another media type.
    pub relabelled: Vec<Relabelled>,
    /// Datasets of which other media are taken: their [`DatasetDefinition::selection_digest`] differs.
    pub refetch: Vec<DatasetKey>,
    /// Datasets that differ in what neither labels nor selects, such as the generator or the remarks.
    pub described: Vec<DatasetKey>,
}

impl CatalogChanges {
    /// Compares two sets of definitions, of one modality or of several.
    pub fn between<'a>(
        earlier: impl IntoIterator<Item = &'a DatasetDefinition>,
        later: impl IntoIterator<Item = &'a DatasetDefinition>,
    ) -> Self {
        let earlier: Vec<_> = earlier.into_iter().collect();
        let known: HashMap<DatasetKey, &DatasetDefinition> =
            earlier.iter().map(|definition| (DatasetKey::of(definition), *definition)).collect();
        let mut changes = Self::default();
        let mut kept = std::collections::HashSet::new();
        for definition in later {
            let dataset = DatasetKey::of(definition);
            let Some(before) = known.get(&dataset) else {
                changes.added.push(dataset);
                continue;
            };
            kept.insert(dataset.clone());
            changes.compare(dataset, before, definition);
        }
        changes.removed = earlier.into_iter().map(DatasetKey::of).filter(|key| !kept.contains(key)).collect();
        changes
    }

    fn compare(&mut self, dataset: DatasetKey, before: &DatasetDefinition, after: &DatasetDefinition) {
        let is_relabelled = before.media_type != after.media_type;
        let is_reselected = before.selection_digest() != after.selection_digest();
        let descriptions = |definition: &DatasetDefinition| {
            let DatasetDefinition { generator_family, generator_variant, content_category, notes, .. } =
                definition.clone();
            [generator_family, generator_variant, content_category, notes]
        };
        if is_relabelled {
            let (from, to) = (before.media_type, after.media_type);
            self.relabelled.push(Relabelled { dataset: dataset.clone(), from, to });
        }
        if is_reselected {
            self.refetch.push(dataset.clone());
        }
        if !is_relabelled && !is_reselected && descriptions(before) != descriptions(after) {
            self.described.push(dataset);
        }
    }

    /// Whether both sets say the same.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// One line for each dataset that is dropped, relabelled or fetched anew, and one each for the numbers of
    /// datasets that are new or described in other words.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for Relabelled { dataset, from, to } in &self.relabelled {
            lines.push(format!("{dataset}: {from} before, {to} now"));
        }
        for dataset in &self.refetch {
            lines.push(format!("{dataset}: other media are taken now, so that it is fetched anew"));
        }
        for dataset in &self.removed {
            lines.push(format!("{dataset}: dropped; its media stay on the disk, and are left out"));
        }
        let counted = |datasets: &[DatasetKey]| match datasets.len() {
            1 => "1 dataset".to_owned(),
            count => format!("{count} datasets"),
        };
        if let [only] = self.added.as_slice() {
            lines.push(format!("{only}: new"));
        } else if !self.added.is_empty() {
            lines.push(format!("{} are new", counted(&self.added)));
        }
        if !self.described.is_empty() {
            lines.push(format!("{} described in other words", counted(&self.described)));
        }
        lines
    }
}
