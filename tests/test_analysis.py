"""What the report counts, and the notebook that shows it, on an example ledger."""

import json
import math
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from matplotlib.figure import Figure
from nbclient import NotebookClient

from dfresearch.experiment import report
from dfresearch.experiment.ledger import Experiment, append_experiment, read_ledger

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "analysis.ipynb"

# (score, memory, status, description)
EXAMPLE = [
    (0.0, 0.0, "crash", "first try: the path was wrong"),
    (0.70, 8.0, "keep", "baseline"),
    (0.90, 8.0, "discard", "trained on the validation split by mistake"),
    (0.72, 8.0, "keep", "label smoothing | 0.1"),
    (0.71, 8.5, "keep", "same score with thirty lines less"),
    (0.0, 0.0, "crash", "batch size 256: out of memory"),
    (0.78, 12.0, "keep", "larger model"),
    (0.60, 12.0, "discard", "no warm-up"),
]


@pytest.fixture
def experiments(tmp_path):
    for number, (score, memory, status, description) in enumerate(EXAMPLE):
        entry = Experiment(f"{number:07x}", score, score, memory, status, description)
        append_experiment(entry, tmp_path / "results.tsv")
    return read_ledger(tmp_path / "results.tsv")


@pytest.fixture
def axes():
    return Figure().subplots()


def test_outcomes_are_counted(experiments):
    assert report.count_outcomes(experiments) == {"keep": 4, "discard": 2, "crash": 2}
    assert report.count_outcomes([]) == {"keep": 0, "discard": 0, "crash": 0}


def test_the_running_best_is_that_of_what_was_kept(experiments):
    best = report.running_best(experiments)
    assert math.isnan(best[0])
    assert best[1:] == [0.70, 0.70, 0.72, 0.72, 0.72, 0.78, 0.78]


def test_improvements_are_gains_over_the_best_before(experiments):
    found = report.improvements(experiments)
    assert [(entry.number, entry.experiment.description) for entry in found] == [
        (7, "larger model"),
        (4, "label smoothing | 0.1"),
    ]
    assert [entry.gain for entry in found] == pytest.approx([0.06, 0.02])
    assert report.improvements(experiments[:2]) == []


def test_tables_hold_what_they_name(experiments):
    kept = report.kept_table(experiments).splitlines()
    assert len(kept) == 2 + 4
    assert kept[2].split("|")[1].strip() == "2"
    assert r"label smoothing \| 0.1" in kept[3]
    assert len({len(line) for line in kept}) == 1
    assert "+0.060000" in report.improvements_table(experiments).splitlines()[2]
    assert len(report.improvements_table(experiments, count=1).splitlines()) == 3
    assert ["25 %" in line for line in report.outcomes_table(experiments).splitlines()[2:]] == [
        False,
        True,
        True,
        False,
    ]


def test_the_scores_are_drawn_as_they_are(experiments, axes):
    report.plot_scores(axes, experiments)
    discarded, kept = (collection.get_offsets().tolist() for collection in axes.collections)
    assert discarded == [[3, 0.90], [8, 0.60]]
    assert kept == [[2, 0.70], [4, 0.72], [5, 0.71], [7, 0.78]]
    crashes, best = axes.lines
    assert crashes.get_xdata().tolist() == [1, 6]
    assert best.get_ydata().tolist()[1:] == report.running_best(experiments)[1:]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["discard", "keep", "crash", "running best"]


def test_the_memory_of_crashes_is_not_drawn(experiments, axes):
    report.plot_memory(axes, experiments)
    discarded, kept = (collection.get_offsets().tolist() for collection in axes.collections)
    assert discarded == [[3, 8.0], [8, 12.0]]
    assert [height for _, height in kept] == [8.0, 8.0, 8.5, 12.0]
    assert axes.get_ylim()[0] == 0


def test_outcomes_are_drawn_as_they_are_counted(experiments, axes):
    report.plot_outcomes(axes, experiments)
    assert [bar.get_height() for bar in axes.patches] == [4, 2, 2]


@pytest.mark.parametrize("draw", [report.plot_memory, report.plot_outcomes, report.plot_scores])
def test_a_ledger_without_experiments_is_drawn_too(axes, draw):
    draw(axes, [])
    assert axes.get_title()


def test_the_report_is_printed(experiments, tmp_path):
    command = [sys.executable, "-W", "error", "-m", "dfresearch.experiment.report", tmp_path / "results.tsv"]
    process = subprocess.run(command, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout == report.text_report(experiments)
    assert "Baseline 0.700000, best 0.780000: +0.080000" in process.stdout
    (tmp_path / "results.tsv").unlink()
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr.startswith("error: ")


# The notebook


def run_notebook(folder, monkeypatch):
    """Execute the notebook in `folder` by a kernel of this Python; a person's home has no part in it."""
    for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(folder / ".jupyter"))
    # Without a kernel that somebody installed, Jupyter starts ipykernel with the Python that asks for it.
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "python"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    return client.execute()


def test_the_notebook_runs_on_a_ledger(experiments, tmp_path, monkeypatch):
    notebook = run_notebook(tmp_path, monkeypatch)
    cells = {cell.id: cell for cell in notebook.cells}
    outputs = {name: cell.get("outputs", []) for name, cell in cells.items()}
    assert outputs["read"][0]["text"] == "8 experiments\n"
    for name in ("outcomes", "scores", "memory"):
        assert any("image/png" in output.get("data", {}) for output in outputs[name]), name
    for name, table in (
        ("outcomes", report.outcomes_table(experiments)),
        ("kept", report.kept_table(experiments)),
        ("improvements", report.improvements_table(experiments)),
    ):
        assert any(output.get("data", {}).get("text/markdown") == table for output in outputs[name]), name


def test_the_notebook_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    # As written by hand or by Jupyter: no machine's versions or paths.
    assert json.loads(NOTEBOOK.read_text(encoding="utf-8"))["metadata"].keys() == {"kernelspec", "language_info"}
