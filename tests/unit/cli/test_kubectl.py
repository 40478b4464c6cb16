"""kubectl's complaints in words that say what to do."""

import importlib
import inspect
import sys

import pytest

from safety_cli.errors import CliError
from safety_cli.kubectl import Kubectl, UnknownKindsError, UnreachableError, explain
from safety_cli.main import build_parser, main

REFUSED = """\
E1127 20:00:00.1 1 memcache.go:265] couldn't get current server API group list
The connection to the server 10.0.0.1:6443 was refused - did you specify the right host or port?
Get "https://10.0.0.1:6443/api": dial tcp 10.0.0.1:6443: connect: connection refused
"""
STARVED = """\
E1127 20:00:00.1 1 memcache.go:287] couldn't get resource list for modelsafety.dev/v1alpha1: Get "https://10.0.0.1:\
6443/apis/modelsafety.dev/v1alpha1": context deadline exceeded
error: the server doesn't have a resource type "safetyevals"
"""


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (
            'error: the server doesn\'t have a resource type "safetyevals"',
            UnknownKindsError,
            "operator is not installed",
        ),
        (STARVED, UnreachableError, "not answer"),
        (
            "Error from server (TooManyRequests): the server has received too many",
            UnreachableError,
            "not answer",
        ),
        ("Error from server (InternalError): an error on the server", UnreachableError, "not answer"),
        (
            'Error from server (Forbidden): safetyevals.modelsafety.dev is forbidden: User "eve" cannot list',
            CliError,
            "ask for the role view",
        ),
        (
            REFUSED,
            UnreachableError,
            r"does not answer\. kubectl says: The connection",
        ),
        ("Unable to connect to the server: net/http: TLS handshake timeout", UnreachableError, "not answer"),
        ('error: context "nowhere" does not exist', CliError, 'says: error: context "nowhere"'),
        ("\x1b[2Jboo", CliError, r"\\x1b\[2Jboo"),
        ("The connection to the server localhost:8080 was refused - did", CliError, "set KUBECONFIG"),
        ("", CliError, "without a word"),
        (
            'E1130 05:15:13.4 1 run.go:72] "command failed" err="no kustomization here"',
            CliError,
            "^kubectl says: no kust",
        ),
    ],
)
def test_each_complaint_says_what_to_do(said, error, words):
    with pytest.raises(error, match=words) as caught:
        explain(said)
    assert type(caught.value) is error
    assert "E1127" not in str(caught.value)


def test_options_go_to_kubectl_as_they_are():
    assert Kubectl("file", "ctx", "team").options() == [
        "--kubeconfig=file",
        "--context=ctx",
        "--namespace=team",
    ]
    assert Kubectl().options() == []


def test_without_kubectl_it_says_where_to_get_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["status"]) == 1
    assert "Install it: https://kubernetes.io" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line",
    ["status", "watch", "report x", "hits x", "compare a b", "verify x --public-key k", "render -f x"],
)
def test_every_option_is_a_parameter_of_its_command(line):
    options = vars(build_parser().parse_args(line.split()))
    module = importlib.import_module(f"safety_cli.{options.pop('command')}")
    for common in ("namespace", "context", "kubeconfig"):
        options.pop(common, None)
    parameters = dict(inspect.signature(module.show).parameters)
    needed = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    assert needed - {"console", "kubectl"} <= set(options) <= set(parameters)


@pytest.mark.parametrize(
    "line", [[], ["dance"], ["watch", "--interval", "0"], ["verify", "base"], ["compare", "a"]]
)
def test_a_wrong_command_line_is_2(line, capsys):
    with pytest.raises(SystemExit) as caught:
        main(line)
    assert caught.value.code == 2
    assert "usage: kubectl safety" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_error_with_a_traceback(tmp_path):
    import subprocess  # noqa: PLC0415 - here only

    from tests.unit.cli.support import QUICKSTART, REPO  # noqa: PLC0415 - here only

    command = f"{sys.executable} -m safety_cli.main render -f {QUICKSTART} | head -1"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(REPO / "operator"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        check=False,
    )
    assert done.stdout == "---\n"
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
