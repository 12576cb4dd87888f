//! Definition files: YAML with a list under `datasets:`, checked field by field.

use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

use crate::catalog::CatalogWarning;
use crate::catalog::definition::{DatasetDefinition, FilterValue, Source};
use crate::error::{Error, Result};
use crate::modality::Modality;
use crate::optional_file::read_optional_file;
use crate::store::check_dataset_name;

/// The formats that files at a source have, as the competition names them.
const SOURCE_FORMATS: [&str; 15] = [
    "parquet", "zip", "tar", "tar.gz", "tgz", "mp4", "avi", "mov", "wav", "mp3", "m4a", "png", "jpg", "jpeg",
    "frames",
];

const FIELDS: [&str; 19] = [
    "name",
    "path",
    "modality",
    "media_type",
    "source",
    "source_format",
    "media_per_archive",
    "archives_per_dataset",
    "include_paths",
    "exclude_paths",
    "archive_include_paths",
    "archive_exclude_paths",
    "data_columns",
    "filter_column",
    "filter_value",
    "generator_family",
    "generator_variant",
    "content_category",
    "notes",
];

/// All definitions of a file, in its order; none when there is no such file.
pub(super) fn read_definitions(
    file: &Path,
    modality: Modality,
    warnings: &mut Vec<CatalogWarning>,
) -> Result<Vec<DatasetDefinition>> {
    let Some(bytes) = read_optional_file(file)? else { return Ok(Vec::new()) };
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|&&byte| byte == b'\n').count();
            return Err(definition_error(file, line, "not valid UTF-8"));
        }
    };
    let documents = MarkedYaml::load_from_str(text).map_err(|error| {
        definition_error(file, error.marker().line(), format!("not valid YAML: {}", error.info()))
    })?;
    let document = match documents.as_slice() {
        [] => return Ok(Vec::new()),
        [document] => document,
        [_, second, ..] => {
            return Err(definition_error(file, line_of(second), "a second YAML document: one is expected"));
        }
    };
    let mut reader = Reader { file, modality, warnings };
    reader.document(document)
}

/// A key or a value with the line on which it begins.
type Node<'a> = MarkedYaml<'a>;

struct Reader<'a> {
    file: &'a Path,
    modality: Modality,
    warnings: &'a mut Vec<CatalogWarning>,
}

