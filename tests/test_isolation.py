"""Tests see nothing of what a person has set: no variables, no `.env`, in subprocesses neither."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Asks for the settings, after reading a `.env` beside the script as the project's scripts do.
SCRIPT = """
from dotenv import load_dotenv
load_dotenv()
import os
print(sorted(name for name in os.environ if name.startswith("DFRESEARCH_")))
"""

INNER_TEST = """
import os
from pathlib import Path
from dotenv import load_dotenv
load_dotenv(Path(__file__).with_name(".env"))

IMPORTED_WITH = sorted(name for name in os.environ if name.startswith("DFRESEARCH_"))

def test_leaves_a_setting():
    assert IMPORTED_WITH == []
    os.environ["DFRESEARCH_RESULTS"] = "/tmp/left-behind"

def test_does_not_see_it():
    assert "DFRESEARCH_RESULTS" not in os.environ
"""


def test_a_script_under_test_does_not_read_the_env_file(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / ".env").write_text("DFRESEARCH_RESULTS=theirs\n")
    command = [sys.executable, "script.py"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("has_env_file", [False, True])
def test_a_test_run_forgets_a_person_s_settings(tmp_path, has_env_file):
    (tmp_path / "conftest.py").write_bytes(Path(__file__).with_name("conftest.py").read_bytes())
    (tmp_path / "test_inner.py").write_text(INNER_TEST)
    if has_env_file:
        (tmp_path / ".env").write_text("DFRESEARCH_RESULTS=theirs\n")
    environment = os.environ | {"DFRESEARCH_RESULTS": "/theirs", "DFRESEARCH_CACHE": "/theirs"}
    del environment["PYTHON_DOTENV_DISABLED"]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_inner.py"]
    finished = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout
