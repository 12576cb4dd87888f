"""Keeps tests away from what a person has: their `.env`, their cache, their checkpoints.

Scripts read `.env` when they are imported, which is while pytest collects tests: hence the statements at the top, and
environment variables, which subprocesses inherit.
"""

import os
import signal

import cv2  # noqa: F401 -- before decord, whose zlib would be the one that OpenCV's PNG decoder finds
import pytest

# python-dotenv's own switch.
DOTENV_SWITCH = "PYTHON_DOTENV_DISABLED"


def settings_in_the_environment():
    return [name for name in os.environ if name.startswith("DFRESEARCH_")]


# A shell has what it runs in the background ignore Ctrl-C, and so would all that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ[DOTENV_SWITCH] = "1"
for name in settings_in_the_environment():
    del os.environ[name]


@pytest.fixture(autouse=True)
def no_settings_of_a_person(monkeypatch):
    """Give every test an environment without settings, whatever an earlier one left there."""
    monkeypatch.setenv(DOTENV_SWITCH, "1")
    for name in settings_in_the_environment():
        monkeypatch.delenv(name)
