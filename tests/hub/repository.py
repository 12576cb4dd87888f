"""A dataset repository as a hub keeps it: commits over files, with the hashes that git and Git LFS give them."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

# What a fresh dataset repository's .gitattributes sends to LFS, and what does not fit into git.
LFS_EXTENSIONS = frozenset(
    (
        *("7z", "arrow", "bin", "bz2", "gz", "parquet", "rar", "tar", "tgz", "xz", "zip", "zst"),
        *("flac", "mp3", "ogg", "wav", "bmp", "gif", "png", "tiff", "jpg", "jpeg", "webp", "mp4", "webm"),
    )
)
LFS_SIZE = 10 * 1024 * 1024

READ_BYTES = 1024 * 1024


class Content:
    """The bytes of a file, in memory or on disk.

    What is on disk is read anew for every request, so that a test may serve more than fits into memory.
    """

    def __init__(self, source: bytes | Path) -> None:
        self._source = source
        self.size = len(source) if isinstance(source, bytes) else source.stat().st_size

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from `start` until before `stop`."""
        if isinstance(self._source, bytes):
            return self._source[start:stop]
        with self._source.open("rb") as file:
            file.seek(start)
            return file.read(stop - start)

    def pieces(self) -> Iterator[bytes]:
        for start in range(0, self.size, READ_BYTES):
            yield self.read(start, min(start + READ_BYTES, self.size))

    @cached_property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()

    @cached_property
    def git_blob(self) -> str:
        digest = hashlib.sha1(b"blob %d\0" % self.size)
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()

    @cached_property
    def storage_etag(self) -> str:
        """What object storage says of a file that was uploaded in parts: neither of the hashes above."""
        return f"{hashlib.md5(self.sha256.encode()).hexdigest()}-{1 + self.size // LFS_SIZE}"


@dataclass(frozen=True)
class File:
    """A file of a commit; in LFS, git knows a pointer in its place."""

    content: Content
    in_lfs: bool

    @cached_property
    def pointer(self) -> bytes:
        lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.content.sha256}")
        return "\n".join((*lines, f"size {self.content.size}", "")).encode()

    @cached_property
    def oid(self) -> str:
        return Content(self.pointer).git_blob if self.in_lfs else self.content.git_blob

    @property
    def etag(self) -> str:
        """What the hub calls the file's identity: the content's SHA-256 in LFS, else git's blob id."""
        return self.content.sha256 if self.in_lfs else self.oid


def is_in_lfs(path: str, content: Content) -> bool:
    return content.size >= LFS_SIZE or PurePosixPath(path).suffix[1:].lower() in LFS_EXTENSIONS


@dataclass(frozen=True)
class Commit:
    """Files by path, and what git would call folders and the commit itself."""

    files: Mapping[str, File]
    title: str
    parent: str | None = None
    seconds: int = 1_750_000_000

    @cached_property
    def folders(self) -> dict[str, str]:
        """Path of every folder, the root as "", and its tree id."""
        children: dict[str, dict[str, tuple[str, str]]] = {"": {}}
        for path, file in self.files.items():
            parts = PurePosixPath(path).parts
            for depth in range(1, len(parts)):
                children.setdefault("/".join(parts[:depth]), {})
            children["/".join(parts[:-1])][parts[-1]] = ("100644", file.oid)
        trees: dict[str, str] = {}
        for folder in sorted(children, key=lambda name: name.count("/") + bool(name), reverse=True):
            # Git sorts a folder as if its name ended in a slash.
            entries = sorted(children[folder].items(), key=lambda item: item[0] + "/" * (item[1][0] == "40000"))
            body = b"".join(f"{mode} {name}".encode() + b"\0" + bytes.fromhex(oid) for name, (mode, oid) in entries)
            trees[folder] = hashlib.sha1(b"tree %d\0" % len(body) + body).hexdigest()
            if folder:
                above, _, name = folder.rpartition("/")
                children[above][name] = ("40000", trees[folder])
        return trees

    @cached_property
    def sha(self) -> str:
        author = f"tests <tests@localhost> {self.seconds} +0000"
        lines = [f"tree {self.folders['']}", *([f"parent {self.parent}"] if self.parent else [])]
        text = "\n".join([*lines, f"author {author}", f"committer {author}", "", self.title, ""]).encode()
        return hashlib.sha1(b"commit %d\0" % len(text) + text).hexdigest()

    def listing(self, folder: str, recursive: bool) -> list[str] | None:
        """Paths of what is in a folder, files and folders in one order; none if there is no such folder."""
        if folder not in self.folders:
            return None
        start = f"{folder}/" if folder else ""
        paths = [path for path in (*self.files, *self.folders) if path and path.startswith(start)]
        return sorted(path for path in paths if recursive or "/" not in path[len(start) :])


@dataclass
class Repository:
    """A dataset repository: who may see and read it, its commits, and the names that point to them.

    `gated` is `"auto"` or `"manual"`: everybody sees what files there are, and `readers` (tokens) may fetch them.
    `private`: for anybody but `readers` there is no such repository.
    """

    name: str
    private: bool = False
    gated: str | None = None
    readers: set[str] = field(default_factory=set)
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(
        self, files: Mapping[str, bytes | Path], title: str = "Upload", branch: str = "main", advance: bool = True
    ) -> str:
        """Add a commit that consists of `files` alone, and return its id; the branch moves to it if it should."""
        contents = {path: Content(source) for path, source in files.items()}
        commit = Commit(
            {path: File(content, is_in_lfs(path, content)) for path, content in sorted(contents.items())},
            title,
            self.branches.get(branch),
            1_750_000_000 + 60 * len(self.commits),
        )
        self.commits[commit.sha] = commit
        if advance or branch not in self.branches:
            self.branches[branch] = commit.sha
        return commit.sha

    def find(self, revision: str) -> Commit | None:
        """Return the commit that a branch or a commit id stands for."""
        return self.commits.get(self.branches.get(revision, revision))
