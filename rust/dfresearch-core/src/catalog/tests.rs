use std::fs;

use super::*;
use crate::modality::MediaType;

/// A folder with these files in it.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn entry(name: &str, media_type: &str) -> String {
    format!("  - name: {name}\n    path: owner/{name}\n    modality: image\n    media_type: {media_type}\n")
}

fn list(entries: &[String]) -> String {
    format!("datasets:\n{}", entries.concat())
}

/// Loads the image catalog with `text` as a person's own file.
fn load_own(text: &str) -> Result<Catalog> {
    let own = folder(&[("image.yaml", text)]);
    load_catalog(Path::new("/nowhere"), own.path(), Modality::Image)
}

fn refusal(text: &str) -> (usize, String) {
    match load_own(text).unwrap_err() {
        Error::Definition { file, line, reason } => {
            assert!(file.ends_with("image.yaml"));
            (line, reason)
        }
        other => panic!("{other}"),
    }
}

fn names(catalog: &Catalog) -> Vec<&str> {
    catalog.definitions.iter().map(|definition| definition.name.as_str()).collect()
}

#[test]
fn every_field_is_read() {
    let catalog = load_own(
        "datasets:
  - name: everything
    path: owner/repository
    modality: image
    media_type: semisynthetic
    source: modelscope
    source_format: parquet
    media_per_archive: -1
    archives_per_dataset: 3
    include_paths: [train, 'a b']
    exclude_paths:
      - test
    archive_include_paths: [/fake/]
    archive_exclude_paths: [/thumbs/]
    data_columns: [left, right]
    filter_column: label
    filter_value: 1
    generator_family: diffusion
    generator_variant: 1.5
    content_category: faces
    notes: \"a: b\"
",
    )
    .unwrap();
    assert_eq!(catalog.warnings, []);
    let [definition] = catalog.definitions.as_slice() else { panic!() };
    let text = |text: &str| Some(text.to_owned());
    let texts = |texts: &[&str]| Some(texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
    let expected = DatasetDefinition {
        name: "everything".to_owned(),
        path: "owner/repository".to_owned(),
        modality: Modality::Image,
        media_type: MediaType::Semisynthetic,
        source: Source::ModelScope,
        source_format: text("parquet"),
        media_per_archive: Some(-1),
        archives_per_dataset: Some(3),
        include_paths: texts(&["train", "a b"]),
        exclude_paths: texts(&["test"]),
        archive_include_paths: texts(&["/fake/"]),
        archive_exclude_paths: texts(&["/thumbs/"]),
        data_columns: texts(&["left", "right"]),
        filter_column: text("label"),
        filter_value: Some(FilterValue::Integer(1)),
        generator_family: text("diffusion"),
        generator_variant: text("1.5"),
        content_category: text("faces"),
        notes: text("a: b"),
        file: definition.file.clone(),
        line: 2,
    };
    assert_eq!(*definition, expected);
}

#[test]
fn both_layouts_of_the_competition_are_read_today_s_first() {
    let own = folder(&[]);
    let earlier = list(&[entry("dropped", "real"), entry("kept", "synthetic")]);
    let only_earlier = folder(&[("image_datasets.yaml", &earlier)]);
    let catalog = load_catalog(only_earlier.path(), own.path(), Modality::Image).unwrap();
    assert_eq!(names(&catalog), ["dropped", "kept"]);

    let both = folder(&[
        ("image_datasets.yaml", &earlier),
        ("real_images.yaml", &list(&[entry("cats", "real")])),
        ("synthetic_images.yaml", &list(&[entry("kept", "synthetic")])),
        ("real_videos.yaml", "datasets: []\n"),
    ]);
    let catalog = load_catalog(both.path(), own.path(), Modality::Image).unwrap();
    assert_eq!(names(&catalog), ["cats", "kept"]);
    let [warning] = catalog.warnings.as_slice() else { panic!("{:?}", catalog.warnings) };
    assert!(warning.file.ends_with("image_datasets.yaml"));
    assert_eq!(warning.line, None);
}

#[test]
fn a_person_s_own_definition_replaces_the_competition_s_in_its_place() {
    let upstream = folder(&[
        ("real_images.yaml", &list(&[entry("cats", "real"), entry("dogs", "real")])),
        ("synthetic_images.yaml", &list(&[entry("renders", "synthetic")])),
    ]);
    let own = folder(&[("image.yaml", &list(&[entry("mine", "real"), entry("cats", "synthetic")]))]);
    let catalog = load_catalog(upstream.path(), own.path(), Modality::Image).unwrap();
    assert_eq!(names(&catalog), ["cats", "dogs", "renders", "mine"]);
    assert_eq!(catalog.definitions[0].media_type, MediaType::Synthetic);
    assert!(catalog.definitions[0].file.ends_with("image.yaml"));
}

#[test]
fn missing_files_and_empty_files_define_nothing() {
    for text in ["", "# nothing yet\n", "datasets:\n", "datasets: []\n", "\u{feff}datasets: []\n"] {
        assert_eq!(load_own(text).unwrap(), Catalog::default(), "{text:?}");
    }
    let nowhere = Path::new("/nowhere");
    assert_eq!(load_catalog(nowhere, nowhere, Modality::Audio).unwrap(), Catalog::default());
}

#[test]
fn unknown_fields_are_warned_of_with_their_line() {
    let text =
        format!("version: 2\n{}    licence: MIT\n    source_format: rar\n", list(&[entry("cats", "real")]));
    let catalog = load_own(&text).unwrap();
    assert_eq!(names(&catalog), ["cats"]);
    let seen: Vec<_> = catalog
        .warnings
        .iter()
        .map(|warning| (warning.line, warning.text.split(':').next().unwrap()))
        .collect();
    let expected = [
        (Some(1), "unknown field \"version\" is ignored"),
        (Some(7), "unknown field \"licence\" is ignored"),
        (Some(8), "unknown source_format \"rar\""),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn bad_definitions_are_refused_with_file_and_line() {
    let good = entry("cats", "real");
    let with = |field: &str| format!("datasets:\n{good}    {field}\n");
    let replaced = |from: &str, to: &str| format!("datasets:\n{}", good.replace(from, to));
    for (text, line, part) in [
        (replaced("    path: owner/cats\n", ""), 2, "required field `path` of \"cats\" is missing"),
        (replaced("name: cats", "x: y"), 2, "required field `name` is missing"),
        (replaced("modality: image", "modality:"), 4, "required field `modality`"),
        (replaced("media_type: real", "media_type: ''"), 5, "required field `media_type`"),
        (replaced("modality: image", "modality: images"), 4, "\"images\" is none of image, video, audio"),
        (replaced("modality: image", "modality: video"), 4, "modality video in a file of image datasets"),
        (replaced("media_type: real", "media_type: fake"), 5, "\"fake\" is none of real"),
        (replaced("name: cats", "name: ../cats"), 2, "path separator"),
        (replaced("name: cats", "name: /cats"), 2, "path separator"),
        (replaced("name: cats", "name: '..'"), 2, "not a folder name"),
        (replaced("name: cats", "name: ''"), 2, "required field `name`"),
        (replaced("name: cats", "name: 17"), 2, "put it in quotes"),
        (replaced("name: cats", "name: [cats]"), 2, "`name` is a list"),
        (with("source: ftp"), 6, "expected huggingface"),
        (with("include_paths: train"), 6, "expected a list"),
        (with("data_columns: [image, 3]"), 6, "`data_columns` contains 3"),
        (with("media_per_archive: 0"), 6, "from 1, or -1"),
        (with("archives_per_dataset: many"), 6, "from 1, or -1"),
        (with("filter_value: [1, 2]"), 6, "expected one value"),
        (with("notes: {a: b}"), 6, "`notes` is a mapping"),
        (with("name: dogs"), 6, "not valid YAML: duplicated key"),
        (list(&[good.clone(), good.clone()]), 6, "defined twice"),
        ("datasets:\n  cats: real\n".to_owned(), 2, "expected a list"),
        ("datasets:\n  - cats\n".to_owned(), 2, "expected a dataset"),
        ("sets: []\n".to_owned(), 1, "expected a list of datasets under `datasets:`"),
        ("- cats\n".to_owned(), 1, "expected a list of datasets under `datasets:`"),
        ("datasets: [\n".to_owned(), 2, "not valid YAML"),
        ("datasets: []\n---\ndatasets: []\n".to_owned(), 3, "second YAML document"),
    ] {
        let (refused_line, reason) = refusal(&text);
        assert!(reason.contains(part), "{text}\n{reason}");
        assert_eq!(refused_line, line, "{text}\n{reason}");
    }
}

#[test]
fn a_name_that_stands_in_two_files_of_the_competition_is_refused() {
    let upstream = folder(&[
        ("real_images.yaml", &list(&[entry("cats", "real")])),
        ("synthetic_images.yaml", &list(&[entry("dogs", "synthetic"), entry("cats", "synthetic")])),
    ]);
    let message = load_catalog(upstream.path(), upstream.path(), Modality::Image).unwrap_err().to_string();
    assert!(message.contains("synthetic_images.yaml:6: \"cats\" is defined twice"), "{message}");
    assert!(message.contains("real_images.yaml:2"), "{message}");
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_line() {
    let own = tempfile::tempdir().unwrap();
    fs::write(own.path().join("image.yaml"), b"datasets:\n  - name: caf\xe9\n").unwrap();
    let message = load_catalog(own.path(), own.path(), Modality::Image).unwrap_err().to_string();
    assert!(message.ends_with("image.yaml:2: not valid UTF-8"), "{message}");
}

#[test]
fn a_file_that_cannot_be_read_is_not_taken_for_none() {
    for name in ["real_images.yaml", "image_datasets.yaml", "image.yaml"] {
        // Neither can be read by anybody, root included.
        for target in ["nowhere", name] {
            let folder = folder(&[]);
            let file = folder.path().join(name);
            std::os::unix::fs::symlink(target, &file).unwrap();
            let error = load_catalog(folder.path(), folder.path(), Modality::Image).unwrap_err();
            assert!(matches!(&error, Error::Io { path, .. } if *path == file), "{error}");
        }
    }
    let no_folder = folder(&[("configs", "a file")]);
    let error = load_catalog(&no_folder.path().join("configs"), Path::new("/nowhere"), Modality::Image);
    assert!(matches!(error, Err(Error::Io { .. })), "{error:?}");
}

#[test]
fn the_digest_of_a_selection_is_that_of_the_fields_that_select() {
    let base = "datasets:\n  - {name: a, path: owner/a, modality: image, media_type: real";
    let digest = |fields: &str| {
        let catalog = load_own(&format!("{base}{fields}}}\n")).unwrap();
        catalog.definitions[0].selection_digest()
    };
    let plain = digest("");
    assert!(plain.len() == 64 && plain.bytes().all(|byte| byte.is_ascii_hexdigit()), "{plain}");
    for same in [
        ", generator_family: gan, generator_variant: 2, content_category: faces, notes: seen",
        ", source: huggingface",
        ", include_paths: [], archive_exclude_paths: []",
    ] {
        assert_eq!(digest(same), plain, "{same}");
    }
    let relabelled =
        load_own(&format!("{base}}}\n").replace("real", "synthetic").replace("name: a", "name: b"));
    assert_eq!(relabelled.unwrap().definitions[0].selection_digest(), plain);
    assert_eq!(digest(", include_paths: [a, b]"), digest(", include_paths: [b, a, b]"));

    let others = [
        ", source: modelscope",
        ", source_format: zip",
        ", source_format: tar",
        ", media_per_archive: 5",
        ", archives_per_dataset: 5",
        ", media_per_archive: -1",
        ", include_paths: [x]",
        ", exclude_paths: [x]",
        ", archive_include_paths: [x]",
        ", archive_exclude_paths: [x]",
        ", data_columns: [x, y]",
        ", data_columns: [y, x]",
        ", filter_column: x",
        ", filter_value: 1",
        ", filter_value: '1'",
        ", filter_value: true",
        ", filter_value: 1.5",
    ];
    let mut digests: Vec<String> = others.into_iter().map(digest).collect();
    digests.push(plain);
    digests.push(
        load_own(&format!("{base}}}\n").replace("owner/a", "owner/b")).unwrap().definitions[0]
            .selection_digest(),
    );
    let count = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), count);
}
