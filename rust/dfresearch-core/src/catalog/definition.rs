//! One dataset definition, with every field that the competition's files know.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::modality::{MediaType, Modality};
use crate::store::check_dataset_name;

/// A dataset: what lies in it, where it comes from, and how much of it is fetched.
///
/// Serialises to the fields of the definition files, without those that are not given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetDefinition {
    /// Unique within a modality; the name of the dataset's folder in the cache.
    pub name: String,
    /// The repository at the source, for example `owner/photographs`.
    pub path: String,
    /// What kind of media it holds.
    pub modality: Modality,
    /// Real, synthetic or semisynthetic: decides the label.
    pub media_type: MediaType,
    /// Where the repository lies.
    #[serde(default)]
    pub source: Source,
    /// File format at the source, for example `parquet`; none when the files themselves must tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_format: Option<String>,
    /// How many media are taken from one archive; -1 takes all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_per_archive: Option<i64>,
    /// From how many archives media are taken; -1 takes all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archives_per_dataset: Option<i64>,
    /// Only files whose path contains one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_paths: Option<Vec<String>>,
    /// No files whose path contains one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_paths: Option<Vec<String>>,
    /// Of an archive, only members whose path in it contains one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive_include_paths: Option<Vec<String>>,
    /// Of an archive, no members whose path in it contains one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive_exclude_paths: Option<Vec<String>>,
    /// Parquet columns that hold media; several columns give several samples a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_columns: Option<Vec<String>>,
    /// Parquet column by which rows are chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_column: Option<String>,
    /// The value of `filter_column` in the rows that are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_value: Option<FilterValue>,
    /// The family of generators that made the media; `real` for recordings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_family: Option<String>,
    /// The generator itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_variant: Option<String>,
    /// What the media show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_category: Option<String>,
    /// Remarks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// The file that the definition stands in.
    #[serde(skip)]
    pub file: PathBuf,
    /// The line at which it begins, counted from one.
    #[serde(skip)]
    pub line: usize,
}

impl DatasetDefinition {
    /// A definition with the required fields only.
    pub fn new(
        name: impl Into<String>,
        path: impl Into<String>,
        modality: Modality,
        media_type: MediaType,
    ) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            modality,
            media_type,
            source: Source::default(),
            source_format: None,
            media_per_archive: None,
            archives_per_dataset: None,
            include_paths: None,
            exclude_paths: None,
            archive_include_paths: None,
            archive_exclude_paths: None,
            data_columns: None,
            filter_column: None,
            filter_value: None,
            generator_family: None,
            generator_variant: None,
            content_category: None,
            notes: None,
            file: PathBuf::new(),
            line: 0,
        }
    }

    /// One definition as a JSON object with the fields of the definition files.
    ///
    /// # Errors
    /// [`Error::Argument`] for a required field that is missing, a field of the wrong type, and a name that would leave
    /// the cache folder.
    pub fn from_json(text: &str) -> Result<Self> {
        let definition: Self =
            serde_json::from_str(text).map_err(|error| Error::argument("definition", error.to_string()))?;
        check_dataset_name(&definition.name)?;
        Ok(definition)
    }

    /// What of the definition decides which media are taken, as 64 hexadecimal digits: the SHA-256 of those fields.
    ///
    /// Labels, generators, categories and remarks are no part of it, and neither is the order of a list of which
    /// any entry may match, so that media are not fetched again for their sake.
    pub fn selection_digest(&self) -> String {
        // A list that selects by any of its entries means the same in any order, and nothing when it is empty.
        let any_of = |texts: &Option<Vec<String>>| {
            let mut texts = texts.clone().unwrap_or_default();
            texts.sort();
            texts.dedup();
            texts
        };
        let fields = serde_json::json!({
            "source": self.source,
            "path": self.path,
            "source_format": self.source_format,
            "media_per_archive": self.media_per_archive,
            "archives_per_dataset": self.archives_per_dataset,
            "include_paths": any_of(&self.include_paths),
            "exclude_paths": any_of(&self.exclude_paths),
            "archive_include_paths": any_of(&self.archive_include_paths),
            "archive_exclude_paths": any_of(&self.archive_exclude_paths),
            // Several columns are several samples, in this order.
            "data_columns": self.data_columns,
            "filter_column": self.filter_column,
            "filter_value": self.filter_value,
        });
        // As text in the order above: another order would be another digest.
        hexadecimal(&Sha256::digest(fields.to_string()))
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where a dataset is fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The Hugging Face hub; definitions that name no source mean this one.
    #[default]
    HuggingFace,
    /// The ModelScope hub.
    ModelScope,
    /// An S3 bucket.
    S3,
}

impl Source {
    /// All sources.
    pub const ALL: [Self; 3] = [Self::HuggingFace, Self::ModelScope, Self::S3];

    /// The name in definitions.
    pub fn name(self) -> &'static str {
        match self {
            Self::HuggingFace => "huggingface",
            Self::ModelScope => "modelscope",
            Self::S3 => "s3",
        }
    }
}

/// The value that a row must have to be taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FilterValue {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number, such as a class index.
    Integer(i64),
    /// A number with a fraction.
    Number(f64),
    /// Text.
    Text(String),
}
