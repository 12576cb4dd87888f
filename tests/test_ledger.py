"""The ledger takes what it can give back, and names the line that it can't read."""

import csv
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfresearch.experiment import ledger
from dfresearch.experiment.ledger import Experiment, LedgerError, append_experiment, read_ledger
from dfresearch_rs import DfresearchError

HEADER = "commit\tsn34_score\taccuracy\tmemory_gb\tstatus\tdescription"
BASELINE = Experiment("a1b2c3d", 0.78125, 0.842, 9.9, "keep", "baseline")
LOG = "epoch 1: loss 0.7\n---\nmodel: hiera\nsn34_score: 0.25\naccuracy: 0.5\npeak_vram_mb: 2048\n"


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    return tmp_path


def test_a_ledger_is_begun_with_its_header_and_keeps_its_order():
    second = Experiment("b2c3d4e" * 5, 0, 0, 0, "crash", 'batch size 128: "out of memory"')
    append_experiment(BASELINE)
    append_experiment(second)
    text = Path("results.tsv").read_text()
    assert text.splitlines()[:2] == [HEADER, "a1b2c3d\t0.781250\t0.8420\t9.9\tkeep\tbaseline"]
    assert text.endswith('out of memory"\n')
    assert read_ledger() == [BASELINE, second]
    assert [path.name for path in Path().iterdir()] == ["results.tsv"]


descriptions = st.text(st.characters(exclude_characters="\t", codec="utf-8"), min_size=1).filter(
    lambda text: text.strip() and text.splitlines() == [text]
)


@settings(max_examples=60)
@given(
    entries=st.lists(
        st.builds(
            Experiment,
            commit=st.text("0123456789abcdef", min_size=7, max_size=40),
            sn34_score=st.integers(0, 10**6).map(lambda number: number / 10**6),
            accuracy=st.integers(0, 10**4).map(lambda number: number / 10**4),
            memory_gb=st.integers(0, 2000).map(lambda number: number / 10),
            status=st.sampled_from(ledger.STATUSES),
            description=descriptions,
        ),
        max_size=4,
    )
)
def test_what_is_appended_is_read_back(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("ledger") / "results.tsv"
    path.write_text(HEADER + "\n")
    for entry in entries:
        append_experiment(entry, path)
    assert read_ledger(path) == entries
    with path.open(newline="", encoding="utf-8") as file:
        assert len(list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))) == 1 + len(entries)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"commit": "HEAD"}, "commit: 'HEAD' is not"),
        ({"sn34_score": 1.5}, "sn34_score: 1.5 is not from 0 to 1"),
        ({"accuracy": float("nan")}, "accuracy: nan is not"),
        ({"memory_gb": -1.0}, "memory_gb: -1.0 is no"),
        ({"memory_gb": float("inf")}, "memory_gb: inf is no"),
        ({"status": "kept"}, "status: 'kept' is none of keep, discard, crash"),
        ({"description": " "}, "description: it is empty"),
        ({"description": "two\tcolumns"}, "has a tab or a line break"),
        ({"description": "two\nlines"}, "has a tab or a line break"),
        ({"description": "line\n"}, "has a tab or a line break"),
        ({"description": "two\u2028lines"}, "has a tab or a line break"),
        ({"description": "\udce9"}, "is not UTF-8 text"),
    ],
)
def test_what_a_ledger_cannot_hold_is_refused(changes, message):
    values = {name: getattr(BASELINE, name) for name in ledger.COLUMNS}
    with pytest.raises(LedgerError) as caught:
        Experiment(**values | changes)
    assert message in str(caught.value)
    assert isinstance(caught.value, DfresearchError)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "results.tsv:1: the first line names the columns"),
        (["commit,sn34_score,accuracy,memory_gb,status,description"], "results.tsv:1: the first line"),
        ([BASELINE.line()], "results.tsv:1: the first line"),
        ([HEADER, BASELINE.line(), "b2c3d4e 0.5 0.5 1.0 keep spaces"], "results.tsv:3: 1 columns, separated by tabs"),
        ([HEADER, "b2c3d4e\t0.5\t0.5\t1.0\tkeep"], "results.tsv:2: 5 columns"),
        ([HEADER, BASELINE.line() + "\tmore"], "results.tsv:2: 7 columns"),
        ([HEADER, "", "b2c3d4e\thalf\t0.5\t1.0\tkeep\tx"], "results.tsv:3: sn34_score: 'half' is no number"),
        ([HEADER, "b2c3d4e\t0.5\t0.5\t1.0\tgood\tx"], "results.tsv:2: status: 'good' is none of"),
    ],
)
def test_a_broken_line_is_named_and_nothing_is_appended(lines, message):
    path = Path("results.tsv")
    path.write_text("\n".join(lines) + "\n")
    before = path.read_bytes()
    for action in (read_ledger, lambda: append_experiment(BASELINE)):
        with pytest.raises(LedgerError) as caught:
            action()
        assert message in str(caught.value)
    assert path.read_bytes() == before


