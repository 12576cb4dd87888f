"""A local hub that speaks the Hugging Face Hub's HTTP API for datasets, and the storage that it redirects to.

What it says follows what the Hub answers and what its official client relies on:

    GET      /api/datasets/{repository}                             what it is, and the commit of main
    GET      /api/datasets/{repository}/revision/{revision}         the same of another revision
    GET      /api/datasets/{repository}/tree/{revision}[/{folder}]  files and folders, in pages joined by `Link`
    GET HEAD /datasets/{repository}/resolve/{revision}/{path}       307 to the hub's own cache for what git holds,
                                                                    302 to a signed address of the storage for LFS

The storage is another host. As an object storage does, it refuses an address that it has not signed, and a request that
says who it is in two ways: a token that was meant for the hub is an error there. Its ETag is not the hub's.

Files are never offered by Xet, whose headers (`X-Xet-Hash` and others) would make the official client speak another
protocol to another server: the resolve address serves the same bytes of Xet-backed files on the real Hub, too.
"""

import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from .exchange import Exchange, Record, Reply, content_reply
from .faults import Fault
from .listener import Listener
from .repository import Commit, File, Repository

# The Hub sends 1000 entries a page. Fewer make every listing of more than a few files a paged one.
PAGE_ENTRIES = 5
EXPANDED_PAGE_ENTRIES = 3

LINK_SECONDS = 3600


