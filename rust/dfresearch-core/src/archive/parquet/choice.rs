//! Which columns of a parquet file hold media, and which part of their cells.

use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as PhysicalType};
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor, Type};

use super::super::{Selection, invalid};
use crate::error::Result;
use crate::modality::Modality;

/// The first key of a struct that contains one of these holds the medium.
const MEDIA_KEYS: [&str; 7] = ["bytes", "image", "video", "audio", "array", "data", "content"];

/// The key of a struct that says the sampling rate of the array beside it.
const RATE_KEY: &str = "sampling_rate";

/// A column with media.
#[derive(Debug, Clone)]
pub(super) struct MediaColumn {
    pub name: String,
    pub leaf: Leaf,
    pub kind: CellKind,
    /// The sampling rate of float arrays, where the file says it.
    pub rate: Option<Leaf>,
}

/// What the values of a media column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CellKind {
    /// Encoded media.
    Bytes,
    /// Encoded media in base64.
    Text,
    /// Samples of sound between -1 and 1.
    Floats,
}

/// The place of values in the columns of the file.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub index: usize,
    pub descriptor: ColumnDescPtr,
    /// The definition level from which on a list has an element, outermost list first.
    pub list_levels: Vec<i16>,
}

/// The columns that hold media, as `selection` names them or, without names, as the competition finds them.
pub(super) fn media_columns(
    schema: &SchemaDescriptor,
    selection: &Selection<'_>,
) -> Result<Vec<MediaColumn>> {
    let fields = schema.root_schema().get_fields();
    let resolve = |field: &Type| {
        let mut path = vec![field.name()];
        let mut levels = Levels::default();
        resolve(field, &mut path, &mut levels, schema, selection.modality)
            .map(|(leaf, kind, rate)| MediaColumn { name: field.name().to_owned(), leaf, kind, rate })
    };
    if let Some(names) = selection.data_columns.filter(|names| !names.is_empty()) {
        return names
            .iter()
            .map(|name| {
                let field = root_field(schema, name, selection.key)?;
                resolve(field).ok_or_else(|| {
                    let reason = format!("column {name:?} holds nothing that can be a medium");
                    invalid(selection.key, format!("{reason}; the columns are {}", names_of(schema)))
                })
            })
            .collect();
    }
    let candidates: Vec<MediaColumn> = fields.iter().filter_map(|field| resolve(field)).collect();
    let lower = |column: &MediaColumn| column.name.to_lowercase();
    let first =
        |matches: &dyn Fn(&str) -> bool| candidates.iter().find(|column| matches(&lower(column))).cloned();
    let chosen: Vec<MediaColumn> = match selection.modality {
        Modality::Image => first(&|name| name == "image")
            .or_else(|| first(&|name| name.contains("image") && !name.contains("_id")))
            .into_iter()
            .collect(),
        Modality::Video => {
            let words = ["video", "bytes", "content", "data"];
            first(&|name| words.contains(&name))
                .or_else(|| first(&|name| words.iter().any(|word| name.contains(word))))
                .into_iter()
                .collect()
        }
        Modality::Audio => match first(&|name| name == "audio") {
            Some(column) => vec![column],
            None => {
                let words = ["audio", "bytes", "content", "data", "wav", "mp3"];
                let is_audio =
                    |name: &str| words.iter().any(|word| name.contains(word)) && !name.contains("_id");
                candidates.into_iter().filter(|column| is_audio(&lower(column))).collect()
            }
        },
    };
    if chosen.is_empty() {
        let reason =
            format!("no column of this parquet file is named as one with {} media is", selection.modality);
        let advice = "name it by data_columns in the definition";
        return Err(invalid(
            selection.key,
            format!("{reason}; the columns are {}; {advice}", names_of(schema)),
        ));
    }
    Ok(chosen)
}

/// A column with one plain value a row.
pub(super) fn plain_column(schema: &SchemaDescriptor, name: &str, key: &str) -> Result<Leaf> {
    let field = root_field(schema, name, key)?;
    let is_single = field.get_basic_info().has_repetition()
        && field.get_basic_info().repetition() != Repetition::REPEATED;
    let is_read = |field: &Type| {
        !matches!(field.get_physical_type(), PhysicalType::INT96 | PhysicalType::FIXED_LEN_BYTE_ARRAY)
    };
    let leaf = (field.is_primitive() && is_single && is_read(field))
        .then(|| leaf_of(&[name], &[], schema))
        .flatten();
    leaf.ok_or_else(|| invalid(key, format!("column {name:?} holds no text, number or boolean")))
}

fn root_field<'a>(schema: &'a SchemaDescriptor, name: &str, key: &str) -> Result<&'a Type> {
    let field = schema.root_schema().get_fields().iter().find(|field| field.name() == name);
    let missing =
        || invalid(key, format!("no column {name:?} in this parquet file: it has {}", names_of(schema)));
    field.map(AsRef::as_ref).ok_or_else(missing)
}

