//! `model_config.yaml`: what the evaluator must feed the model, as it was trained.

use std::path::Path;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value};

use super::WEIGHTS_FILE;
use super::files::{read_text, refused};
use crate::error::{Error, Result};
use crate::modality::Modality;

/// The competition's classes: real and synthetic.
const NUM_CLASSES: u64 = 2;

/// Frames beyond which the competition caps a clip.
const MOST_FRAMES: u64 = 64;

/// Frames the evaluator takes when the configuration names no number.
const DEFAULT_FRAMES: usize = 16;

/// The only sample rate the competition feeds, in hertz.
const SAMPLE_RATE: f64 = 16_000.0;

/// The only duration the competition feeds, in seconds.
const DURATION_SECONDS: f64 = 6.0;

/// The words for the dtype that the evaluator casts a model to.
const DTYPES: [&str; 6] = ["float32", "fp32", "float16", "fp16", "bfloat16", "bf16"];

/// The parts of a `model_config.yaml` that the evaluator acts on, validated.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The model's name, for example `dfresearch-efficientnet-b4`; empty when there is none.
    pub name: String,
    /// What kind of media the model judges.
    pub modality: Modality,
    /// What the evaluator feeds.
    pub preprocessing: Preprocessing,
    /// Keys under `model:` that `load_model` gets as keywords, `num_classes` among them.
    pub model_keywords: Vec<String>,
    /// The dtype the evaluator casts the model to, as it is written there; `float32` by default.
    pub dtype: String,
}

/// What the evaluator feeds a model, one input of a batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Preprocessing {
    /// `[3, height, width]` uint8.
    Image {
        /// `(height, width)` in pixels.
        size: (usize, usize),
    },
    /// `[num_frames, 3, height, width]` uint8.
    Video {
        /// `(height, width)` in pixels.
        size: (usize, usize),
        /// Frames of a clip, 1 to 64.
        num_frames: usize,
        /// Frames a second; without it the first consecutive frames are taken.
        frame_rate: Option<f64>,
    },
    /// `[96000]` float32: six seconds at 16 kHz, which is all that the competition feeds.
    Audio,
}

/// Reads and validates the text of a `model_config.yaml`; `path` is named in errors.
///
/// # Errors
/// [`crate::Error::Submission`] naming the key, or the line where the text is no YAML.
pub fn parse_config(path: &Path, text: &str) -> Result<ModelConfig> {
    let documents = Yaml::load_from_str(text)
        .map_err(|error| refused(path, format!("line {}: {error}", error.marker().line())))?;
    let Some(document) = documents.first() else {
        return Err(refused(path, "is empty; it needs modality, preprocessing and model"));
    };
    let root = value_of(document).map_err(|reason| refused(path, reason))?;
    Fields { path, root: &root }.config()
}

/// Reads and validates a `model_config.yaml`.
///
/// # Errors
/// Those of [`parse_config`]; [`crate::Error::NotFound`] and [`crate::Error::Io`] when it cannot be read.
pub fn read_config(path: &Path) -> Result<ModelConfig> {
    parse_config(path, &read_text(path)?)
}

/// [`yaml_of`] a JSON text.
///
/// # Errors
/// [`Error::Argument`] when it is no JSON: NaN and infinities, above all.
pub fn yaml_of_json(json: &str) -> Result<String> {
    let value: Value = serde_json::from_str(json)
        .map_err(|error| Error::argument("config", format!("cannot be written as YAML: {error}")))?;
    Ok(yaml_of(&value))
}

/// Block-style YAML of a mapping, in its own order, that YAML 1.1 and 1.2 readers understand alike.
///
/// Strings are quoted, lists of scalars stand on one line.
///
/// ```
/// let config = serde_json::json!({"modality": "image", "preprocessing": {"resize": [224, 224]}});
/// assert_eq!(
///     dfresearch_core::submission::yaml_of(&config),
///     "modality: \"image\"\npreprocessing:\n  resize: [224, 224]\n",
/// );
/// ```
pub fn yaml_of(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => emit_mapping(map, 0, &mut text),
        other => {
            text.push_str(&flow(other));
            text.push('\n');
        }
    }
    text
}

fn emit_mapping(map: &Map<String, Value>, depth: usize, text: &mut String) {
    for (key, value) in map {
        text.push_str(&"  ".repeat(depth));
        let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !is_reserved(key);
        text.push_str(&if plain { key.clone() } else { quoted(key) });
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push_str(":\n");
                emit_mapping(inner, depth + 1, text);
            }
            other => {
                text.push_str(": ");
                text.push_str(&flow(other));
                text.push('\n');
            }
        }
    }
}

