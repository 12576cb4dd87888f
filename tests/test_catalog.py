"""Dataset definitions: what is read is what PyYAML reads, and what is wrong is refused by file and line."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dfresearch_rs
from dfresearch import samples

REPOSITORY = Path(__file__).parent.parent

# Without what YAML 1.1 (PyYAML) and 1.2 do not agree on: some line ends, and numbers like 0E0 and 0o17.
NUMBER = re.compile(r"\s*[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?\s*|\s*0o[0-7]+\s*")


def text(alphabet, **sizes):
    return st.text(alphabet, **sizes).filter(lambda drawn: not NUMBER.fullmatch(drawn))


WORDS = text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=12)

FIELDS = {
    "source_format": st.sampled_from(["parquet", "zip", "tar.gz", "png", "frames"]),
    "media_per_archive": st.sampled_from([-1, 1, 1000]),
    "archives_per_dataset": st.sampled_from([-1, 1, 7]),
    "include_paths": st.lists(WORDS, max_size=3),
    "exclude_paths": st.lists(WORDS, max_size=3),
    "archive_include_paths": st.lists(WORDS, max_size=3),
    "archive_exclude_paths": st.lists(WORDS, max_size=3),
    "data_columns": st.lists(text("abc_", min_size=1), min_size=1, max_size=3),
    "filter_column": text("abc_", min_size=1),
    "filter_value": st.one_of(st.booleans(), st.integers(-9, 9), st.floats(-9, 9, width=16), text("xyz", min_size=1)),
    "generator_family": text("abc-", min_size=1),
    "generator_variant": text("abc 1.2:#", min_size=1),
    "content_category": text("abc/", min_size=1),
    "notes": WORDS,
}


def blank(value):
    """Text of white space alone counts as not given."""
    return isinstance(value, str) and not value.strip()


definitions = st.builds(
    lambda required, optional: required | {name: value for name, value in optional.items() if not blank(value)},
    st.fixed_dictionaries(
        {
            "name": text("abcXYZ019-_.", min_size=1).filter(lambda name: name not in (".", "..")),
            "path": text("abc/-", min_size=1),
            "modality": st.just("video"),
            "media_type": st.sampled_from(list(samples.LABEL_MAP)),
            "source": st.sampled_from(["huggingface", "modelscope", "s3"]),
        }
    ),
    st.fixed_dictionaries({}, optional=FIELDS),
)


class QuotingDumper(yaml.SafeDumper):
    """Puts all text in quotes: in flow style the two parsers end plain text like `0 -` at different places."""


QuotingDumper.add_representer(
    str, lambda dumper, value: dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"')
)


# How long a machine takes is no property of the code.
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    listed=st.lists(definitions, max_size=5, unique_by=lambda definition: definition["name"]),
    flow=st.sampled_from([None, True, False]),
)
def test_every_field_comes_back_as_it_was_written(tmp_path_factory, listed, flow):
    folder = tmp_path_factory.mktemp("catalog")
    dumper = yaml.SafeDumper if flow is False else QuotingDumper
    written = yaml.dump(
        {"datasets": listed}, Dumper=dumper, allow_unicode=True, sort_keys=False, default_flow_style=flow
    )
    (folder / "real_videos.yaml").write_text(written, encoding="utf-8")
    found, notes = dfresearch_rs.load_catalog(folder, folder / "none", "video")
    assert found == listed
    assert notes == []
    for definition in found:
        value = definition.get("filter_value")
        assert type(value) is type(next(d for d in listed if d["name"] == definition["name"]).get("filter_value"))


def write(path, *entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"datasets": list(entries)}))


def entry(name, media_type="real", **fields):
    return {"name": name, "path": f"owner/{name}", "modality": "image", "media_type": media_type, **fields}


def test_the_config_of_a_cache_has_the_person_s_definitions_on_top(tmp_path):
    write(tmp_path / "gasbench_configs/real_images.yaml", entry("cats"), entry("dogs"))
    write(tmp_path / "gasbench_configs/synthetic_images.yaml", entry("renders", "synthetic"))
    write(tmp_path / "own/image.yaml", entry("dogs", "semisynthetic", notes="edited"), entry("mine"))
    config = samples.load_dataset_config(tmp_path, "image", tmp_path / "own")
    assert [(d["name"], d["media_type"]) for d in config["datasets"]] == [
        ("cats", "real"),
        ("dogs", "semisynthetic"),
        ("renders", "synthetic"),
        ("mine", "real"),
    ]
    assert config["datasets"][1]["notes"] == "edited"
    assert config["datasets"][0]["source"] == "huggingface"


def test_the_person_s_file_lies_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "datasets/image.yaml", entry("mine"))
    config = samples.load_dataset_config(tmp_path / "cache", "image")
    assert [definition["name"] for definition in config["datasets"]] == ["mine"]
    assert samples.load_dataset_config(tmp_path / "cache", "audio") == {"datasets": []}


@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_the_example_files_are_valid(tmp_path, modality):
    shutil.copy(REPOSITORY / f"datasets/{modality}.yaml.example", tmp_path / f"{modality}.yaml")
    found, notes = dfresearch_rs.load_catalog(tmp_path / "none", tmp_path, modality)
    assert notes == []
    truth = yaml.safe_load((tmp_path / f"{modality}.yaml").read_text())["datasets"]
    assert found == [{"source": "huggingface"} | definition for definition in truth]
    assert {definition["modality"] for definition in found} == {modality}


def test_every_field_stands_in_an_example_and_in_the_readme():
    fields = {"name", "path", "modality", "media_type", "source", "source_format", *FIELDS}
    example = yaml.safe_load((REPOSITORY / "datasets/image.yaml.example").read_text())["datasets"]
    assert set(example[1]) == fields
    readme = (REPOSITORY / "datasets/README.md").read_text()
    rows = re.findall(r"^\| (`.*?) \|", readme, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == fields


def test_unknown_fields_are_warned_of_by_file_and_line(tmp_path):
    write(tmp_path / "own/image.yaml", entry("mine", licence="MIT"))
    with pytest.warns(UserWarning, match=r'image\.yaml:2: unknown field "licence" is ignored'):
        samples.load_dataset_config(tmp_path, "image", tmp_path / "own")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"media_type": "fake"}, "image.yaml:2: .*none of real, synthetic, semisynthetic"),
        ({"modality": "text"}, "image.yaml:3: .*none of image, video, audio"),
        ({"name": "../escape"}, "image.yaml:4: .*path separator"),
        ({"name": ""}, "image.yaml:4: required field `name`"),
        ({"path": 7}, "image.yaml:5: `path` is 7, not text"),
    ],
)
def test_bad_definitions_are_refused_by_file_and_line(tmp_path, change, message):
    # PyYAML sorts the fields: media_type, modality, name, path stand on lines 2 to 5.
    write(tmp_path / "own/image.yaml", entry("mine") | change)
    with pytest.raises(dfresearch_rs.DefinitionError, match=message):
        samples.load_dataset_config(tmp_path, "image", tmp_path / "own")


def test_an_unknown_modality_is_refused(tmp_path):
    with pytest.raises(dfresearch_rs.ArgumentError, match="modality"):
        samples.load_dataset_config(tmp_path, "images")
