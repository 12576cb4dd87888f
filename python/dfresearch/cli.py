"""The `dfresearch` command: runs the scripts of the checkout that it is called in.

    dfresearch prepare --demo --modality image
    dfresearch train --modality image --model efficientnet-b4
    dfresearch evaluate --modality image
    dfresearch export --modality image --model efficientnet-b4

Run it in the folder of the checkout. Everything after the command goes to the command's script, `--help` too. `train`
takes `--modality` itself, since each modality has a script of its own.
"""

import argparse
import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

PROJECT_NAME = "dfresearch"
COMMANDS = ("prepare", "train", "evaluate", "export")
# The exit code of a wrong command line, argparse's own.
EXIT_USAGE = 2


def find_script(command: str, modality: str, folder: Path) -> Path:
    """Return the script of `command` in the checkout `folder`.

    Raises:
        FileNotFoundError: `folder` is no checkout, or the checkout has no script for the modality.
    """
    if not _is_checkout(folder):
        raise FileNotFoundError(
            f"{folder} is not a dfresearch checkout: change to the folder that train_image.py and pyproject.toml lie in"
        )
    script = folder / (f"train_{modality}.py" if command == "train" else f"{command}.py")
    if not script.is_file():
        raise FileNotFoundError(f"{script} is missing: this checkout cannot {command} for the modality {modality!r}")
    return script


def _is_checkout(folder: Path) -> bool:
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError):
        return False
    return project.get("project", {}).get("name") == PROJECT_NAME


def main(arguments: Sequence[str] | None = None) -> None:
    """Replace this process by the command's script, so that its exit code, and Ctrl-C, are the command's."""
    command, *script_arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in ("-h", "--help"):
        print(__doc__)
        return
    if command not in COMMANDS:
        print(f"{PROJECT_NAME}: {command!r} is none of the commands {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    modality = "image"
    if command == "train":
        parser = argparse.ArgumentParser(prog=f"{PROJECT_NAME} train", add_help=False, allow_abbrev=False)
        parser.add_argument("--modality", default=modality)
        known, script_arguments = parser.parse_known_args(script_arguments)
        modality = known.modality
    try:
        script = find_script(command, modality, Path.cwd())
    except FileNotFoundError as error:
        print(f"{PROJECT_NAME}: {error}", file=sys.stderr)
        sys.exit(EXIT_USAGE)
    os.execv(sys.executable, [sys.executable, str(script), *script_arguments])


if __name__ == "__main__":
    main()
