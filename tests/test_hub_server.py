"""The local hub: the official clients take it for the real one, and it says what the real one says."""

import hashlib
import http.client
import json
import os
import subprocess
import sys
from urllib.parse import quote, urlsplit

import httpx
import huggingface_hub
import pytest
from hub import HuggingFaceHub, ModelScopeHub, Repository, faults
from hub.huggingface import PAGE_ENTRIES
from hub.s3 import S3Server
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder

ALICE, BOB = "hf_alice", "hf_bob"

AWKWARD = "data/a folder/schöne Bilder #1 100%41 + 'q' \"x\".zip"

FILES = {
    "README.md": b"# a data set\n",
    "data/train-00000.parquet": bytes(range(256)) * 300,
    "data/notes.json": b"{}",
    AWKWARD: b"not really a zip",
    "empty.txt": b"",
    "größe.png": b"\x89PNG...",
    **{f"many/{number:02}/{name}": f"{number} {name}".encode() for number in range(4) for name in ("a.wav", "b.txt")},
}


def make_repository(name="team/photos", **options):
    repository = Repository(name, **options)
    repository.commit(FILES, "First upload")
    return repository


@pytest.fixture
def hub():
    with HuggingFaceHub([make_repository()], tokens=[ALICE, BOB]) as running:
        yield running


@pytest.fixture
def download(hub, tmp_path):
    """The official client's download of one file, into a cache of its own."""

    def download(path, repository="team/photos", token=False, **options):
        place = {"endpoint": hub.url, "cache_dir": tmp_path / "cache"}
        return hf_hub_download(repository, path, repo_type="dataset", token=token, **place, **options)

    return download


def api_of(hub, token=False):
    return HfApi(endpoint=hub.url, token=token)


