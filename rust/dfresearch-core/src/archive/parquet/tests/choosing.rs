//! Which columns are taken.

use parquet::schema::parser::parse_message_type;
use parquet::schema::types::SchemaDescriptor;

use super::super::super::Selection;
use super::super::super::tests::all;
use super::super::choice::media_columns;
use super::*;
use crate::error::Result;
use crate::modality::Modality;

/// The names of the chosen columns and the path of the leaf of each.
fn chosen(fields: &str, selection: &Selection<'_>) -> Result<Vec<String>> {
    let schema = parse_message_type(&format!("message m {{ {fields} }}")).unwrap();
    let schema = SchemaDescriptor::new(Arc::new(schema));
    let columns = media_columns(&schema, selection)?;
    Ok(columns.iter().map(|column| column.leaf.descriptor.path().string()).collect())
}

#[test]
fn columns_are_found_by_their_names_as_the_competition_finds_them() {
    use Modality::{Audio, Image, Video};
    let binary =
        |names: &[&str]| names.iter().map(|name| format!("required binary {name};")).collect::<String>();
    let cases: [(Modality, &[&str], &[&str]); 13] = [
        (Image, &["my_image", "Image"], &["Image"]),
        (Image, &["image_id", "id", "source_image", "image_two"], &["source_image"]),
        (Video, &["video_data", "bytes", "video"], &["bytes"]),
        (Video, &["id", "CONTENT"], &["CONTENT"]),
        (Video, &["id", "clip_bytes", "my_video"], &["clip_bytes"]),
        (Audio, &["wav", "AUDIO", "bytes"], &["AUDIO"]),
        (Audio, &["real_wav", "id", "fake_mp3", "audio_id", "data"], &["real_wav", "fake_mp3", "data"]),
        (Image, &["photo"], &[]),
        (Image, &["image_id"], &[]),
        (Video, &["image"], &[]),
        (Audio, &["audio_id", "speech"], &[]),
        (Image, &[], &[]),
        (Audio, &["content"], &["content"]),
    ];
    for (modality, names, expected) in cases {
        let fields = if names.is_empty() { "required int32 nothing;".to_owned() } else { binary(names) };
        match chosen(&fields, &all(modality)) {
            Ok(columns) => assert_eq!(columns, expected, "{modality} {names:?}"),
            Err(error) => {
                assert!(expected.is_empty(), "{modality} {names:?}: {error}");
                let text = error.to_string();
                assert!(
                    names.iter().all(|name| text.contains(name)) && text.contains("data_columns"),
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn columns_that_cannot_hold_media_are_passed_over() {
    let fields = "required int32 image_width; optional group image_meta { required int32 data; }
        required group image_map (MAP) { repeated group key_value { required binary key (UTF8); required binary value; } }
        required float image_score; required binary image_file;";
    assert_eq!(chosen(fields, &all(Modality::Image)).unwrap(), ["image_file"]);
    let floats = "required group audio (LIST) { repeated group list { required float element; } }";
    assert_eq!(chosen(floats, &all(Modality::Audio)).unwrap(), ["audio.list.element"]);
    assert!(chosen(&floats.replace("audio", "video"), &all(Modality::Video)).is_err());
    assert!(chosen("required float audio;", &all(Modality::Audio)).is_err(), "a number is no recording");
}

#[test]
fn the_first_key_of_a_struct_that_can_be_a_medium_is_taken() {
    let fields = "required group image { required binary path (UTF8); required binary raw_data; required binary bytes; }";
    assert_eq!(chosen(fields, &all(Modality::Image)).unwrap(), ["image.raw_data"]);
    let nested = "required group video { required group content { required binary Bytes; } }";
    assert_eq!(chosen(nested, &all(Modality::Video)).unwrap(), ["video.content.Bytes"]);
    assert!(chosen("required group image { required binary path (UTF8); }", &all(Modality::Image)).is_err());
}

#[test]
fn columns_of_the_definition_must_be_there_and_hold_media() {
    let names = ["a".to_owned(), "b".to_owned()];
    let selection = Selection { data_columns: Some(&names), ..all(Modality::Image) };
    let both = "required binary b; required binary image; required binary a;";
    assert_eq!(chosen(both, &selection).unwrap(), ["a", "b"]);
    let error = chosen("required binary a; required binary image;", &selection).unwrap_err().to_string();
    assert!(error.contains("no column \"b\"") && error.contains("a, image"), "{error}");
    let error = chosen("required binary a; required int32 b;", &selection).unwrap_err().to_string();
    assert!(error.contains("\"b\" holds nothing"), "{error}");
    let none = Selection { data_columns: Some(&[]), ..all(Modality::Image) };
    assert_eq!(chosen(both, &none).unwrap(), ["image"], "an empty list names nothing");
}
