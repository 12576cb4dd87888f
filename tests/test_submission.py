import hashlib
import zipfile

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

import dfresearch_rs
from dfresearch_rs import ArgumentError, SubmissionError, save_safetensors, write_checkpoint, write_submission

CONFIG = {
    "name": "dfresearch-tiny",
    "version": "1.0.0",
    "modality": "video",
    "preprocessing": {"resize": (16, 24), "num_frames": 3, "frame_rate": 12.5},
    "model": {"num_classes": 2, "weights_file": "model.safetensors", "epsilon": 1e-07},
}
SOURCE = "def load_model(weights_path, num_classes=2, epsilon=0.0):\n    return None\n"


def equal(left, right):
    return left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right)


@pytest.fixture
def checkpoint(tmp_path):
    folder = tmp_path / "image"
    write_checkpoint(folder, CONFIG, SOURCE, {"a": torch.arange(4.0)})
    return folder


def test_tensors_of_every_kind_come_back(tmp_path):
    shared = torch.randn(4, 3)
    state = {
        "float": torch.randn(2, 3),
        "double": torch.randn(3, dtype=torch.float64),
        "half": torch.randn(5).half(),
        "brain": torch.randn(5).bfloat16(),
        "long": torch.arange(7),
        "int": torch.arange(7, dtype=torch.int32),
        "byte": torch.arange(7, dtype=torch.uint8),
        "flag": torch.tensor([True, False]),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 4),
        "transposed": torch.randn(3, 5).T,
        "strided": torch.randn(10)[::2],
        "offset": torch.randn(10)[5:],
        "expanded": torch.ones(1, 3).expand(4, 3),
        "negated": torch.randn(3)._neg_view(),
        "shared": shared,
        "tied": shared,
        "view": shared[1],
        "parameter": nn.Parameter(torch.randn(2)),
    }
    path = tmp_path / "model.safetensors"
    save_safetensors(state, path)
    loaded = load_file(path)
    assert sorted(loaded) == sorted(state)
    for name, tensor in state.items():
        assert equal(loaded[name], tensor.detach()), name
    again = tmp_path / "again.safetensors"
    save_safetensors(dict(reversed(state.items())), again)
    assert again.read_bytes() == path.read_bytes()
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, again.name}


def test_a_wrapped_model_loads_into_a_plain_one(tmp_path):
    def build():
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))

    model = build()
    path = tmp_path / "model.safetensors"
    save_safetensors(nn.DataParallel(torch.compile(model)).state_dict(), path)
    plain = build()
    plain.load_state_dict(load_file(path))
    assert all(
        equal(left, right) for left, right in zip(plain.state_dict().values(), model.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": 3}, "'a' is a int|\"a\" is a int"),
        ({"a": torch.zeros(1, dtype=torch.complex128)}, "complex128"),
        ({"a": torch.zeros(2).to_sparse()}, "sparse"),
        ({"a": torch.zeros(2, device="meta")}, "meta"),
        ({"a": torch.zeros(1), "_orig_mod.a": torch.zeros(1)}, "both be stored"),
    ],
)
def test_what_cannot_be_stored_is_named(tmp_path, state, message):
    path = tmp_path / "model.safetensors"
    with pytest.raises(ArgumentError, match=message):
        save_safetensors(state, path)
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_is_read_alike_by_pyyaml(checkpoint):
    read = yaml.safe_load((checkpoint / "model_config.yaml").read_text())
    expected = CONFIG | {"preprocessing": CONFIG["preprocessing"] | {"resize": [16, 24]}}
    assert read == expected
    config = dfresearch_rs.read_model_config(checkpoint / "model_config.yaml")
    assert (config.name, config.modality, config.dtype) == ("dfresearch-tiny", "video", "float32")
    assert (config.size, config.num_frames, config.frame_rate) == ((16, 24), 3, 12.5)


def test_what_pyyaml_writes_is_read(tmp_path):
    path = tmp_path / "model_config.yaml"
    content = CONFIG | {"preprocessing": {"resize": [16, 24]}, "dtype": "bf16"}
    path.write_text(yaml.dump(content, default_flow_style=False, sort_keys=False))
    config = dfresearch_rs.read_model_config(path)
    assert (config.size, config.num_frames, config.frame_rate) == ((16, 24), 16, None)


def test_a_refused_checkpoint_leaves_the_old_one(checkpoint):
    before = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    state = {"a": torch.zeros(1)}
    for config, source, tensors in [
        (CONFIG | {"modality": "smell"}, SOURCE, state),
        ("name: [", SOURCE, state),
        (CONFIG, "import os\n" + SOURCE, state),
        (CONFIG, SOURCE, {"a": None}),
        (CONFIG | {"x": float("nan")}, SOURCE, state),
    ]:
        with pytest.raises((SubmissionError, ArgumentError)):
            write_checkpoint(checkpoint, config, source, tensors)
    assert {path.name: path.read_bytes() for path in checkpoint.iterdir()} == before
    assert [path.name for path in checkpoint.parent.iterdir()] == ["image"]


def test_the_archive_is_the_same_for_the_same_files(checkpoint, tmp_path):
    report = write_submission(checkpoint, tmp_path / "a.zip")
    (checkpoint / "model.py").touch()
    write_submission(str(checkpoint), str(tmp_path / "b.zip"))
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(report.path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["model_config.yaml", "model.py", "model.safetensors"]
        for member in report.members:
            content = archive.read(member.name)
            assert content == (checkpoint / member.name).read_bytes()
            assert (member.size, member.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert report.size == report.path.stat().st_size
    assert report.warnings == []


def test_an_archive_that_fails_its_check_is_not_left_behind(checkpoint, tmp_path):
    archive = tmp_path / "out" / "a.zip"
    seen = []

    def verify(path):
        seen.append(zipfile.ZipFile(path).namelist())
        raise RuntimeError("does not load")

    with pytest.raises(RuntimeError, match="does not load"):
        write_submission(checkpoint, archive, verify=verify)
    assert len(seen[0]) == 3
    assert list(archive.parent.iterdir()) == []


def test_missing_files_and_spoilt_weights_are_named(checkpoint, tmp_path):
    weights = checkpoint / "model.safetensors"
    save_safetensors({"a": torch.tensor([float("nan")])}, weights)
    assert "NaN or infinity in a" in write_submission(checkpoint, tmp_path / "a.zip").warnings[0]
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(SubmissionError, match="announces"):
        write_submission(checkpoint, tmp_path / "b.zip")
    weights.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        write_submission(checkpoint, tmp_path / "b.zip")
    assert str(caught.value.filename) == str(weights)


def test_the_source_is_checked():
    with pytest.raises(SubmissionError, match=r"mine\.py: line 1: `import os` imports \"os\""):
        dfresearch_rs.check_model_source("import os\n" + SOURCE, "mine.py")
    assert dfresearch_rs.check_model_source(SOURCE) == []
    assert "line 3" in dfresearch_rs.check_model_source(SOURCE + "model.eval()\n")[0]
