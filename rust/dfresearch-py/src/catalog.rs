//! Dataset definitions.

use std::path::PathBuf;

use dfresearch_core::catalog::upstream::{self, refresh_over_http};
use dfresearch_core::catalog::{self, DatasetDefinition, FilterValue};
use dfresearch_core::http::{HttpClient, HttpSettings};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{run_detached, run_until_signal};

/// The definitions of a modality as dictionaries, and warnings.
#[pyfunction]
pub fn load_catalog<'py>(
    py: Python<'py>,
    upstream_dir: PathBuf,
    own_dir: PathBuf,
    modality: String,
) -> PyResult<(Vec<Bound<'py, PyDict>>, Vec<String>)> {
    let catalog = run_detached(py, || catalog::load_catalog(&upstream_dir, &own_dir, modality.parse()?))?;
    let definitions = catalog.definitions.iter().map(|definition| definition_dict(py, definition));
    Ok((definitions.collect::<PyResult<_>>()?, catalog.warnings.iter().map(ToString::to_string).collect()))
}

/// How often the definitions are asked for.
const REFRESH_ATTEMPTS: u32 = 2;

/// What a refresh of the competition's definitions came to.
#[pyclass(frozen, get_all, module = "dfresearch_rs")]
pub struct ConfigRefresh {
    state: &'static str,
    folder: PathBuf,
    url: Option<String>,
    commit: Option<String>,
    age_seconds: f64,
    reason: String,
    set_aside: Option<PathBuf>,
    lines: Vec<String>,
}

impl From<upstream::ConfigRefresh> for ConfigRefresh {
    fn from(refresh: upstream::ConfigRefresh) -> Self {
        Self {
            state: refresh.state.name(),
            lines: refresh.lines(),
            folder: refresh.folder,
            url: refresh.record.as_ref().map(|record| record.url.clone()),
            commit: refresh.record.and_then(|record| record.commit),
            age_seconds: refresh.age.as_secs_f64(),
            reason: refresh.reason,
            set_aside: refresh.set_aside,
        }
    }
}

/// Brings the competition's definitions in the cache up to date.
#[pyfunction]
#[pyo3(signature = (cache_dir, force=false))]
pub fn refresh_configs(py: Python<'_>, cache_dir: PathBuf, force: bool) -> PyResult<ConfigRefresh> {
    let refresh = run_until_signal(py, |stop| {
        // Definitions of yesterday are no reason to wait long.
        let settings = HttpSettings::from_environment()?;
        let settings = HttpSettings { attempts: settings.attempts.min(REFRESH_ATTEMPTS), ..settings };
        refresh_over_http(&cache_dir, force, &HttpClient::new(settings, stop.clone()))
    })?;
    Ok(ConfigRefresh::from(refresh))
}

/// The fields that a definition gives, by their names in the definition files.
fn definition_dict<'py>(py: Python<'py>, definition: &DatasetDefinition) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("name", &definition.name)?;
    fields.set_item("path", &definition.path)?;
    fields.set_item("modality", definition.modality.name())?;
    fields.set_item("media_type", definition.media_type.name())?;
    fields.set_item("source", definition.source.name())?;
    let given = |name, value: Option<Bound<'py, PyAny>>| match value {
        Some(value) => fields.set_item(name, value),
        None => Ok(()),
    };
    let text = |value: &Option<String>| value.as_ref().map(|text| text.into_pyobject(py)).transpose();
    let texts = |value: &Option<Vec<String>>| value.as_ref().map(|texts| texts.into_pyobject(py)).transpose();
    let count = |value: Option<i64>| value.map(|count| count.into_pyobject(py)).transpose();
    given("source_format", text(&definition.source_format)?.map(Bound::into_any))?;
    given("media_per_archive", count(definition.media_per_archive)?.map(Bound::into_any))?;
    given("archives_per_dataset", count(definition.archives_per_dataset)?.map(Bound::into_any))?;
    given("include_paths", texts(&definition.include_paths)?)?;
    given("exclude_paths", texts(&definition.exclude_paths)?)?;
    given("archive_include_paths", texts(&definition.archive_include_paths)?)?;
    given("archive_exclude_paths", texts(&definition.archive_exclude_paths)?)?;
    given("data_columns", texts(&definition.data_columns)?)?;
    given("filter_column", text(&definition.filter_column)?.map(Bound::into_any))?;
    given(
        "filter_value",
        definition.filter_value.as_ref().map(|value| filter_value(py, value)).transpose()?,
    )?;
    given("generator_family", text(&definition.generator_family)?.map(Bound::into_any))?;
    given("generator_variant", text(&definition.generator_variant)?.map(Bound::into_any))?;
    given("content_category", text(&definition.content_category)?.map(Bound::into_any))?;
    given("notes", text(&definition.notes)?.map(Bound::into_any))?;
    Ok(fields)
}

fn filter_value<'py>(py: Python<'py>, value: &FilterValue) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        FilterValue::Boolean(value) => value.into_pyobject(py)?.to_owned().into_any(),
        FilterValue::Integer(value) => value.into_pyobject(py)?.into_any(),
        FilterValue::Number(value) => value.into_pyobject(py)?.into_any(),
        FilterValue::Text(value) => value.into_pyobject(py)?.into_any(),
    })
}
