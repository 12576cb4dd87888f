"""The tests' local hub in a process of its own, so that serving does not take the interpreter lock of who fetches."""

import multiprocessing
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"

# As the real Hub pages its listings; tests have it send a few entries a page.
PAGE_ENTRIES = 1000

START_SECONDS = 300


@contextmanager
def serve_folders(folders: Mapping[str, Path]) -> Iterator[str]:
    """Serve each folder's files as the dataset repository of its name, from disk; yields the hub's address.

    Raises:
        RuntimeError: the hub does not start; its own reason stands on stderr.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(dict(folders), theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        try:
            if not ours.poll(START_SECONDS):
                raise RuntimeError(f"the local hub is not ready after {START_SECONDS} seconds")
            address = ours.recv()
        except EOFError:
            raise RuntimeError("the local hub ended before it was ready") from None
        yield address
    finally:
        # The server ends with this connection.
        ours.close()
        process.join()


def _serve(folders: Mapping[str, Path], connection: Connection) -> None:
    sys.path.insert(0, str(TESTS))
    from hub import HuggingFaceHub, Repository, huggingface

    huggingface.PAGE_ENTRIES = PAGE_ENTRIES
    with HuggingFaceHub() as hub:
        for name, folder in folders.items():
            repository = hub.add(Repository(name))
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            commit = repository.find(repository.commit({path.relative_to(folder).as_posix(): path for path in paths}))
            for file in commit.files.values():
                # Now, and not on the clock of who asks first. It also brings the file into the page cache.
                assert file.etag
                assert file.content.storage_etag
        connection.send(hub.url)
        with suppress(EOFError):
            connection.recv()
