"""Downloads as the Python side sees them: what the native part is asked for, and what is made of its answers.

The native part is a stand-in here, which only writes down what it is asked for; fetching itself is tested elsewhere.
"""

import inspect
from types import SimpleNamespace

import pytest
from PIL import Image

import dfresearch_rs
import prepare
import train_full
from dfresearch import data, download
from dfresearch.training import run_to_exit_code

DEFINITIONS = """\
datasets:
  - {name: photos, path: owner/photos, modality: image, media_type: real, source_format: parquet}
  - {name: faces, path: owner/faces, modality: image, media_type: real, archives_per_dataset: -1}
  - {name: renders, path: owner/renders, modality: image, media_type: synthetic, include_paths: [train]}
  - {name: edits, path: owner/edits, modality: image, media_type: semisynthetic}
"""


def outcome(name, status="OK", samples=5, wanted=5, size=1000, reason=""):
    return SimpleNamespace(name=name, status=status, samples=samples, wanted=wanted, bytes=size, reason=reason)


class Native:
    """Stands for the functions that fetch: every dataset has five samples unless `outcomes` says otherwise."""

    def __init__(self, monkeypatch):
        self.calls, self.refreshes, self.outcomes, self.error = [], [], {}, None
        self.state, self.lines = "replaced", ["definitions: new ones from somewhere", "  image/a: new"]
        for name in ("prepare_datasets", "plan_datasets", "refresh_configs"):
            monkeypatch.setattr(dfresearch_rs, name, getattr(self, name), raising=False)

    def refresh_configs(self, cache_dir, force):
        self.refreshes.append((cache_dir, force))
        if self.error is not None:
            raise self.error
        return SimpleNamespace(state=self.state, lines=self.lines)

    def prepare_datasets(self, cache_dir, definitions, *, max_samples, workers, seed, retry, max_disk_bytes, progress):
        options = {"max_samples": max_samples, "workers": workers, "seed": seed, "retry": retry}
        self.calls.append((cache_dir, definitions, options | {"max_disk_bytes": max_disk_bytes}, progress))
        names = [definition["name"] for definition in definitions]
        return SimpleNamespace(datasets=[self.outcomes.get(name, outcome(name)) for name in names])

    def plan_datasets(self, cache_dir, definitions, *, max_samples, workers, seed, retry, max_disk_bytes):
        rows = [
            ("photos", "real", "complete", 2, 5, 0, ""),
            ("faces", "real", "fetch", 12, 500, 1_250_000_000, "2 zip"),
            ("edits", "semisynthetic", "unknown", None, None, None, "offline"),
        ]
        return [planned(*row) for row in rows]


def planned(*values):
    fields = ("name", "media_type", "status", "files", "samples", "bytes", "note")
    return SimpleNamespace(**dict(zip(fields, values, strict=True)))


@pytest.fixture
def native(monkeypatch):
    return Native(monkeypatch)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    definitions = tmp_path / "cache" / "gasbench_configs" / "image_datasets.yaml"
    definitions.parent.mkdir(parents=True)
    definitions.write_text(DEFINITIONS)
    return tmp_path / "cache"


def command(*arguments):
    return run_to_exit_code(lambda: prepare.run(prepare.parse_arguments(arguments)))


def test_a_download_asks_for_every_definition_with_the_defaults(cache, native, capsys):
    assert command() == 0
    assert native.refreshes == [(cache, False)]
    ((asked_cache, definitions, options, progress),) = native.calls
    assert asked_cache == cache
    assert definitions == data.load_dataset_config("image")["datasets"]
    assert options == {"max_samples": 500, "workers": 4, "seed": 42, "retry": False, "max_disk_bytes": None}
    assert callable(progress)
    output = capsys.readouterr().out.splitlines()
    assert output[:2] == native.lines
    # No terminal: a line for each dataset, and the totals.
    assert output[2:] == [
        *(f"{name}: OK, 5 of 5 samples, 1.0 kB" for name in ("photos", "faces", "renders", "edits")),
        "4 datasets: 4 OK, 0 not; 20 samples, 4.0 kB fetched",
    ]


def test_the_command_line_reaches_the_download(cache, native):
    arguments = "--max-samples 7 --workers 3 --seed 9 --retry --max-disk-gb 1.5 --refresh-configs"
    chosen = "--datasets fa* --datasets [pr]* --media-type real"
    assert command(*arguments.split(), *chosen.split()) == 0
    assert native.refreshes == [(cache, True)]
    ((_cache, definitions, options, _progress),) = native.calls
    assert [definition["name"] for definition in definitions] == ["photos", "faces"]
    assert options == {"max_samples": 7, "workers": 3, "seed": 9, "retry": True, "max_disk_bytes": 1_500_000_000}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--datasets", "nothing-*"], "'nothing-*' fits none of 4 names, such as photos"),
        (["--datasets", "photos", "--media-type", "synthetic"], "none of the chosen datasets is synthetic"),
    ],
)
def test_a_choice_of_nothing_is_an_error(cache, native, capsys, arguments, message):
    assert command(*arguments) == 1
    assert message in capsys.readouterr().err
    assert native.calls == []