def ask(url, method="GET", headers=None):
    """A request by the plainest of clients, which follows nothing: status, headers in lower case, body."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    try:
        connection.request(method, url[len(f"{address.scheme}://{address.netloc}") :], headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


# What there is


def test_the_official_client_reads_what_a_repository_is(hub):
    repository = hub.repositories["team/photos"]
    info = api_of(hub).dataset_info("team/photos", files_metadata=True)
    assert (info.id, info.sha, info.private, info.gated) == ("team/photos", repository.branches["main"], False, False)
    assert info.last_modified.year == 2025
    siblings = {sibling.rfilename: sibling for sibling in info.siblings}
    assert set(siblings) == set(FILES)
    shard = siblings["data/train-00000.parquet"]
    assert (shard.size, shard.lfs.sha256) == (76800, hashlib.sha256(FILES["data/train-00000.parquet"]).hexdigest())
    assert siblings["README.md"].lfs is None


def test_the_official_client_lists_every_page(hub):
    listed = list(api_of(hub).list_repo_tree("team/photos", repo_type="dataset", recursive=True))
    files = {entry.path: entry for entry in listed if isinstance(entry, RepoFile)}
    folders = {entry.path for entry in listed if isinstance(entry, RepoFolder)}
    assert set(files) == set(FILES)
    assert folders == {"data", "data/a folder", "many", *(f"many/{number:02}" for number in range(4))}
    assert {path: entry.size for path, entry in files.items()} == {path: len(data) for path, data in FILES.items()}
    for path, data in FILES.items():
        in_lfs = path.endswith((".parquet", ".zip", ".png", ".wav"))
        assert (files[path].lfs.sha256 if files[path].lfs else None) == (
            hashlib.sha256(data).hexdigest() if in_lfs else None
        )
        if not in_lfs:
            assert files[path].blob_id == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    assert len(hub.record(subject="tree")) == -(-len(listed) // PAGE_ENTRIES) > 2


@pytest.mark.parametrize("expand", [False, True])
def test_the_official_client_lists_one_folder(hub, expand):
    listed = api_of(hub).list_repo_tree("team/photos", "data/a folder", repo_type="dataset", expand=expand)
    [only] = listed
    assert only.path == AWKWARD
    assert (only.last_commit is not None) == (only.security is not None) == expand


def test_hashes_are_git_s_own(tmp_path):
    repository = Repository("team/photos")
    repository.commit({"b/x.txt": b"x", "b.txt": b"y", "b-.txt": b"z", "a/c/d.txt": b"", "ö.txt": b"u"}, "First")
    repository.commit({"b/x.txt": b"x2"}, "Second")

    def git(*arguments, date=""):
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        for role in ("AUTHOR", "COMMITTER"):
            environment |= {f"GIT_{role}_NAME": "tests", f"GIT_{role}_EMAIL": "tests@localhost"}
            environment[f"GIT_{role}_DATE"] = date
        command = ["git", "-C", str(tmp_path), *arguments]
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return finished.stdout.strip()

    git("init", "--quiet")
    for commit in repository.commits.values():
        git("rm", "-rq", "--ignore-unmatch", ".")
        for path, file in commit.files.items():
            place = tmp_path / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.content.read(0, file.content.size))
        git("add", "--all")
        git("commit", "--quiet", "--message", commit.title, date=f"{commit.seconds} +0000")
        assert git("rev-parse", "HEAD") == commit.sha


# Downloads


@pytest.mark.parametrize("path", sorted(FILES))
def test_the_official_client_downloads_every_file(hub, download, path):
    with open(download(path), "rb") as file:
        assert file.read() == FILES[path]


def test_the_official_client_takes_a_snapshot_by_its_environment(hub, tmp_path):
    hub.add(make_repository("team/secret", private=True, readers={ALICE}))
    script = "import huggingface_hub, sys; print(huggingface_hub.snapshot_download(sys.argv[1], repo_type='dataset'))"
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": ALICE,
    }
    command = [sys.executable, "-c", script, "team/secret"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    folder = tmp_path / "hub/datasets--team--secret/snapshots" / hub.repositories["team/secret"].branches["main"]
    assert finished.stdout.strip() == str(folder)
    assert {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    } == FILES
    asked = hub.record(repository="team/secret")
    assert {(exchange.host, exchange.token) for exchange in asked} == {("hub", ALICE), ("storage", None)}


def test_a_broken_download_goes_on_by_range(hub, download, monkeypatch):
    # The client keeps what it has received in chunks, of 10 MiB by default.
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    path = "data/train-00000.parquet"
    hub.inject(faults.short_body(after=30_000, paths=path))
    with open(download(path), "rb") as file:
        assert file.read() == FILES[path]
    first, second = hub.record(subject="content", path=path)
    assert (first.sent, first.complete) == (30_000, False)
    assert (second.status, second.range, second.sent) == (206, (30_000, 76_800), 46_800)


def test_a_revision_is_pinned_whatever_main_does_later(hub, download):
    repository = hub.repositories["team/photos"]
    old = repository.branches["main"]
    new = repository.commit({"README.md": b"# another\n"}, "Start again")
    assert api_of(hub).dataset_info("team/photos").sha == new
    with open(download("README.md"), "rb") as file:
        assert file.read() == b"# another\n"
    with open(download("README.md", revision=old), "rb") as file:
        assert file.read() == FILES["README.md"]


def test_a_renamed_repository_is_found_by_its_old_name(hub, download):
    hub.renamed["team/old-photos"] = "team/photos"
    with open(download("README.md", repository="team/old-photos"), "rb") as file:
        assert file.read() == FILES["README.md"]


# Refusals


def test_what_does_not_exist(hub, download):
    api = api_of(hub)
    for token in (False, ALICE):
        with pytest.raises(RepositoryNotFoundError) as missing:
            download("README.md", repository="team/none", token=token)
        assert missing.value.response.status_code == (404 if token else 401)
    with pytest.raises(RevisionNotFoundError):
        download("README.md", revision="v2")
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info("team/photos", revision="0" * 40)
    with pytest.raises(EntryNotFoundError):
        download("none.txt")
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree("team/photos", "none", repo_type="dataset"))


def test_a_gated_repository_shows_its_files_and_gives_them_to_readers(hub, download):
    hub.add(make_repository("team/faces", gated="manual", readers={ALICE}))
    assert api_of(hub).dataset_info("team/faces").gated == "manual"
    assert len(list(api_of(hub).list_repo_tree("team/faces", repo_type="dataset"))) == 5
    for token, status in ((False, 401), (BOB, 403)):
        with pytest.raises(GatedRepoError) as refused:
            download("README.md", repository="team/faces", token=token)
        assert refused.value.response.status_code == status
    with open(download("README.md", repository="team/faces", token=ALICE), "rb") as file:
        assert file.read() == FILES["README.md"]


def test_a_private_repository_exists_for_its_readers(hub, download):
    hub.add(make_repository("team/secret", private=True, readers={ALICE}))
    for token in (False, BOB):
        with pytest.raises(RepositoryNotFoundError):
            download("README.md", repository="team/secret", token=token)
    assert api_of(hub, ALICE).dataset_info("team/secret").private is True


def test_a_token_that_nobody_has_is_refused_everywhere(hub):
    with pytest.raises(HfHubHTTPError, match="Invalid credentials") as refused:
        api_of(hub, "hf_mallory").dataset_info("team/photos")
    assert refused.value.response.status_code == 401


# What goes over the wire


def test_what_resolving_says(hub):
    repository = hub.repositories["team/photos"]
    commit = repository.commits[repository.branches["main"]]
    for path, status in (("README.md", 307), ("data/train-00000.parquet", 302)):
        file = commit.files[path]
        for method in ("HEAD", "GET"):
            answer, headers, _ = ask(f"{hub.url}/datasets/team/photos/resolve/main/{quote(path)}", method)
            assert answer == status
            assert headers["x-repo-commit"] == commit.sha
            assert headers["x-linked-size"] == str(len(FILES[path]))
            assert headers["x-linked-etag"] == f'"{file.etag}"'
            assert headers["location"].startswith("/" if status == 307 else f"{hub.storage_url}/")
            assert "x-xet-hash" not in headers


def test_the_storage_is_another_host_that_wants_no_token(hub):
    address = f"{hub.url}/datasets/team/photos/resolve/main/data/train-00000.parquet"
    place = ask(address)[1]["location"]
    assert urlsplit(place).hostname != urlsplit(hub.url).hostname
    assert ask(place)[0] == 200
    assert ask(place, headers={"Authorization": f"Bearer {ALICE}"})[0] == 400
    assert ask(place.replace("Signature=", "Signature=0"))[0] == 403


@pytest.mark.parametrize(
    ("asked", "status", "part", "said"),
    [
        ("bytes=0-0", 206, slice(0, 1), "bytes 0-0/76800"),
        ("bytes=76000-", 206, slice(76_000, None), "bytes 76000-76799/76800"),
        ("bytes=-8", 206, slice(-8, None), "bytes 76792-76799/76800"),
        ("bytes=100-99999999", 206, slice(100, None), "bytes 100-76799/76800"),
        ("bytes=76800-", 416, None, "bytes */76800"),
        ("bytes=99999-100000", 416, None, "bytes */76800"),
        ("bytes=5-2", 200, slice(None), None),
        ("bytes=0-1,4-5", 200, slice(None), None),
        ("lines=1-2", 200, slice(None), None),
    ],
)
def test_ranges(hub, asked, status, part, said):
    path = "data/train-00000.parquet"
    place = ask(f"{hub.url}/datasets/team/photos/resolve/main/{path}")[1]["location"]
    answer, headers, body = ask(place, headers={"Range": asked})
    assert (answer, headers.get("content-range")) == (status, said)
    assert body == (FILES[path][part] if part else b"")


def test_a_range_of_another_file_is_not_served(hub):
    path = "data/train-00000.parquet"
    place = ask(f"{hub.url}/datasets/team/photos/resolve/main/{path}")[1]["location"]
    etag = ask(place, "HEAD")[1]["etag"]
    assert ask(place, headers={"Range": "bytes=8-", "If-Range": etag})[0] == 206
    assert ask(place, headers={"Range": "bytes=8-", "If-Range": '"another"'})[::2] == (200, FILES[path])
    assert ask(place, headers={"If-None-Match": etag})[0] == 304


def test_a_file_on_disk_is_served_like_one_in_memory(hub, tmp_path):
    (tmp_path / "large.bin").write_bytes(bytes(range(256)) * 10_000)
    repository = hub.add(Repository("team/large"))
    repository.commit({"large.bin": tmp_path / "large.bin"})
    place = ask(f"{hub.url}/datasets/team/large/resolve/main/large.bin")[1]["location"]
    assert ask(place, headers={"Range": "bytes=1000000-1000003"})[2] == bytes([64, 65, 66, 67])
    assert hashlib.sha256(ask(place)[2]).hexdigest() == repository.find("main").files["large.bin"].etag


def test_connections_are_kept(hub):
    with httpx.Client() as client:
        addresses = {
            client.get(f"{hub.url}/api/datasets/team/photos").extensions["network_stream"].get_extra_info("client_addr")
            for _ in range(5)
        }
    assert len(addresses) == 1


# The others


def test_modelscope_s_addresses(tmp_path):
    repository = Repository("team/photos", private=True, readers={ALICE})
    sha = repository.commit(FILES, branch="master")
    with ModelScopeHub([repository], largest_page=5) as hub:
        base = f"{hub.url}/api/v1/datasets/team/photos"
        token = {"Authorization": f"Bearer {ALICE}"}

        def data(address):
            status, _, body = ask(address, headers=token)
            assert (status, json.loads(body)["Code"]) == (200, 200)
            return json.loads(body)["Data"]

        branches = data(f"{base}/revisions")["RevisionMap"]["Branches"]
        assert [branch["Revision"] for branch in branches] == ["master"]
        listed, page = [], 1
        while files := data(f"{base}/repo/tree?Revision=master&Recursive=True&PageNumber={page}&PageSize=200")["Files"]:
            listed += files
            page += 1
        blobs = {entry["Path"]: entry for entry in listed if entry["Type"] == "blob"}
        assert {path: (entry["Size"], entry["Sha256"]) for path, entry in blobs.items()} == {
            path: (len(content), hashlib.sha256(content).hexdigest()) for path, content in FILES.items()
        }
        assert {entry["Revision"] for entry in listed} == {sha}
        assert page == 6
        for path, content in FILES.items():
            address = f"{base}/repo?Revision=master&FilePath={quote(path, safe='')}"
            status, headers, body = ask(address, headers={**token, "Range": "bytes=1-"})
            if blobs[path]["IsLFS"]:
                assert status == 302
                status, _, body = ask(headers["location"], headers={"Range": "bytes=1-"})
                assert (status, body) == (206, content[1:])
            else:
                assert (status, body) == (200, content)
        assert ask(base)[0] == 404
        assert ask(f"{base}/repo?Revision=master&FilePath=none", headers=token)[0] == 404


def test_s3_lists_and_serves_ranges():
    with S3Server() as server:
        server.add("photos", {f"train/{number:04} é#%.png": b"%d" % number for number in range(12)})
        paging = server.client.get_paginator("list_objects_v2")
        pages = list(paging.paginate(Bucket="photos", Prefix="train/", PaginationConfig={"PageSize": 5}))
        keys = [entry["Key"] for page in pages for entry in page["Contents"]]
        assert (len(pages), len(keys)) == (3, 12)
        found = server.client.get_object(Bucket="photos", Key="train/0011 é#%.png", Range="bytes=1-2")
        assert found["Body"].read() == b"1"
        assert found["ContentRange"] == "bytes 1-1/2"
    with S3Server() as server:
        assert server.client.list_buckets()["Buckets"] == []