/// Keys that some reader would take for a boolean, a null or a number.
fn is_reserved(key: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    WORDS.contains(&key.to_ascii_lowercase().as_str()) || !key.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn flow(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number_text(number),
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries: Vec<String> =
                map.iter().map(|(key, value)| format!("{}: {}", quoted(key), flow(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

/// YAML 1.1 takes `1e-7` for a string: a float there needs a point and a signed exponent.
fn number_text(number: &serde_json::Number) -> String {
    let text = number.to_string();
    let Some((mantissa, exponent)) = text.split_once('e') else { return text };
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) { "" } else { "+" };
    format!("{mantissa}{point}e{sign}{exponent}")
}

/// A double-quoted scalar; what is not printable is escaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}') => {
                quoted.push_str(&format!("\\u{:04X}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn value_of(yaml: &Yaml<'_>) -> Result<Value, String> {
    Ok(match yaml {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(flag)) => Value::Bool(*flag),
        Yaml::Value(Scalar::Integer(number)) => Value::from(*number),
        Yaml::Value(Scalar::FloatingPoint(number)) => {
            serde_json::Number::from_f64(number.into_inner()).map_or(Value::Null, Value::Number)
        }
        Yaml::Value(Scalar::String(text)) => Value::String(text.to_string()),
        Yaml::Sequence(items) => Value::Array(items.iter().map(value_of).collect::<Result<_, _>>()?),
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, value) in entries {
                let Yaml::Value(Scalar::String(key)) = key else {
                    return Err("every key must be text".to_owned());
                };
                map.insert(key.to_string(), value_of(value)?);
            }
            Value::Object(map)
        }
        Yaml::Tagged(tag, _) => return Err(format!("the tag {tag} is not one of plain YAML")),
        Yaml::Representation(..) | Yaml::Alias(_) | Yaml::BadValue => {
            return Err("has a value that cannot be read".to_owned());
        }
    })
}

/// The parsed document, with the path for errors.
struct Fields<'a> {
    path: &'a Path,
    root: &'a Value,
}

impl Fields<'_> {
    fn config(&self) -> Result<ModelConfig> {
        if !self.root.is_object() {
            return Err(refused(self.path, "must be a mapping with modality, preprocessing and model"));
        }
        let modality = self.modality()?;
        self.check_model()?;
        Ok(ModelConfig {
            name: self.text("/name")?.unwrap_or_default(),
            modality,
            preprocessing: self.preprocessing(modality)?,
            model_keywords: self.model_keywords(),
            dtype: self.dtype()?,
        })
    }

    fn error<T>(&self, pointer: &str, expected: &str) -> Result<T> {
        let key = pointer.trim_start_matches('/').replace('/', ".");
        let found = self.get(pointer).map_or("missing".to_owned(), |value| format!("{value}"));
        Err(refused(self.path, format!("{key} is {found}: {expected}")))
    }

    /// The value at a JSON pointer; an explicit null counts as missing.
    fn get(&self, pointer: &str) -> Option<&Value> {
        self.root.pointer(pointer).filter(|value| !value.is_null())
    }

    fn text(&self, pointer: &str) -> Result<Option<String>> {
        match self.get(pointer) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => self.error(pointer, "text is expected"),
        }
    }

    fn modality(&self) -> Result<Modality> {
        match self.get("/modality").and_then(Value::as_str).map(str::parse) {
            Some(Ok(modality)) => Ok(modality),
            _ => self.error("/modality", "image, video or audio is expected"),
        }
    }

    fn dtype(&self) -> Result<String> {
        let dtype = self.text("/dtype")?.unwrap_or_else(|| DTYPES[0].to_owned());
        if DTYPES.contains(&dtype.to_ascii_lowercase().as_str()) {
            Ok(dtype)
        } else {
            self.error("/dtype", "float32, float16 or bfloat16 is expected")
        }
    }

    fn check_model(&self) -> Result<()> {
        if self.get("/model/num_classes").is_some_and(|classes| classes.as_u64() != Some(NUM_CLASSES)) {
            return self.error("/model/num_classes", "the competition has 2 classes, real and synthetic");
        }
        if self.text("/model/weights_file")?.is_some_and(|file| file != WEIGHTS_FILE) {
            return self.error("/model/weights_file", "the weights are stored as model.safetensors");
        }
        match self.get("/model") {
            None | Some(Value::Object(_)) => Ok(()),
            Some(_) => self.error("/model", "a mapping is expected"),
        }
    }

    fn model_keywords(&self) -> Vec<String> {
        let model = self.get("/model").and_then(Value::as_object);
        let keys = model.into_iter().flat_map(|model| model.keys().cloned());
        keys.filter(|key| key != "weights_file").collect()
    }

    fn preprocessing(&self, modality: Modality) -> Result<Preprocessing> {
        Ok(match modality {
            Modality::Image => Preprocessing::Image { size: self.size()? },
            Modality::Video => Preprocessing::Video {
                size: self.size()?,
                num_frames: self.num_frames()?,
                frame_rate: self.frame_rate()?,
            },
            Modality::Audio => {
                self.check_fixed("/preprocessing/sample_rate", SAMPLE_RATE)?;
                self.check_fixed("/preprocessing/duration_seconds", DURATION_SECONDS)?;
                Preprocessing::Audio
            }
        })
    }

    fn size(&self) -> Result<(usize, usize)> {
        const POINTER: &str = "/preprocessing/resize";
        let sides = self.get(POINTER).and_then(Value::as_array);
        let side = |value: &Value| value.as_u64().filter(|side| (1..=u64::from(u16::MAX)).contains(side));
        match sides.map(|sides| sides.iter().map(side).collect::<Vec<_>>()).as_deref() {
            Some([Some(height), Some(width)]) => Ok((*height as usize, *width as usize)),
            _ => self.error(POINTER, "[height, width] in pixels is expected, as the model was trained"),
        }
    }

    fn num_frames(&self) -> Result<usize> {
        const POINTER: &str = "/preprocessing/num_frames";
        match self.get(POINTER) {
            None => Ok(DEFAULT_FRAMES),
            Some(value) => match value.as_u64() {
                Some(frames) if (1..=MOST_FRAMES).contains(&frames) => Ok(frames as usize),
                _ => self.error(POINTER, "1 to 64 frames are expected"),
            },
        }
    }

    fn frame_rate(&self) -> Result<Option<f64>> {
        const POINTER: &str = "/preprocessing/frame_rate";
        match self.get(POINTER) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(rate) if rate.is_finite() && rate > 0.0 => Ok(Some(rate)),
                _ => self.error(POINTER, "frames a second, a number above 0, are expected"),
            },
        }
    }

    fn check_fixed(&self, pointer: &str, expected: f64) -> Result<()> {
        match self.get(pointer) {
            Some(value) if value.as_f64() != Some(expected) => {
                self.error(pointer, &format!("the competition always feeds {expected}"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ModelConfig> {
        parse_config(Path::new("model_config.yaml"), text)
    }

    #[test]
    fn a_video_configuration_is_read_whole() {
        let text = "name: dfresearch-r3d-18\nversion: 1.0.0\nmodality: video\ndtype: bfloat16\npreprocessing:\n  resize:\n  \
                    - 112\n  - 96\n  num_frames: 8\n  frame_rate: 5\nmodel:\n  num_classes: 2\n  dropout: 0.3\n  weights_file: model.safetensors\n";
        let config = parse(text).unwrap();
        assert_eq!(config.name, "dfresearch-r3d-18");
        assert_eq!(config.dtype, "bfloat16");
        assert_eq!(config.model_keywords, ["num_classes", "dropout"]);
        let expected = Preprocessing::Video { size: (112, 96), num_frames: 8, frame_rate: Some(5.0) };
        assert_eq!(config.preprocessing, expected);
    }

    #[test]
    fn faults_are_named_with_their_key() {
        let image = "modality: image\npreprocessing: {resize: [8, 8]}\n";
        for (text, expected) in [
            ("", "is empty"),
            ("- a\n", "must be a mapping"),
            ("name: [\n", "line "),
            ("modality: smell\n", "modality is \"smell\": image, video or audio"),
            ("modality: image\n", "preprocessing.resize is missing"),
            ("modality: image\npreprocessing: {resize: [0, 8]}\n", "preprocessing.resize is [0,8]"),
            ("modality: video\npreprocessing: {resize: [8, 8], num_frames: 65}\n", "1 to 64"),
            ("modality: video\npreprocessing: {resize: [8, 8], frame_rate: -1}\n", "frame_rate is -1"),
            ("modality: audio\npreprocessing: {sample_rate: 44100}\n", "always feeds 16000"),
            (&format!("{image}dtype: int8\n"), "dtype is \"int8\""),
            (&format!("{image}model: {{num_classes: 3}}\n"), "model.num_classes is 3"),
            (&format!("{image}model: {{weights_file: a.bin}}\n"), "stored as model.safetensors"),
            (&format!("{image}name: 7\n"), "name is 7"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with("model_config.yaml: ") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_is_emitted_is_read_back() {
        let value = serde_json::json!({
            "name": "it's \"quoted\"\n\u{7f}é",
            "yes": true,
            "no 1": {"a": [1, -2, 1e-7, 3e20, 0.5], "b": {}, "c": [], "d": null, "e": [{"f": 1}]},
        });
        let text = yaml_of(&value);
        let documents = Yaml::load_from_str(&text).unwrap();
        assert_eq!(value_of(&documents[0]).unwrap(), value, "{text}");
        assert!(
            text.contains("1.0e-7") && text.contains("3.0e+20") && text.contains("\"yes\": true"),
            "{text}"
        );
    }
}
