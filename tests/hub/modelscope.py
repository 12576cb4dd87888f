"""A local hub that speaks what ModelScope's client asks its hub for datasets.

    GET  /api/v1/datasets/{repository}                                      what it is
    GET  /api/v1/datasets/{repository}/revisions                            branches and tags
    GET  /api/v1/datasets/{repository}/repo/tree?Revision&Root&Recursive&PageNumber&PageSize
    GET  /api/v1/datasets/{repository}/repo?Revision&FilePath               the file

The main branch is `master`, every answer wraps its `Data`, and pages are counted: there is no link to the next one, the
last is the first that is not full. A file of LFS is a redirect to signed storage on another host, which knows ranges;
what git holds comes at once and whole, whatever range was asked for.
"""

import json
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from .exchange import Exchange, Record, Reply, content_reply
from .faults import Fault
from .huggingface import signature, storage_refusal
from .listener import Listener
from .repository import Commit, Repository

# ModelScope's cap on a page; less where a test wants pages of a small repository.
LARGEST_PAGE = 200

# What an address asks for, by what stands behind the repository's name.
SUBJECTS = {"": "info", "revisions": "revisions", "repo/tree": "tree", "repo": "resolve"}


class ModelScopeHub:
    """Serves repositories until it is closed; also a context manager. `url` belongs into `MODELSCOPE_ENDPOINT`."""

    def __init__(self, repositories: Iterable[Repository] = (), largest_page: int = LARGEST_PAGE) -> None:
        self.repositories = {repository.name: repository for repository in repositories}
        self.record = Record()
        self.faults: list[Fault] = []
        self._largest_page = largest_page
        self._hub = Listener("hub", self._answer, self.record)
        self._storage = Listener("storage", self._answer, self.record, name="localhost")
        self.url, self.storage_url = self._hub.url, self._storage.url

    def __enter__(self) -> "ModelScopeHub":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self._hub.close()
        self._storage.close()

    def _answer(self, exchange: Exchange) -> Reply:
        address = urlsplit(exchange.target)
        query = dict(parse_qsl(address.query, keep_blank_values=True))
        match address.path.split("/")[1:]:
            case ["api", "v1", "datasets", owner, name, *what] if "/".join(what) in SUBJECTS:
                exchange.subject = SUBJECTS["/".join(what)]
                exchange.path = query.get("FilePath", query.get("Root", "")).strip("/")
                exchange.revision = query.get("Revision", "master")
            case ["storage", owner, name, revision, *path] if exchange.host == "storage":
                exchange.subject, exchange.revision, exchange.path = "content", revision, unquote("/".join(path))
            case _:
                return failure(404, "no such address")
        exchange.repository = f"{unquote(owner)}/{unquote(name)}"
        acting = [fault for fault in self.faults if fault.acts_on(exchange)]
        for fault in acting:
            fault.before(self, exchange)
        reply = self._reply(exchange, query)
        for fault in acting:
            reply = fault.after(self, exchange, reply)
        return reply

    def _reply(self, exchange: Exchange, query: dict[str, str]) -> Reply:
        if exchange.host == "storage":
            return self._stored(exchange, query)
        repository = self.repositories.get(exchange.repository)
        if repository is None or (repository.private and exchange.token not in repository.readers):
            return failure(404, f"dataset {exchange.repository} does not exist")
        if exchange.subject == "info":
            identity = sum(map(ord, repository.name))
            visibility = 1 if repository.private else 5
            return success({"Id": identity, "Name": repository.name, "Type": 1, "Visibility": visibility})
        if exchange.subject == "revisions":
            branches = [
                {"Revision": name, "CreatedAt": repository.commits[sha].seconds, "CommitId": sha}
                for name, sha in repository.branches.items()
            ]
            return success({"RevisionMap": {"Branches": branches, "Tags": []}})
        commit = repository.find(exchange.revision)
        if commit is None:
            return failure(404, f"revision {exchange.revision} does not exist")
        if exchange.subject == "tree":
            return self._tree(exchange, commit, query)
        file = commit.files.get(exchange.path)
        if file is None:
            return failure(404, f"file {exchange.path} does not exist")
        if not file.in_lfs:
            # No range, and no ETag that could be asked about.
            return Reply(200, {"Content-Type": "application/octet-stream"}, file.content)
        place = f"{repository.name}/{commit.sha}/{quote(exchange.path, safe='/')}"
        where = f"{self.storage_url}/storage/{place}?{urlencode({'Signature': signature(place)})}"
        return Reply(302, {"Location": where, "X-Linked-Etag": f'"{file.content.sha256}"'})

    def _tree(self, exchange: Exchange, commit: Commit, query: dict[str, str]) -> Reply:
        paths = commit.listing(exchange.path, query.get("Recursive", "").lower() == "true")
        if paths is None:
            return failure(404, f"folder {exchange.path} does not exist")
        size = min(int(query.get("PageSize", self._largest_page)), self._largest_page)
        start = (int(query.get("PageNumber", 1)) - 1) * size
        entries = []
        for path in paths[start : start + size]:
            file = commit.files.get(path)
            entry = {"Path": path, "Name": path.rpartition("/")[2], "Revision": commit.sha, "CommitId": commit.sha}
            if file is None:
                entry.update(Type="tree", Size=0, Id=commit.folders[path], Sha256="", IsLFS=False)
            else:
                entry.update(Type="blob", Size=file.content.size, Id=file.oid, Sha256=file.content.sha256)
                entry["IsLFS"] = file.in_lfs
            entries.append({**entry, "CommittedDate": commit.seconds, "CommitMessage": commit.title})
        return success({"Files": entries, "TotalCount": len(paths)})

    def _stored(self, exchange: Exchange, query: dict[str, str]) -> Reply:
        if "authorization" in exchange.headers:
            return storage_refusal(400, "InvalidArgument", "Only one auth mechanism allowed")
        if query.get("Signature") != signature(urlsplit(exchange.target).path.removeprefix("/storage/")):
            return storage_refusal(403, "AccessDenied", "Access Denied")
        file = self.repositories[exchange.repository].commits[exchange.revision].files[exchange.path]
        return content_reply(exchange, file.content, file.content.storage_etag, {})


def success(data: object) -> Reply:
    return _wrapped(200, {"Code": 200, "Data": data, "Message": "success", "Success": True})


def failure(status: int, message: str) -> Reply:
    return _wrapped(status, {"Code": 10010205001, "Data": None, "Message": message, "Success": False})


def _wrapped(status: int, said: dict[str, object]) -> Reply:
    reply = Reply(status, {"Content-Type": "application/json; charset=utf-8"})
    reply.replace_body(json.dumps({**said, "RequestId": "local"}).encode())
    return reply
