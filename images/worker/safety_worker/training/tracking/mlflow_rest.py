"""MLflow by its REST API (mlflow.org/docs/latest/api_reference/rest-api.html), with the standard library.

The library's own client would bring fifteen packages into the image, of versions that others there exclude,
and tries again for minutes by itself.
"""

import base64
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.parse import quote, urlencode

from safety_records.tracking import MlflowTarget
from safety_worker.training.tracking.steps import Step
from safety_worker.training.tracking.tracker import Ending, RunDescription, TrackerError

TIMEOUT_SECONDS = 10
"""Of a connection, and of each read."""
MAX_RESPONSE = 16 << 20
MAX_METRICS = 900
"""Of a request; MLflow takes 1,000."""
MAX_PARAMS = 100
MAX_VALUE = 500
"""Characters of a parameter in old releases of MLflow."""
RUN_TAG = "modelsafety.dev/run"

_CODE = re.compile(r"[A-Z_]{3,60}")
_FORBIDDEN, _MISSING, _CLIENT_ERRORS = frozenset({401, 403}), frozenset({404, 405}), range(400, 500)


class MlflowClient:
    """One run of an experiment; see :class:`TrackerClient`."""

    def __init__(self, about: RunDescription, secrets: Mapping[str, str]) -> None:
        assert about.mlflow is not None
        self.run = ""
        self.url = ""
        self._about, self._target = about, about.mlflow
        self._api = Api(self._target, secrets)
        self._latest: dict[str, int] = {}

    def connect(self) -> None:
        """Find the run by its tag or create it, and learn the latest step of each of its metrics."""
        experiment = self._experiment()
        found = self._search(experiment) or self._create(experiment)
        info, data = found.get("info", {}), found.get("data", {})
        self.run = str(info.get("run_id", ""))
        if not self.run:
            raise _no_server()
        self.url = f"{self._target.uri.rstrip('/')}/#/experiments/{quote(experiment)}/runs/{quote(self.run)}"
        self._latest = {item["key"]: int(item.get("step", 0)) for item in data.get("metrics", ())}
        if info.get("status") != "RUNNING":
            self._api.post("runs/update", run_id=self.run, status="RUNNING")
        self._send_settings({item["key"] for item in data.get("params", ())})

    def _experiment(self) -> str:
        name = self._target.experiment or self._about.group
        found = self._api.get("experiments/get-by-name", missing=True, experiment_name=name)
        if found is None:
            return str(self._api.post("experiments/create", name=name).get("experiment_id", ""))
        return str(found.get("experiment", {}).get("experiment_id", ""))

    def _search(self, experiment: str) -> dict[str, Any] | None:
        """The run; of several, which two pods may have created at the same time, the first."""
        found = self._api.post(
            "runs/search",
            experiment_ids=[experiment],
            filter=f"tags.`{RUN_TAG}` = '{self._about.run}'",
            order_by=["attributes.start_time ASC", "attributes.run_id ASC"],
            max_results=1,
        )
        return next(iter(found.get("runs", ())), None)

    def _create(self, experiment: str) -> dict[str, Any]:
        tags = {RUN_TAG: self._about.run, "mlflow.runName": self._about.name} | self._about.digests
        found = self._api.post(
            "runs/create",
            experiment_id=experiment,
            run_name=self._about.name,
            start_time=_now(),
            tags=[{"key": key, "value": value} for key, value in tags.items()],
        )
        return dict(found.get("run", {}))

    def _send_settings(self, known: set[str]) -> None:
        """Parameters that the run lacks: they cannot be written twice with different values."""
        wanted = [
            {"key": key, "value": str(value)[:MAX_VALUE]}
            for key, value in self._about.settings.items()
            if key not in known
        ]
        for start in range(0, len(wanted), MAX_PARAMS):
            self._api.post("runs/log-batch", run_id=self.run, params=wanted[start : start + MAX_PARAMS])

    def send(self, steps: list[Step]) -> None:
        """All metrics of some steps at once, without those that the run has."""
        now = _now()
        wanted = [
            {"key": name, "value": value, "timestamp": now, "step": step.number}
            for step in steps
            for name, value in step.values.items()
            if step.number > self._latest.get(name, -1)
        ]
        for start in range(0, len(wanted), MAX_METRICS):
            self._api.post("runs/log-batch", run_id=self.run, metrics=wanted[start : start + MAX_METRICS])

    def finish(self, ending: Ending) -> None:
        """Set the status and the time of the end."""
        self._api.post("runs/update", run_id=self.run, status=ending.upper(), end_time=_now())


