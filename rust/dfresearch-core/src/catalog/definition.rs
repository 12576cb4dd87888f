//! One dataset definition, with every field that the competition's files know.

use std::path::PathBuf;

use serde::Serialize;

use crate::modality::{MediaType, Modality};

/// A dataset: what lies in it, where it comes from, and how much of it is fetched.
///
/// Serialises to the fields of the definition files, without those that are not given.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

/// Where a dataset is fetched from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize)]
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