def test_what_failed_is_listed_with_its_reason(cache, native, capsys):
    native.outcomes = {
        "faces": outcome("faces", "GATED", 0, 5, 0, "ask for access at https://host/owner/faces"),
        "edits": outcome("edits", "PARTIAL", 3, 5, 600, "two archives are broken"),
    }
    assert command() == 0
    lines = capsys.readouterr().out.splitlines()
    assert "faces    GATED        0/5  ask for access at https://host/owner/faces" in lines
    assert "edits    PARTIAL      3/5  two archives are broken" in lines
    assert lines[-1] == "4 datasets: 2 OK, 2 not; 13 samples, 2.6 kB fetched"
    native.outcomes = {name: outcome(name, "FAILED", 0, 5, 0, "no route") for name in ("photos", "faces")}
    assert command("--media-type", "real") == 1
    assert "not a single sample" in capsys.readouterr().err


def test_what_was_filled_by_hand_is_kept_and_counted(cache, native, capsys):
    folder = cache / "datasets" / "image" / "photos"
    folder.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number:06}.png")
    native.outcomes = {"photos": outcome("photos", "KEPT", 0, 0, 0, "filled by hand")}
    assert data.download_all_datasets("image", progress=False) == {"photos": 3, "faces": 5, "renders": 5, "edits": 5}
    assert data.download_and_cache_dataset("photos", "owner/photos", "image") == folder
    assert command("--datasets", "photos") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3] == "1 of 1 datasets needed nothing"
    assert lines[-2].startswith("1 KEPT: filled by hand or by another program and used as they are")
    assert lines[-1] == "1 datasets: 0 OK, 1 KEPT, 0 not; 0 samples, 0 B fetched"


def test_a_plan_says_once_what_many_datasets_share():
    rows = [(f"far-{number}", "real", "unknown", None, None, None, "no route") for number in range(4)]
    rows.append(("mine", "real", "kept", 0, 500, 0, "filled by hand"))
    _header, *lines, note, totals = download.plan_table([planned(*row) for row in rows]).splitlines()
    assert [line.split()[-1] for line in lines] == ["(1)"] * 4 + ["hand"]
    assert note == "(1) no route"
    assert totals == "5 datasets: 0 complete, 1 kept, 4 to fetch; how large they are is not known"


def test_a_dry_run_prints_a_plan_and_fetches_nothing(cache, native, capsys):
    assert command("--dry-run") == 0
    assert native.calls == []
    *rows, totals = capsys.readouterr().out.splitlines()[2:]
    assert [row.split() for row in rows] == [
        ["dataset", "type", "plan", "files", "samples", "size", "note"],
        ["photos", "real", "complete", "2", "5", "0", "B"],
        ["faces", "real", "fetch", "12", "500", "1.2", "GB", "2", "zip"],
        ["edits", "semisynthetic", "unknown", "?", "?", "?", "offline"],
    ]
    assert totals == "3 datasets: 1 complete, 2 to fetch; at most 1.2 GB in the 1 whose size is known"


@pytest.mark.parametrize("modality", prepare.MODALITIES)
def test_without_definitions_the_way_by_hand_is_told(tmp_path, monkeypatch, native, capsys, modality):
    monkeypatch.setattr(data, "CACHE_DIR", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    native.error = dfresearch_rs.DfresearchError("https://host: no route; set DFRESEARCH_CONFIG_URL")
    assert command("--modality", modality) == 1
    errors = capsys.readouterr().err
    assert errors.startswith("error: https://host: no route; set DFRESEARCH_CONFIG_URL\n")
    assert str(tmp_path / "cache" / "datasets" / modality) in errors
    assert errors.endswith(f"make demo-{modality}\n")
    # What it describes works.
    if modality == "image":
        definition = errors[errors.index("datasets:\n") : errors.index("  3. ")]
        (tmp_path / "datasets").mkdir()
        (tmp_path / "datasets" / "image.yaml").write_text(definition)
        (tmp_path / "cache/datasets/image/NAME").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "cache/datasets/image/NAME/a.png")
        assert prepare.verify_cache("image") == 1
        # A person's own definitions are enough to go on with.
        capsys.readouterr()
        assert command() == 0
        assert "not refreshed, those that are there are used: https://host: no route" in capsys.readouterr().out
        assert [definition["name"] for definition in native.calls[0][1]] == ["NAME"]
    native.error = None
    assert command("--modality", "audio") == 1
    assert "no audio dataset is defined" in capsys.readouterr().err