class Api:
    """Requests to a tracking server, with its credentials and bounded times."""

    def __init__(self, target: MlflowTarget, secrets: Mapping[str, str]) -> None:
        self._base = f"{target.uri.rstrip('/')}/api/2.0/mlflow/"
        self._headers = {"Content-Type": "application/json"} | _authorization(target, secrets)
        self._opener = urllib.request.build_opener(_NoRedirects)

    def get(self, path: str, *, missing: bool = False, **query: str) -> dict[str, Any] | None:
        """The answer; with ``missing`` None where the server says that there is no such thing."""
        request = urllib.request.Request(f"{self._base}{path}?{urlencode(query)}", headers=self._headers)  # noqa: S310 - http and https only, by the specification's pattern
        return self._ask(request, missing=missing)

    def post(self, path: str, **body: object) -> dict[str, Any]:
        """The answer."""
        request = urllib.request.Request(  # noqa: S310 - as above
            self._base + path, json.dumps(body).encode(), headers=self._headers
        )
        return self._ask(request) or {}

    def _ask(self, request: urllib.request.Request, *, missing: bool = False) -> dict[str, Any] | None:
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as response:
                return _object(response.read(MAX_RESPONSE))
        except urllib.error.HTTPError as error:
            code = _error_code(error)
            if missing and code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise _refused(error.code, code) from error
        except (OSError, HTTPException) as error:
            raise _unreachable(error) from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would hand the credentials to another host, and makes a GET of a POST."""

    def redirect_request(self, *_arguments: Any, **_named: Any) -> None:
        """Follow none."""


def _authorization(target: MlflowTarget, secrets: Mapping[str, str]) -> dict[str, str]:
    token, password = secrets.get(target.token_env, ""), secrets.get(target.password_env, "")
    if token:
        return {"Authorization": f"Bearer {token}"}
    if password:
        pair = base64.b64encode(f"{target.username}:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}
    return {}


def _now() -> int:
    """Milliseconds, as MLflow counts time."""
    return int(time.time() * 1000)


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError as error:
        raise _no_server() from error
    if not isinstance(found, dict):
        raise _no_server()
    return found


def _error_code(error: urllib.error.HTTPError) -> str:
    """MLflow's name of an error, empty where there is none. Its message may quote anything: unread."""
    try:
        code = str(json.loads(error.read(MAX_RESPONSE)).get("error_code", ""))
    except (OSError, ValueError, AttributeError, HTTPException):
        return ""
    return code if _CODE.fullmatch(code) else ""


def _no_server() -> TrackerError:
    return TrackerError("what answers is no MLflow tracking server: check tracking.mlflow.uri")


def _refused(status: int, code: str) -> TrackerError:
    said = f"HTTP {status}{', ' if code else ''}{code}"
    if status in _FORBIDDEN:
        return TrackerError(
            f"the server refuses ({said}): check the Secret in tracking.mlflow, and its allowed hosts"
        )
    if status in _MISSING and not code:
        return TrackerError(f"what answers is no MLflow tracking server ({said}): check tracking.mlflow.uri")
    if status in _CLIENT_ERRORS and code:
        return TrackerError(
            f"the server refuses ({said}): check tracking.mlflow.experiment; its log says more"
        )
    if status < min(_CLIENT_ERRORS):
        return TrackerError(f"the server answers with a redirect ({said}): give its final address as uri")
    return TrackerError(f"the server has an error of its own ({said}): look at its log")


def _unreachable(error: Exception) -> TrackerError:
    cause = getattr(error, "reason", error)
    if isinstance(cause, ssl.SSLError):
        return TrackerError(
            "the server's certificate is not trusted: name a file with its authority as SSL_CERT_FILE in "
            "the trainer's environment"
        )
    how = "no answer in time" if isinstance(cause, TimeoutError) else "no connection"
    return TrackerError(f"the server cannot be reached ({how}): check tracking.mlflow.uri and the network")