fn names_of(schema: &SchemaDescriptor) -> String {
    schema.root_schema().get_fields().iter().map(|field| field.name()).collect::<Vec<_>>().join(", ")
}

/// What of the levels is known on the way down to a leaf.
#[derive(Debug, Clone, Default)]
struct Levels {
    definition: i16,
    lists: Vec<i16>,
}

impl Levels {
    fn enter(&mut self, field: &Type) {
        let info = field.get_basic_info();
        match info.has_repetition().then(|| info.repetition()) {
            Some(Repetition::OPTIONAL) => self.definition += 1,
            Some(Repetition::REPEATED) => {
                self.definition += 1;
                self.lists.push(self.definition);
            }
            _ => {}
        }
    }
}

type Resolved = (Leaf, CellKind, Option<Leaf>);

/// The part of a field's cells that holds the medium.
fn resolve<'a>(
    field: &'a Type,
    path: &mut Vec<&'a str>,
    levels: &mut Levels,
    schema: &SchemaDescriptor,
    modality: Modality,
) -> Option<Resolved> {
    levels.enter(field);
    if field.is_primitive() {
        let leaf = leaf_of(path, &levels.lists, schema)?;
        return match field.get_physical_type() {
            PhysicalType::BYTE_ARRAY => {
                let kind = if is_text(field) { CellKind::Text } else { CellKind::Bytes };
                // A list of lists of media is not a cell of today's datasets.
                (levels.lists.len() <= 1).then_some((leaf, kind, None))
            }
            PhysicalType::FLOAT | PhysicalType::DOUBLE if modality == Modality::Audio => {
                matches!(levels.lists.len(), 1 | 2).then_some((leaf, CellKind::Floats, None))
            }
            _ => None,
        };
    }
    let info = field.get_basic_info();
    let is_list = info.converted_type() == ConvertedType::LIST
        || matches!(info.logical_type_ref(), Some(LogicalType::List));
    let is_map = matches!(info.converted_type(), ConvertedType::MAP | ConvertedType::MAP_KEY_VALUE)
        || matches!(info.logical_type_ref(), Some(LogicalType::Map));
    if is_map {
        return None;
    }
    if is_list {
        let [repeated] = field.get_fields() else { return None };
        path.push(repeated.name());
        if is_element(repeated, field.name()) {
            return resolve(repeated, path, levels, schema, modality);
        }
        levels.enter(repeated);
        let [element] = repeated.get_fields() else { return None };
        path.push(element.name());
        return resolve(element, path, levels, schema, modality);
    }
    let is_media_key = |name: &str| {
        let name = name.to_lowercase();
        MEDIA_KEYS.iter().any(|key| name.contains(key))
    };
    let child = field.get_fields().iter().find(|child| is_media_key(child.name()))?;
    let rate = rate_beside(field, path, levels, schema);
    path.push(child.name());
    let (leaf, kind, inner_rate) = resolve(child, path, levels, schema, modality)?;
    Some((leaf, kind, inner_rate.or(rate).filter(|_| kind == CellKind::Floats)))
}

/// Whether what is repeated in a list is its element, as older writers have it, and not a wrapper around it
/// ("Backward-compatibility rules" in `LogicalTypes.md` of the Apache Parquet format).
fn is_element(repeated: &Type, list: &str) -> bool {
    repeated.is_primitive()
        || repeated.get_fields().len() > 1
        || repeated.name() == "array"
        || repeated.name() == format!("{list}_tuple")
}

fn rate_beside(field: &Type, path: &[&str], levels: &Levels, schema: &SchemaDescriptor) -> Option<Leaf> {
    let rate = field.get_fields().iter().find(|child| child.name() == RATE_KEY && child.is_primitive())?;
    let is_number = matches!(
        rate.get_physical_type(),
        PhysicalType::INT32 | PhysicalType::INT64 | PhysicalType::FLOAT | PhysicalType::DOUBLE
    );
    let is_single = rate.get_basic_info().repetition() != Repetition::REPEATED;
    let path: Vec<&str> = path.iter().copied().chain([rate.name()]).collect();
    (is_number && is_single).then(|| leaf_of(&path, &levels.lists, schema)).flatten()
}

fn is_text(field: &Type) -> bool {
    let info = field.get_basic_info();
    matches!(info.converted_type(), ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON)
        || matches!(
            info.logical_type_ref(),
            Some(LogicalType::String | LogicalType::Enum | LogicalType::Json)
        )
}

fn leaf_of(path: &[&str], lists: &[i16], schema: &SchemaDescriptor) -> Option<Leaf> {
    let index = schema
        .columns()
        .iter()
        .position(|column| column.path().parts().iter().map(String::as_str).eq(path.iter().copied()))?;
    Some(Leaf { index, descriptor: schema.column(index), list_levels: lists.to_vec() })
}
