"""The module refuses to be loaded where it cannot work, and says why."""

import subprocess
import sys

import dfresearch_rs


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)


def test_a_torch_of_another_version_is_refused_with_both_versions_named():
    script = """
import sys, types
torch = types.ModuleType("torch")
torch.__version__ = "2.12.1+cpu"
sys.modules["torch"] = torch
import dfresearch_rs
"""
    done = run(script)
    assert done.returncode == 1
    assert "ImportError" in done.stderr
    assert "built for torch 2.13.0, but torch 2.12.1+cpu is installed" in done.stderr


def test_the_module_imports_torch_by_itself():
    done = run("import dfresearch_rs; print(dfresearch_rs.__version__)")
    assert (done.returncode, done.stdout.strip()) == (0, dfresearch_rs.__version__)


def test_everything_exported_exists():
    for name in dfresearch_rs.__all__:
        assert hasattr(dfresearch_rs, name), name
    assert list(dfresearch_rs.__all__) == sorted(dfresearch_rs.__all__)


def test_exceptions_share_a_base():
    errors = [name for name in dfresearch_rs.__all__ if name.endswith("Error")]
    assert len(errors) > 5
    for name in errors:
        assert issubclass(getattr(dfresearch_rs, name), dfresearch_rs.DfresearchError)