# As functions


def test_the_signatures_are_those_that_scripts_use():
    parameters = {
        function.__name__: str(inspect.signature(function).replace(return_annotation=inspect.Signature.empty))
        for function in (prepare.download_datasets, data.download_all_datasets)
    }
    assert parameters == {
        "download_datasets": "(modality: str, max_workers: int = 4, max_samples: int = 500)",
        "download_all_datasets": (
            "(modality: str, max_workers: int = 4, max_samples_per_dataset: int = 500, progress: bool = True)"
        ),
    }
    names = " ".join(inspect.signature(data.download_and_cache_dataset).parameters)
    assert names == (
        "dataset_name hf_path modality max_samples media_type source_format data_columns include_paths exclude_paths "
        "media_per_archive archives_per_dataset"
    )


def test_all_datasets_are_downloaded_quietly_where_asked_for(cache, native, capsys):
    native.outcomes = {"faces": outcome("faces", "FAILED", 0, 5, 0, "no route")}
    counts = data.download_all_datasets("image", max_workers=2, max_samples_per_dataset=5, progress=False)
    assert counts == {"photos": 5, "faces": 0, "renders": 5, "edits": 5}
    ((_cache, _definitions, options, progress),) = native.calls
    assert (options["workers"], options["max_samples"], progress) == (2, 5, None)
    assert capsys.readouterr().out == ""
    assert native.refreshes == []


def test_a_script_s_own_configuration_is_downloaded(cache, native, monkeypatch):
    definition = {"name": "mine", "path": "owner/mine", "modality": "image", "media_type": "real"}
    monkeypatch.setattr(data, "load_dataset_config", lambda modality, force_refresh=False: {"datasets": [definition]})
    assert prepare.download_datasets("image", max_workers=1, max_samples=3) == {"mine": 5}
    assert native.calls[0][1] == [definition]


def test_a_full_training_downloads_what_its_command_line_says(cache, native, capsys):
    arguments = train_full.parse_arguments(["--download-only", "--workers", "3", "--max-samples", "9"])
    assert run_to_exit_code(lambda: train_full.run(arguments)) == 0
    ((asked_cache, definitions, options, _progress),) = native.calls
    assert (asked_cache, len(definitions)) == (cache, 4)
    assert (options["workers"], options["max_samples"]) == (3, 9)
    assert "4 datasets: 4 OK" in capsys.readouterr().out


def test_one_dataset_is_downloaded_by_its_path(cache, native):
    folder = data.download_and_cache_dataset(
        "mine",
        "owner/mine",
        "video",
        max_samples=9,
        source_format="zip",
        include_paths=("train",),
        media_per_archive=-1,
    )
    assert folder == cache / "datasets" / "video" / "mine"
    ((_cache, definitions, options, _progress),) = native.calls
    assert definitions == [
        {
            "name": "mine",
            "path": "owner/mine",
            "modality": "video",
            "media_type": "synthetic",
            "source": "huggingface",
            "source_format": "zip",
            "include_paths": ["train"],
            "media_per_archive": -1,
            "archives_per_dataset": 5,
        }
    ]
    assert options["max_samples"] == 9
    native.outcomes = {"mine": outcome("mine", "GATED", 0, 5, 0, "ask at https://host/owner/mine")}
    with pytest.raises(dfresearch_rs.DfresearchError, match="mine: GATED: ask at https://host/owner/mine"):
        data.download_and_cache_dataset("mine", "owner/mine", "image")


def test_a_forced_configuration_is_fetched_first_and_an_old_one_is_warned_of(cache, native):
    assert len(data.load_dataset_config("image")["datasets"]) == 4
    assert native.refreshes == []
    data.load_dataset_config("image", force_refresh=True)
    assert native.refreshes == [(cache, True)]
    native.state, native.lines = "kept", ["definitions: not refreshed, 3 days old"]
    with pytest.warns(UserWarning, match="3 days old"):
        assert data.refresh_configs(force=False).state == "kept"
    assert native.refreshes[-1] == (cache, False)


def test_tables_keep_their_columns():
    plans = [
        planned("a" * 40, "real", "fetch", 1, 2, 3, "note"),
        planned("b", "synthetic", "fetch", 1000, 2, 3, "note"),
    ]
    header, first, second, _totals = download.plan_table(plans).splitlines()
    assert first.index("note") == second.index("note") == header.index("note")
    assert first.index(" 1 ") + len(" 1") == second.index(" 1000 ") + len(" 1000")