impl Reader<'_> {
    fn document(&mut self, document: &Node<'_>) -> Result<Vec<DatasetDefinition>> {
        let expected = "expected a list of datasets under `datasets:`";
        if is_null(document) {
            return Ok(Vec::new());
        }
        let YamlData::Mapping(fields) = &document.data else {
            return self.refuse(document, expected);
        };
        let mut definitions = Vec::new();
        let mut is_listed = false;
        for (key, value) in fields {
            if key.data.as_str() != Some("datasets") {
                self.warn(key, format!("unknown field {} is ignored", shown(key)));
                continue;
            }
            is_listed = true;
            match &value.data {
                YamlData::Sequence(entries) => {
                    for entry in entries {
                        definitions.push(self.definition(entry)?);
                    }
                }
                _ if is_null(value) => {}
                _ => return self.refuse(value, expected),
            }
        }
        if is_listed { Ok(definitions) } else { self.refuse(document, expected) }
    }

    fn definition(&mut self, entry: &Node<'_>) -> Result<DatasetDefinition> {
        let YamlData::Mapping(fields) = &entry.data else {
            return self.refuse(entry, "expected a dataset with fields like `name: …`");
        };
        for key in fields.keys() {
            if !key.data.as_str().is_some_and(|name| FIELDS.contains(&name)) {
                self.warn(key, format!("unknown field {} is ignored", shown(key)));
            }
        }
        let name = self.required(entry, "name")?;
        self.check(entry, "name", check_dataset_name(&name))?;
        let path = self.required(entry, "path")?;
        let modality = self.required(entry, "modality")?;
        let modality: Modality = self.check(entry, "modality", modality.parse())?;
        if modality != self.modality {
            let reason = format!("modality {modality} in a file of {} datasets", self.modality);
            return self.refuse(field(entry, "modality").unwrap_or(entry), reason);
        }
        let media_type = self.required(entry, "media_type")?;
        let media_type = self.check(entry, "media_type", media_type.parse())?;
        Ok(DatasetDefinition {
            name,
            path,
            modality,
            media_type,
            source: self.source(entry)?,
            source_format: self.source_format(entry)?,
            media_per_archive: self.count(entry, "media_per_archive")?,
            archives_per_dataset: self.count(entry, "archives_per_dataset")?,
            include_paths: self.texts(entry, "include_paths")?,
            exclude_paths: self.texts(entry, "exclude_paths")?,
            archive_include_paths: self.texts(entry, "archive_include_paths")?,
            archive_exclude_paths: self.texts(entry, "archive_exclude_paths")?,
            data_columns: self.texts(entry, "data_columns")?,
            filter_column: self.text(entry, "filter_column")?,
            filter_value: self.filter_value(entry)?,
            generator_family: self.remark(entry, "generator_family")?,
            generator_variant: self.remark(entry, "generator_variant")?,
            content_category: self.remark(entry, "content_category")?,
            notes: self.remark(entry, "notes")?,
            file: self.file.to_path_buf(),
            line: line_of(entry),
        })
    }

    fn required(&self, entry: &Node<'_>, name: &'static str) -> Result<String> {
        match self.text(entry, name)? {
            Some(text) => Ok(text),
            None => {
                let dataset = self.text(entry, "name").ok().flatten();
                let of = dataset.map(|dataset| format!(" of {dataset:?}")).unwrap_or_default();
                self.refuse(
                    field(entry, name).unwrap_or(entry),
                    format!("required field `{name}`{of} is missing"),
                )
            }
        }
    }

    /// Text that is not empty.
    fn text(&self, entry: &Node<'_>, name: &str) -> Result<Option<String>> {
        let Some(value) = field(entry, name) else { return Ok(None) };
        match &value.data {
            YamlData::Value(Scalar::String(text)) if text.trim().is_empty() => Ok(None),
            YamlData::Value(Scalar::String(text)) => Ok(Some(text.to_string())),
            YamlData::Value(Scalar::Null) => Ok(None),
            YamlData::Value(_) => {
                self.refuse(value, format!("`{name}` is {}, not text: put it in quotes", shown(value)))
            }
            _ => self.refuse(value, format!("`{name}` is {}: expected text", shown(value))),
        }
    }

    /// Text for people, where an unquoted number is as good.
    fn remark(&self, entry: &Node<'_>, name: &str) -> Result<Option<String>> {
        match field(entry, name).map(|value| &value.data) {
            Some(YamlData::Value(Scalar::Integer(number))) => Ok(Some(number.to_string())),
            Some(YamlData::Value(Scalar::FloatingPoint(number))) => Ok(Some(number.to_string())),
            Some(YamlData::Value(Scalar::Boolean(value))) => Ok(Some(value.to_string())),
            _ => self.text(entry, name),
        }
    }

    fn texts(&self, entry: &Node<'_>, name: &str) -> Result<Option<Vec<String>>> {
        let Some(value) = field(entry, name).filter(|value| !is_null(value)) else { return Ok(None) };
        let YamlData::Sequence(items) = &value.data else {
            return self
                .refuse(value, format!("`{name}` is {}: expected a list like [train, test]", shown(value)));
        };
        let text = |item: &Node<'_>| match item.data.as_str() {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => self.refuse(item, format!("`{name}` contains {}: expected text", shown(item))),
        };
        items.iter().map(text).collect::<Result<_>>().map(Some)
    }

    /// A number of media or archives: -1, which is all, or at least 1.
    fn count(&self, entry: &Node<'_>, name: &str) -> Result<Option<i64>> {
        let Some(value) = field(entry, name).filter(|value| !is_null(value)) else { return Ok(None) };
        match value.data.as_integer() {
            Some(count) if count == -1 || count >= 1 => Ok(Some(count)),
            _ => self.refuse(
                value,
                format!("`{name}` is {}: expected a whole number from 1, or -1 for all", shown(value)),
            ),
        }
    }

    fn source(&self, entry: &Node<'_>) -> Result<Source> {
        let Some(name) = self.text(entry, "source")? else { return Ok(Source::default()) };
        match Source::ALL.into_iter().find(|source| source.name() == name) {
            Some(source) => Ok(source),
            None => {
                let reason = format!("`source` is {name:?}: expected huggingface, modelscope or s3");
                self.refuse(field(entry, "source").unwrap_or(entry), reason)
            }
        }
    }

    fn source_format(&mut self, entry: &Node<'_>) -> Result<Option<String>> {
        let format = self.text(entry, "source_format")?;
        if let Some(format) = &format
            && !SOURCE_FORMATS.contains(&format.as_str())
        {
            let text = format!("unknown source_format {format:?}: the dataset cannot be fetched");
            self.warn(field(entry, "source_format").unwrap_or(entry), text);
        }
        Ok(format)
    }

    fn filter_value(&self, entry: &Node<'_>) -> Result<Option<FilterValue>> {
        let Some(value) = field(entry, "filter_value") else { return Ok(None) };
        match &value.data {
            YamlData::Value(Scalar::Null) => Ok(None),
            YamlData::Value(Scalar::Boolean(value)) => Ok(Some(FilterValue::Boolean(*value))),
            YamlData::Value(Scalar::Integer(value)) => Ok(Some(FilterValue::Integer(*value))),
            YamlData::Value(Scalar::FloatingPoint(value)) => {
                Ok(Some(FilterValue::Number(value.into_inner())))
            }
            YamlData::Value(Scalar::String(value)) => Ok(Some(FilterValue::Text(value.to_string()))),
            _ => self.refuse(value, format!("`filter_value` is {}: expected one value", shown(value))),
        }
    }

    /// Gives a refused value the place where it stands.
    fn check<T>(&self, entry: &Node<'_>, name: &str, result: Result<T>) -> Result<T> {
        result.or_else(|error| self.refuse(field(entry, name).unwrap_or(entry), error.to_string()))
    }

    fn refuse<T>(&self, node: &Node<'_>, reason: impl Into<String>) -> Result<T> {
        Err(definition_error(self.file, line_of(node), reason))
    }

    fn warn(&mut self, node: &Node<'_>, text: String) {
        let file: PathBuf = self.file.to_path_buf();
        self.warnings.push(CatalogWarning { file, line: Some(line_of(node)), text });
    }
}

fn definition_error(file: &Path, line: usize, reason: impl Into<String>) -> Error {
    Error::Definition { file: file.to_path_buf(), line, reason: reason.into() }
}

fn field<'a, 'input>(entry: &'a Node<'input>, name: &str) -> Option<&'a Node<'input>> {
    entry.data.as_mapping_get(name)
}

fn line_of(node: &Node<'_>) -> usize {
    node.span.start.line()
}

fn is_null(node: &Node<'_>) -> bool {
    matches!(node.data, YamlData::Value(Scalar::Null) | YamlData::BadValue)
}

/// A value as an error message shows it.
fn shown(node: &Node<'_>) -> String {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => format!("{text:?}"),
        YamlData::Value(Scalar::Integer(number)) => number.to_string(),
        YamlData::Value(Scalar::FloatingPoint(number)) => number.to_string(),
        YamlData::Value(Scalar::Boolean(value)) => value.to_string(),
        YamlData::Value(Scalar::Null) => "nothing".to_owned(),
        YamlData::Sequence(_) => "a list".to_owned(),
        YamlData::Mapping(_) => "a mapping".to_owned(),
        _ => "a value with a YAML tag".to_owned(),
    }
}
