"""MLflow's REST calls against a stand-in for its server."""

import base64

import pytest
from tests.unit.worker.training.tracking.mlflow_stand_in import MlflowStandIn
from tests.unit.worker.training.tracking.runs import described

from safety_worker.training.tracking.mlflow_rest import RUN_TAG, MlflowClient
from safety_worker.training.tracking.steps import Step
from safety_worker.training.tracking.tracker import TrackerError

STEPS = [Step(number, {"train/loss": 1.0 / number, "train/epoch": number / 4}) for number in range(1, 5)]


@pytest.fixture
def server():
    with MlflowStandIn() as found:
        yield found


def client(tmp_path, server, secrets=None, **target):
    return MlflowClient(described(tmp_path, "mlflow", server.uri, **target), secrets or {})


def losses(server):
    return [(step, value) for name, step, value in server.only_points() if name == "train/loss"]


def test_a_run_is_created_with_its_settings_and_filled_and_finished(tmp_path, server):
    mlflow = client(tmp_path, server)
    mlflow.connect()
    mlflow.send(STEPS)
    mlflow.finish("finished")
    run = server.only_run()
    assert (run["name"], run["status"]) == ("hardened", "FINISHED")
    assert run["tags"][RUN_TAG] == "0f3a11c2-5d1e9a7745aa0c31"
    assert run["tags"]["modelsafety.dev/model"] == "sha256:1"
    assert run["params"] == {"learningRate": "0.0001", "method.type": "lora"}
    assert list(server.experiments) == ["team"]
    assert losses(server) == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]
    assert mlflow.url == f"{server.uri}/#/experiments/1/runs/{run['id']}"


def test_another_start_continues_the_run_and_sends_only_what_it_lacks(tmp_path, server):
    first = client(tmp_path, server)
    first.connect()
    first.send(STEPS[:2])
    first.finish("failed")
    second = client(tmp_path, server)
    second.connect()
    assert (second.run, server.only_run()["status"]) == (first.run, "RUNNING")
    second.send(STEPS)
    assert [step for step, _ in losses(server)] == [1, 2, 3, 4]


def test_a_request_whose_answer_was_lost_is_not_sent_twice(tmp_path, server):
    mlflow = client(tmp_path, server)
    mlflow.connect()
    server.forget_answer = lambda path: path == "runs/log-batch"
    with pytest.raises(TrackerError, match="cannot be reached"):
        mlflow.send(STEPS)
    server.forget_answer = lambda _path: False
    mlflow.connect()
    mlflow.send(STEPS)
    assert [step for step, _ in losses(server)] == [1, 2, 3, 4]


def test_a_run_whose_creation_was_not_answered_is_found(tmp_path, server):
    server.forget_answer = lambda path: path == "runs/create"
    mlflow = client(tmp_path, server)
    with pytest.raises(TrackerError):
        mlflow.connect()
    server.forget_answer = lambda _path: False
    mlflow.connect()
    assert server.only_run()["id"] == mlflow.run


def test_an_experiment_by_name_and_many_numbers_go_in_requests_that_mlflow_takes(tmp_path, server):
    mlflow = client(tmp_path, server, experiment="/Shared/safety")
    mlflow.connect()
    steps = [Step(number, {f"train/{name}": 1.0 for name in range(8)}) for number in range(1, 251)]
    mlflow.send(steps)
    assert list(server.experiments) == ["/Shared/safety"]
    assert len(server.only_points()) == 2000


@pytest.mark.parametrize(
    ("target", "secrets", "sent"),
    [
        ({"token_env": "T"}, {"T": "abc"}, "Bearer abc"),
        (
            {"username": "u", "password_env": "P"},
            {"P": "p:w"},
            f"Basic {base64.b64encode(b'u:p:w').decode()}",
        ),
        ({}, {"T": "abc"}, None),
    ],
)
def test_credentials_are_sent_as_mlflow_wants_them(tmp_path, server, target, secrets, sent):
    client(tmp_path, server, secrets, **target).connect()
    assert {headers.get("Authorization") for headers in server.headers} == {sent}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((401, b"no"), "refuses .HTTP 401.: check the Secret"),
        ((403, {"error_code": "PERMISSION_DENIED", "message": "key-123"}), "HTTP 403, PERMISSION_DENIED"),
        ((404, b"<html>"), "no MLflow tracking server .HTTP 404.: check tracking.mlflow.uri"),
        ((400, {"error_code": "INVALID_STATE", "message": "key-123"}), "refuses .HTTP 400, INVALID_STATE"),
        ((400, {"error_code": "key-123: bad"}), "HTTP 400.: look at its log"),
        ((503, b"key-123"), "error of its own .HTTP 503."),
        ((302, b""), "redirect .HTTP 302.: give its final address"),
        ((200, b"<html>log in</html>"), "no MLflow tracking server"),
        ((200, b"[]"), "no MLflow tracking server"),
    ],
)
def test_what_a_server_refuses_is_said_with_a_remedy_and_without_its_words(tmp_path, server, answer, words):
    server.fault = lambda _path: answer
    mlflow = client(tmp_path, server, {"T": "key-123"}, token_env="T")
    with pytest.raises(TrackerError, match=words) as caught:
        mlflow.connect()
    assert "key-123" not in str(caught.value)


def test_credentials_follow_no_redirect(tmp_path, server):
    server.fault = lambda _path: (307, b"")
    with pytest.raises(TrackerError, match="redirect"):
        client(tmp_path, server, {"T": "secret"}, token_env="T").connect()
    assert server.asked == ["experiments/get-by-name"]


def test_a_server_that_is_not_there_is_said(tmp_path):
    about = described(tmp_path, "mlflow", "http://127.0.0.1:1")
    with pytest.raises(TrackerError, match=r"cannot be reached \(no connection\)"):
        MlflowClient(about, {}).connect()
