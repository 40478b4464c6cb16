"""A stand-in for a hub that takes models: branches, commits and Git LFS over HTTP, on a real port.

The client is the real huggingface_hub, by LFS (Xet needs the hub's own storage). Reading is there as far as
fetching needs it.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.unit.worker.fake_hub import git_digest
from tests.unit.worker.support import servers

LARGE = (".safetensors",)

Files = dict[str, bytes]


@dataclass
class Repository:
    """Commits by their sha, and branches."""

    private: bool = False
    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def add(self, branch: str, files: Files) -> str:
        text = json.dumps([len(self.commits), sorted((n, c.hex()) for n, c in files.items())])
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = files
        self.branches[branch] = sha
        return sha


@dataclass
class StandInHub(servers.TestServer):
    """Repositories by name; use as a context manager."""

    token: str = "hf_writer"
    readers: tuple[str, ...] = ("hf_reader",)
    """Tokens that may only read."""
    repositories: dict[str, Repository] = field(default_factory=dict)
    stored: Files = field(default_factory=dict)
    """Large files by sha256, whether a commit has them or not."""
    uploads: list[int] = field(default_factory=list)
    """Sizes of the large files that were sent."""
    on_upload: Callable[[int], None] = lambda _number: None
    """Called before the so-manieth large file is taken."""
    full: bool = False
    upload_status: int = 200
    """Another one: what the storage answers to large files."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Handler(servers.Handler, BaseHTTPRequestHandler):
    """The hub's interface."""

    hub: StandInHub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if not self._may(reading=True):
            return
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(.+))?", path):
            self._with(match[1], match[3] or "main", self._tree if match[2] == "tree" else self._info)
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._with(match[1], match[2], lambda _sha, files: self.answer(200, files[match[3]]))
        else:
            self._error(404, "EntryNotFound")

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        content = self.body()
        if self.hub.upload_status != 200:
            self.answer(self.hub.upload_status)
            return
        self.hub.on_upload(len(self.hub.uploads))
        self.hub.uploads.append(len(content))
        self.hub.stored[hashlib.sha256(content).hexdigest()] = content
        self.answer(200)

    def do_POST(self) -> None:
        path, body = unquote(urlsplit(self.path).path), self.body()
        if not self._may(reading=False):
            return
        if path == "/api/validate-yaml":
            self._json(200, {"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif match := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            self._batch(json.loads(body))
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/branch/(.+)", path):
            repository = self.hub.repositories[match[1]]
            repository.branches.setdefault(match[2], repository.branches["main"])
            self._json(201, {})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/(.+)", path):
            act = self._modes if match[2] == "preupload" else self._commit
            self._with(match[1], match[3], lambda sha, _: act(match[1], match[3], sha, body))
        else:
            self._error(404, "EntryNotFound")

    def _may(self, *, reading: bool) -> bool:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token == self.hub.token or (reading and token in self.hub.readers):
            return True
        self._error(403 if token in self.hub.readers else 401, "")
        return False

    def _with(self, name: str, revision: str, act: Callable[[str, Files], None]) -> None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._error(404, "RepoNotFound")
            return
        sha = repository.branches.get(revision, revision)
        if sha not in repository.commits:
            self._error(404, "RevisionNotFound")
            return
        act(sha, repository.commits[sha])

    def _info(self, sha: str, _files: Files) -> None:
        self._json(200, {"id": "x/y", "sha": sha, "private": False, "siblings": [], "tags": []})

    def _tree(self, _sha: str, files: Files) -> None:
        items = []
        for name, content in files.items():
            item = {"type": "file", "path": name, "size": len(content), "oid": git_digest(content)}
            if name.endswith(LARGE):
                digest = hashlib.sha256(content).hexdigest()
                item["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
            items.append(item)
        self._json(200, items)

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repositories:
            self._json(409, {})
            return
        made = self.hub.repositories[name] = Repository(private=asked.get("visibility") == "private")
        made.add("main", {".gitattributes": b"*.safetensors filter=lfs"})
        self._json(200, {"url": f"{self.hub.endpoint}/{name}"})

    def _modes(self, _name: str, _branch: str, _sha: str, body: bytes) -> None:
        files = json.loads(body)["files"]
        mode = {True: "lfs", False: "regular"}
        found = [{"path": f["path"], "uploadMode": mode[f["path"].endswith(LARGE)]} for f in files]
        self._json(200, {"files": [{**item, "shouldIgnore": False} for item in found]})

    def _batch(self, asked: dict[str, Any]) -> None:
        if self.hub.full:
            self._error(403, "", "Private repository storage limit reached")
            return
        found = []
        for item in asked["objects"]:
            entry = {"oid": item["oid"], "size": item["size"]}
            if item["oid"] not in self.hub.stored:
                signed = f"{self.hub.endpoint}/upload/{item['oid']}?X-Amz-Signature=secretsignature"
                entry["actions"] = {"upload": {"href": signed}}
            found.append(entry)
        self._json(200, {"objects": found})

    def _commit(self, name: str, branch: str, sha: str, body: bytes) -> None:
        repository = self.hub.repositories[name]
        files = dict(repository.commits[sha])
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header" and value.get("parentCommit", sha) != sha:
                self._error(412, "")
                return
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
            elif item["key"] == "deletedFile":
                del files[value["path"]]
        oid = repository.add(branch, files)
        url = f"{self.hub.endpoint}/{name}/commit/{oid}"
        self._json(200, {"commitUrl": url, "commitOid": oid, "hookOutput": "", "success": True})

    def _error(self, status: int, code: str, words: str = "") -> None:
        self.answer(status, b"{}", **{"X-Error-Code": code, "X-Error-Message": words or code})

    def _json(self, status: int, value: Any) -> None:
        self.answer(status, json.dumps(value).encode(), **{"Content-Type": "application/json"})


StandInHub.handler, StandInHub.called = Handler, "hub"