def test_bytes_that_are_no_text_are_named_with_their_line():
    Path("results.tsv").write_bytes(HEADER.encode() + b"\na1b2c3d\t0\t0\t0\tkeep\tcaf\xe9\n")
    with pytest.raises(LedgerError, match=r"results\.tsv:2: this is not UTF-8"):
        read_ledger()


def test_what_editors_leave_is_read(workplace):
    path = Path("results.tsv")
    path.write_bytes(f"{HEADER}\r\n{BASELINE.line()}\r\n\r\n{BASELINE.line()}".encode())
    assert read_ledger() == [BASELINE, BASELINE]
    append_experiment(BASELINE)
    assert read_ledger() == [BASELINE] * 3


def test_no_line_is_lost_when_several_append():
    numbers = [f"{number:07x}" for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: append_experiment(Experiment(number, 0.5, 0.5, 0, "keep", "x")), numbers))
    assert sorted(entry.commit for entry in read_ledger()) == numbers


def test_a_ledger_keeps_its_permissions():
    append_experiment(BASELINE)
    Path("results.tsv").chmod(0o640)
    append_experiment(BASELINE)
    assert Path("results.tsv").stat().st_mode & 0o777 == 0o640


def test_without_a_ledger_there_is_nothing_to_read():
    with pytest.raises(FileNotFoundError):
        read_ledger()


# Command


def test_the_command_reads_the_log_and_the_commit(workplace, capsys):
    identity = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost"]
    subprocess.run(["git", "init", "--quiet"], check=True)
    subprocess.run(["git", *identity, "commit", "--quiet", "--allow-empty", "-m", "Begin"], check=True)
    Path("run.log").write_text("---\nsn34_score: 0.9\n" + LOG)
    assert ledger.main(["keep", "larger crops"]) == 0
    assert ledger.main(["crash", "out of memory", "--log", "missing.log"]) == 0
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    kept, crashed = read_ledger()
    assert kept == Experiment(kept.commit, 0.25, 0.5, 2.0, "keep", "larger crops")
    assert commit.startswith(kept.commit)
    assert (crashed.sn34_score, crashed.accuracy, crashed.memory_gb) == (0, 0, 0)
    assert capsys.readouterr().out.splitlines() == [kept.line(), crashed.line()]


@pytest.mark.parametrize(
    ("log", "arguments", "message"),
    [
        ("epoch 1: loss 0.7\n", ["keep", "x", "--commit", "a1b2c3d"], "run.log ends without sn34_score, accuracy"),
        ("---\nsn34_score: oops\naccuracy: 1\npeak_vram_mb: 0\n", ["keep", "x", "--commit", "a1b2c3d"], "is no number"),
        (LOG, ["keep", "x\ty", "--commit", "a1b2c3d"], "has a tab"),
        (LOG, ["keep", "x"], "there is no commit here"),
        (LOG, ["keep", "x", "--commit", "a1b2c3d", "--log", "other.log"], "other.log: there is no such log"),
    ],
)
def test_the_command_writes_nothing_that_is_not_so(log, arguments, message, capsys):
    Path("run.log").write_text(log)
    assert ledger.main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert not Path("results.tsv").exists()


def test_the_command_runs_as_a_module(workplace):
    Path("run.log").write_text(LOG)
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "dfresearch.experiment.ledger",
        "discard",
        "x",
        "--commit",
        "a1b2c3d",
    ]
    process = subprocess.run(command, capture_output=True, text=True)
    assert (process.returncode, process.stderr) == (0, "")
    assert read_ledger()[0].status == "discard"
