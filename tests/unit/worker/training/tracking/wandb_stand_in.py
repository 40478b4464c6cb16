"""A stand-in for a server of Weights & Biases: GraphQL and file streams, as its client 0.31 uses them.

The protocol is not published: answers are what this client wants, as seen from its own requests, so that it
begins a run, resumes it and sends its steps. No server of W&B was compared.
"""

import gzip
import json
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.unit.worker.support.servers import Handler, TestServer

ENTITY = "team"


class WandbHandler(Handler, BaseHTTPRequestHandler):
    stand_in: "WandbStandIn"

    def do_POST(self) -> None:
        body = self.body()
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.stand_in.headers.append(dict(self.headers))
        found = json.dumps(self.stand_in.answer(self.path, body)).encode()
        self.answer(self.stand_in.refusal or 200, found, **{"Content-Type": "application/json"})

    def do_PUT(self) -> None:
        self.do_POST()


class WandbStandIn(TestServer):
    """Use as a context manager. ``runs`` has what has arrived, by id; ``refusal`` is a status for all."""

    handler, called = WandbHandler, "stand_in"

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.headers: list[dict[str, str]] = []
        self.refusal = 0

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def only_run(self) -> dict[str, Any]:
        (run,) = self.runs.values()
        return run

    def answer(self, path: str, body: bytes) -> dict[str, Any]:
        if self.refusal:
            return {"errors": [{"message": "no"}]}
        if path == "/graphql":
            asked = json.loads(body)
            return {"data": self._query(asked["query"], asked.get("variables") or {})}
        if path.endswith("/file_stream"):
            self._stream(self.runs[path.split("/")[-2]], json.loads(body))
        return {}

    def _query(self, text: str, given: dict[str, Any]) -> dict[str, Any]:
        if "upsertBucket" in text:
            return {"upsertBucket": self._upsert(given)}
        if "bucket(" in text:
            bucket = self._resumed(given["name"]) if given["name"] in self.runs else None
            return {"model": _project(given["project"]) | {"bucket": bucket}}
        if "createRunFiles" in text:
            files = [{"name": name, "uploadUrl": f"{self.uri}/upload/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": "id", "uploadHeaders": [], "files": files}}
        viewer = {
            "id": "u",
            "entity": ENTITY,
            "username": "u",
            "email": "",
            "flags": "{}",
            "teams": {"edges": []},
        }
        return {
            "viewer": viewer,
            "serverInfo": {"cliVersionInfo": {"max_cli_version": "99.0.0"}, "features": []},
        }

    def _upsert(self, given: dict[str, Any]) -> dict[str, Any]:
        name, new = given["name"], given["name"] not in self.runs
        run = self.runs.setdefault(name, {"lines": [], "summary": {}, "config": "{}", "ended": None})
        run.update({key: given[key] for key in ("config", "displayName", "project") if given.get(key)})
        bucket = {
            "id": "id",
            "name": name,
            "displayName": run["displayName"],
            "config": run["config"],
            "historyLineCount": len(run["lines"]),
            "project": _project(run["project"]),
        }
        return {"bucket": bucket, "inserted": new}

    def _resumed(self, name: str) -> dict[str, Any]:
        """A run from whose last step the client goes on."""
        run = self.runs[name]
        started = json.loads(run["config"]).get("_wandb", {}).get("value", {})
        return {
            "id": "id",
            "name": name,
            "displayName": run["displayName"],
            "summaryMetrics": json.dumps(run["summary"]),
            "logLineCount": 0,
            "historyLineCount": len(run["lines"]),
            "eventsLineCount": 0,
            "historyTail": json.dumps([json.dumps(line) for line in run["lines"][-1:]]),
            "eventsTail": "[]",
            "config": run["config"],
            "tags": [],
            "wandbConfig": json.dumps({"t": started.get("t")}),
        }

    def _stream(self, run: dict[str, Any], sent: dict[str, Any]) -> None:
        for name, part in (sent.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                run["lines"][part["offset"] :] = [json.loads(line) for line in part["content"]]
            elif name == "wandb-summary.json":
                run["summary"] = json.loads(part["content"][-1])
        if sent.get("complete"):
            run["ended"] = sent["exitcode"]


def _project(name: str) -> dict[str, Any]:
    return {"id": "p", "name": name, "entity": {"id": "e", "name": ENTITY}}