class HuggingFaceHub:
    """Serves repositories until it is closed; also a context manager.

    `url` belongs into `HF_ENDPOINT`. `tokens` are those that the hub knows; a repository's readers are among them.
    `record` has every exchange with the hub (host "hub") and the storage (host "storage").
    """

    def __init__(self, repositories: Iterable[Repository] = (), tokens: Iterable[str] = ()) -> None:
        self.repositories = {repository.name: repository for repository in repositories}
        self.renamed: dict[str, str] = {}
        self.tokens = set(tokens)
        self.record = Record()
        self.faults: list[Fault] = []
        self._hub = Listener("hub", self._answer, self.record)
        self._storage = Listener("storage", self._answer, self.record, name="localhost")
        self.url, self.storage_url = self._hub.url, self._storage.url

    def __enter__(self) -> "HuggingFaceHub":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        self._hub.close()
        self._storage.close()

    def add(self, repository: Repository) -> Repository:
        self.repositories[repository.name] = repository
        return repository

    def inject(self, *faults: Fault) -> None:
        """Make these go wrong from now on, besides what was injected before."""
        self.faults.extend(faults)

    # ------------------------------------------------------------------------------------------------ answers

    def _answer(self, exchange: Exchange) -> Reply:
        address = urlsplit(exchange.target)
        segments = address.path.split("/")[1:]
        query = dict(parse_qsl(address.query, keep_blank_values=True))
        self._recognise(exchange, segments)
        acting = [fault for fault in self.faults if fault.acts_on(exchange)]
        for fault in acting:
            fault.before(self, exchange)
        reply = self._reply(exchange, query)
        for fault in acting:
            reply = fault.after(self, exchange, reply)
        return reply

    def _recognise(self, exchange: Exchange, segments: list[str]) -> None:
        """Fill in what the request is about; a revision may hold a slash as %2F, hence the order of the steps."""
        match segments:
            case ["api", "datasets", owner, name]:
                about = ("info", f"{owner}/{name}", "main", "")
            case ["api", "datasets", owner, name, "revision", revision]:
                about = ("info", f"{owner}/{name}", revision, "")
            case ["api", "datasets", owner, name, "tree", revision, *folder]:
                about = ("tree", f"{owner}/{name}", revision, "/".join(folder))
            case ["datasets", owner, name, "resolve", revision, *path] if path:
                about = ("resolve", f"{owner}/{name}", revision, "/".join(path))
            case ["api", "resolve-cache", "datasets", owner, name, revision, *path] if path:
                about = ("content", f"{owner}/{name}", revision, "/".join(path))
            case ["storage", owner, name, revision, *path] if exchange.host == "storage" and path:
                about = ("content", f"{owner}/{name}", revision, "/".join(path))
            case _:
                return
        exchange.subject, *rest = about
        exchange.repository, exchange.revision, exchange.path = (unquote(part) for part in rest)

    def _reply(self, exchange: Exchange, query: dict[str, str]) -> Reply:
        if not exchange.subject:
            return refusal(404, "NotFound", "Sorry, we can't find the page you are looking for.")
        if exchange.host == "storage":
            return self._stored(exchange, query)
        if exchange.token and exchange.token not in self.tokens:
            return refusal(401, None, "Invalid credentials in Authorization header")
        if exchange.repository in self.renamed:
            return self._moved(exchange)
        repository = self.repositories.get(exchange.repository)
        if repository is None or (repository.private and exchange.token not in repository.readers):
            if exchange.token is None:
                return refusal(401, "RepoNotFound", "Invalid username or password.")
            return refusal(404, "RepoNotFound", "Repository not found")
        if exchange.subject in ("resolve", "content") and repository.gated:
            refused = self._gate(exchange, repository)
            if refused is not None:
                return refused
        commit = repository.find(exchange.revision)
        if commit is None:
            return refusal(404, "RevisionNotFound", f"Invalid rev id: {exchange.revision}")
        if exchange.subject == "info":
            return self._info(repository, commit, query)
        if exchange.subject == "tree":
            return self._tree(exchange, commit, query)
        return self._file(exchange, repository, commit)

    def _moved(self, exchange: Exchange) -> Reply:
        place = exchange.target.replace(f"/{exchange.repository}", f"/{self.renamed[exchange.repository]}", 1)
        reply = Reply(307, {"Location": place, "Content-Type": "text/plain; charset=utf-8"})
        reply.replace_body(f"Temporary Redirect. Redirecting to {place}".encode())
        return reply

    @staticmethod
    def _gate(exchange: Exchange, repository: Repository) -> Reply | None:
        restricted = f"Access to dataset {repository.name} is restricted"
        if exchange.token is None:
            said = f"{restricted}. You must have access to it and be authenticated to access it. Please log in."
            return refusal(401, "GatedRepo", said)
        if exchange.token not in repository.readers:
            return refusal(403, "GatedRepo", f"{restricted} and you are not in the authorized list.")
        return None

    def _info(self, repository: Repository, commit: Commit, query: dict[str, str]) -> Reply:
        siblings: list[dict[str, object]] = []
        for path, file in commit.files.items():
            sibling: dict[str, object] = {"rfilename": path}
            if query.get("blobs", "").lower() in ("1", "true"):
                sibling.update(size=file.content.size, blobId=file.oid)
                if file.in_lfs:
                    pointer = {"sha256": file.content.sha256, "size": file.content.size}
                    sibling["lfs"] = {**pointer, "pointerSize": len(file.pointer)}
            siblings.append(sibling)
        said = {
            "_id": hashlib.sha1(repository.name.encode()).hexdigest()[:24],
            "id": repository.name,
            "author": repository.name.partition("/")[0],
            "sha": commit.sha,
            "lastModified": iso_time(commit.seconds),
            "createdAt": iso_time(min(one.seconds for one in repository.commits.values())),
            "private": repository.private,
            "gated": repository.gated or False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": siblings,
            "usedStorage": sum(file.content.size for file in commit.files.values()),
        }
        return json_reply(said)

    def _tree(self, exchange: Exchange, commit: Commit, query: dict[str, str]) -> Reply:
        recursive = query.get("recursive", "").lower() in ("1", "true")
        expand = query.get("expand", "").lower() in ("1", "true")
        paths = commit.listing(exchange.path.strip("/"), recursive)
        if paths is None:
            said = f'{exchange.path} does not exist on "{exchange.revision}"'
            return refusal(404, "EntryNotFound", said, {"X-Repo-Commit": commit.sha})
        most = EXPANDED_PAGE_ENTRIES if expand else PAGE_ENTRIES
        limit = max(1, min(int(query.get("limit", most)), most))
        rest = [path for path in paths if path > query.get("cursor", "")]
        reply = json_reply([self._entry(commit, path, expand) for path in rest[:limit]])
        if len(rest) > limit:
            following = urlencode({**query, "limit": limit, "cursor": rest[limit - 1]}, quote_via=quote)
            place = f"{self.url}{urlsplit(exchange.target).path}?{following}"
            reply.headers["Link"] = f'<{place}>; rel="next"'
        return reply

    @staticmethod
    def _entry(commit: Commit, path: str, expand: bool) -> dict[str, object]:
        file = commit.files.get(path)
        if file is None:
            entry: dict[str, object] = {"type": "directory", "oid": commit.folders[path], "size": 0, "path": path}
        else:
            entry = {"type": "file", "oid": file.oid, "size": file.content.size}
            if file.in_lfs:
                size = {"size": file.content.size, "pointerSize": len(file.pointer)}
                entry["lfs"] = {"oid": file.content.sha256, **size}
            entry["path"] = path
        if expand:
            entry["lastCommit"] = {"id": commit.sha, "title": commit.title, "date": iso_time(commit.seconds)}
            if file is not None:
                entry["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
        return entry

    def _file(self, exchange: Exchange, repository: Repository, commit: Commit) -> Reply:
        file = commit.files.get(exchange.path)
        named = {"X-Repo-Commit": commit.sha}
        if file is None:
            return refusal(404, "EntryNotFound", "Entry not found", named)
        if exchange.subject == "content":
            return content_reply(exchange, file.content, file.etag, {**named, **disposition(exchange.path)})
        headers = {**named, "Accept-Ranges": "bytes", "X-Linked-Size": str(file.content.size)}
        headers["X-Linked-Etag"] = f'"{file.etag}"'
        headers["ETag"] = headers["X-Linked-Etag"]
        status, headers["Location"] = self._place(repository, commit, exchange.path, file)
        reply = Reply(status, headers)
        reply.replace_body(f"Found. Redirecting to {headers['Location']}".encode())
        return reply

    def _place(self, repository: Repository, commit: Commit, path: str, file: File) -> tuple[int, str]:
        """Where a file's bytes are: git's by an address without a host, those of LFS by one that is signed."""
        place = f"{repository.name}/{commit.sha}/{quote(path, safe='/')}"
        if not file.in_lfs:
            return 307, f"/api/resolve-cache/datasets/{place}?etag={quote(chr(34) + file.etag + chr(34))}"
        query = {"Expires": LINK_SECONDS, "Signature": signature(place), "Key-Pair-Id": "LOCAL"}
        return 302, f"{self.storage_url}/storage/{place}?{urlencode(query)}"

    def _stored(self, exchange: Exchange, query: dict[str, str]) -> Reply:
        if "authorization" in exchange.headers:
            return storage_refusal(400, "InvalidArgument", "Only one auth mechanism allowed")
        place = urlsplit(exchange.target).path.removeprefix("/storage/")
        if query.get("Signature") != signature(place):
            return storage_refusal(403, "AccessDenied", "Access Denied")
        file = self.repositories[exchange.repository].commits[exchange.revision].files[exchange.path]
        return content_reply(exchange, file.content, file.content.storage_etag, disposition(exchange.path))


def iso_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def signature(place: str) -> str:
    return hashlib.sha256(f"a key of the storage\n{place}".encode()).hexdigest()


def disposition(path: str) -> dict[str, str]:
    name = path.rpartition("/")[2]
    plain = name.encode("ascii", "replace").decode().replace('"', "'")
    return {"Content-Disposition": f"inline; filename*=UTF-8''{quote(name)}; filename=\"{plain}\";"}


def json_reply(value: object) -> Reply:
    reply = Reply(200, {"Content-Type": "application/json; charset=utf-8"})
    reply.replace_body(json.dumps(value).encode())
    return reply


def refusal(status: int, code: str | None, message: str, headers: dict[str, str] | None = None) -> Reply:
    """Refuse as the Hub does: the reason in the headers, for a HEAD has no body, and in the body."""
    reply = json_reply({"error": message})
    reply.status = status
    reply.headers.update({"X-Error-Message": message, **(headers or {})})
    if code is not None:
        reply.headers["X-Error-Code"] = code
    if status == 401:
        reply.headers["WWW-Authenticate"] = 'Bearer realm="Authentication required", charset="UTF-8"'
    return reply


def storage_refusal(status: int, code: str, message: str) -> Reply:
    reply = Reply(status, {"Content-Type": "application/xml"})
    said = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    reply.replace_body(f'<?xml version="1.0" encoding="UTF-8"?>\n{said}'.encode())
    return reply
