"""A stand-in for an MLflow tracking server: the REST calls that the worker makes, on a real port, in memory.

What it answers was compared with MLflow 3.17's own server. Faults are set from tests.
"""

import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.unit.worker.support.servers import Handler, TestServer

TAG = re.compile(r"tags\.`(.+)` = '(.+)'")


class MlflowHandler(Handler, BaseHTTPRequestHandler):
    stand_in: "MlflowStandIn"

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        self._respond(path, {key: value[0] for key, value in query.items()})

    def do_POST(self) -> None:
        self._respond(self.path, json.loads(self.body()))

    def _respond(self, path: str, given: dict[str, Any]) -> None:
        name = path.removeprefix("/api/2.0/mlflow/")
        self.stand_in.asked.append(name)
        self.stand_in.headers.append(dict(self.headers))
        status, body = self.stand_in.fault(name) or self.stand_in.answer(name, given)
        if self.stand_in.forget_answer(name):
            self.close_connection = True
            return
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        moved = {"Location": "http://127.0.0.1:9/elsewhere"} if 300 <= status < 400 else {}
        self.answer(status, data, **moved)


class MlflowStandIn(TestServer):
    """Use as a context manager; ``fault`` may answer instead: (path) -> (status, body) or None."""

    handler, called = MlflowHandler, "stand_in"

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.points: dict[str, list[tuple[str, int, float]]] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.fault: Any = lambda _path: None
        self.forget_answer: Any = lambda _path: False
        """(path) -> whether the connection is cut after the work is done."""

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def only_run(self) -> dict[str, Any]:
        (run,) = self.runs.values()
        return run

    def only_points(self) -> list[tuple[str, int, float]]:
        (points,) = self.points.values()
        return points

    def answer(self, name: str, given: dict[str, Any]) -> tuple[int, Any]:
        return getattr(self, "_" + name.replace("/", "_").replace("-", "_"))(given)

    def _experiments_get_by_name(self, given: dict[str, Any]) -> tuple[int, Any]:
        found = self.experiments.get(given["experiment_name"])
        if found is None:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"}
        return 200, {"experiment": {"experiment_id": found, "name": given["experiment_name"]}}

    def _experiments_create(self, given: dict[str, Any]) -> tuple[int, Any]:
        self.experiments[given["name"]] = str(len(self.experiments) + 1)
        return 200, {"experiment_id": self.experiments[given["name"]]}

    def _runs_search(self, given: dict[str, Any]) -> tuple[int, Any]:
        key, value = TAG.fullmatch(given["filter"]).groups()
        found = [run for run in self.runs.values() if run["tags"].get(key) == value]
        return 200, {"runs": [self._shown(run) for run in found[: given["max_results"]]]} if found else {}

    def _runs_create(self, given: dict[str, Any]) -> tuple[int, Any]:
        run = {
            "id": f"{len(self.runs) + 1:032x}",
            "name": given["run_name"],
            "status": "RUNNING",
            "tags": {tag["key"]: tag["value"] for tag in given["tags"]},
            "params": {},
        }
        self.runs[run["id"]], self.points[run["id"]] = run, []
        return 200, {"run": self._shown(run)}

    def _shown(self, run: dict[str, Any]) -> dict[str, Any]:
        latest: dict[str, int] = {}
        for key, step, _ in self.points[run["id"]]:
            latest[key] = max(step, latest.get(key, 0))
        return {
            "info": {"run_id": run["id"], "status": run["status"]},
            "data": {
                "metrics": [{"key": key, "step": step} for key, step in latest.items()],
                "params": [{"key": key, "value": value} for key, value in run["params"].items()],
            },
        }

    def _runs_log_batch(self, given: dict[str, Any]) -> tuple[int, Any]:
        run = self.runs[given["run_id"]]
        for param in given.get("params", ()):
            if run["params"].setdefault(param["key"], param["value"]) != param["value"]:
                return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "it has another value"}
        metrics = given.get("metrics", ())
        if len(metrics) > 1000:
            return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "too many"}
        self.points[run["id"]] += [(m["key"], m["step"], m["value"]) for m in metrics]
        return 200, {}

    def _runs_update(self, given: dict[str, Any]) -> tuple[int, Any]:
        self.runs[given["run_id"]]["status"] = given["status"]
        return 200, {"run_info": {}}
