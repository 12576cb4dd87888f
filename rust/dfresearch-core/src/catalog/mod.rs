//! Dataset definitions: which datasets there are, what lies in them, and where they come from.
//!
//! ```text
//!  gasbench_configs/real_images.yaml ─┐
//!  gasbench_configs/synthetic_…       ├─► the competition's ─┐
//!  (or, earlier: image_datasets.yaml) ┘                      ├─► merged by name, the person's win
//!  datasets/image.yaml ──────────────────► a person's own ───┘
//! ```
//!
//! When files of both upstream layouts are there, today's layout is read and the earlier file is named in a
//! warning: the earlier one lists datasets that have been dropped since.

mod changes;
mod definition;
pub mod upstream;
mod yaml;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::modality::Modality;
use crate::optional_file::is_there;

pub use changes::{CatalogChanges, DatasetKey, Relabelled};
pub use definition::{DatasetDefinition, FilterValue, Source};

/// The definitions of one modality, and what is odd about them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    /// The definitions: the competition's in the order of their files, then a person's own new ones.
    pub definitions: Vec<DatasetDefinition>,
    /// What a person should look at, although it can be worked with.
    pub warnings: Vec<CatalogWarning>,
}

/// Something odd in a definition file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogWarning {
    /// The definition file.
    pub file: PathBuf,
    /// Its line, counted from one; none when the whole file is meant.
    pub line: Option<usize>,
    /// What is odd.
    pub text: String,
}

impl std::fmt::Display for CatalogWarning {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "{}:{line}: {}", self.file.display(), self.text),
            None => write!(formatter, "{}: {}", self.file.display(), self.text),
        }
    }
}

/// The competition's definition files of a modality, today's layout.
pub fn upstream_files(modality: Modality) -> [&'static str; 2] {
    match modality {
        Modality::Image => ["real_images.yaml", "synthetic_images.yaml"],
        Modality::Video => ["real_videos.yaml", "synthetic_videos.yaml"],
        Modality::Audio => ["real_audio.yaml", "synthetic_audio.yaml"],
    }
}

/// The competition's one definition file of a modality, earlier layout.
pub fn earlier_upstream_file(modality: Modality) -> String {
    format!("{modality}_datasets.yaml")
}

/// Reads and merges all definitions of a modality.
///
/// `upstream_dir` holds the competition's files, `own_dir` a person's `{modality}.yaml`; whatever of them
/// does not exist holds no definitions. A person's definition replaces the competition's of the same name
/// as a whole, in its place.
///
/// # Errors
/// [`Error::Definition`] with file and line for YAML that cannot be parsed, missing or wrong fields, unknown
/// media types and modalities, names that would leave the cache folder, and names that stand twice in one
/// layout; [`Error::Io`] when a file that is there cannot be read, a link to nothing included.
pub fn load_catalog(upstream_dir: &Path, own_dir: &Path, modality: Modality) -> Result<Catalog> {
    let mut catalog = load_upstream(upstream_dir, modality)?;
    let own = read_layout(&[own_dir.join(format!("{modality}.yaml"))], modality, &mut catalog.warnings)?;
    catalog.replace_or_add(own);
    Ok(catalog)
}

/// Reads the competition's definitions of a modality alone.
fn load_upstream(upstream_dir: &Path, modality: Modality) -> Result<Catalog> {
    let mut catalog = Catalog::default();
    let mut today = Vec::new();
    for file in upstream_files(modality).map(|file| upstream_dir.join(file)) {
        if is_there(&file)? {
            today.push(file);
        }
    }
    let earlier = upstream_dir.join(earlier_upstream_file(modality));
    let upstream = if today.is_empty() {
        vec![earlier]
    } else {
        if is_there(&earlier)? {
            let text = format!("is not read, because {} is there: delete it", today[0].display());
            catalog.warnings.push(CatalogWarning { file: earlier, line: None, text });
        }
        today
    };
    catalog.definitions = read_layout(&upstream, modality, &mut catalog.warnings)?;
    Ok(catalog)
}

impl Catalog {
    fn replace_or_add(&mut self, definitions: Vec<DatasetDefinition>) {
        for definition in definitions {
            match self.definitions.iter_mut().find(|earlier| earlier.name == definition.name) {
                Some(earlier) => *earlier = definition,
                None => self.definitions.push(definition),
            }
        }
    }
}

/// The definitions of files that together name every dataset once.
fn read_layout(
    files: &[PathBuf],
    modality: Modality,
    warnings: &mut Vec<CatalogWarning>,
) -> Result<Vec<DatasetDefinition>> {
    let mut definitions: Vec<DatasetDefinition> = Vec::new();
    let mut seen: HashMap<String, usize> = HashMap::new();
    for file in files {
        for definition in yaml::read_definitions(file, modality, warnings)? {
            if let Some(&earlier) = seen.get(&definition.name) {
                let earlier = &definitions[earlier];
                let reason = format!(
                    "{:?} is defined twice; the first is at {}:{}",
                    definition.name,
                    earlier.file.display(),
                    earlier.line
                );
                return Err(Error::Definition { file: definition.file, line: definition.line, reason });
            }
            seen.insert(definition.name.clone(), definitions.len());
            definitions.push(definition);
        }
    }
    Ok(definitions)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
