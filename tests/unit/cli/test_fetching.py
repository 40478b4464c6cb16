"""report, hits and verify against the real report server, at its own port instead of a forwarded one."""

import contextlib
import copy
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.support import REPO, GivenResources, recording_console, text_of, with_scores
from tests.unit.worker.reporting.test_attestation import KEY, pem, public_pem
from tests.unit.worker.support.reports import HOSTILE, make_report

from safety_cli import fetching, report, verify
from safety_cli import hits as hits_command
from safety_cli.errors import CliError
from safety_records.attestation import ATTESTATION_NAME
from safety_records.manifest import MANIFEST_NAME
from safety_records.report_files import FINETUNE_NAMES, REPORT_NAMES, SERVER_NAME
from safety_worker.artifacts.digests import build_manifest
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.reporting.attestation import build_statement, load_signer, sign
from safety_worker.stages.report import write_report

FOLDER = "team/safetyeval/base/0f9a8b7c/report-0123456789abcdef"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact store with the report of team/base as the worker leaves it."""
    made = tmp_path_factory.mktemp("artifacts")
    folder = made / FOLDER
    folder.mkdir(parents=True)
    document = make_report(namespace="team", name="base")
    hit = document.hits[0].shown[0]
    shown = tuple(hit.model_copy(update={"prompt": text, "answer": f"Sure: {text}"}) for text in HOSTILE)
    hits = document.hits[0].model_copy(update={"shown": shown, "failed": 99})
    document = document.model_copy(update={"hits": (hits,)})
    names = write_report(document, folder)
    statement = build_statement(document, folder, names)
    atomic_write_text(folder / ATTESTATION_NAME, sign(statement, load_signer(pem(KEY))))
    atomic_write_text(folder / MANIFEST_NAME, build_manifest(folder, "hash").to_json())
    return made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def server(root: Path) -> Iterator[int]:
    """The report server as a process of its own, as in its pod."""
    port = free_port()
    environment = {
        "PYTHONPATH": str(REPO / "operator"),
        "PATH": os.environ["PATH"],
        "SAFETY_NAMESPACE": "team",
        "SAFETY_CLAIM": "safety-artifacts",
        "SAFETY_ROOT": str(root),
        "SAFETY_PORT": str(port),
    }
    process = subprocess.Popen([sys.executable, "-m", "safety_reports"], env=environment)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            break
        time.sleep(0.05)
    yield port
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0


@pytest.fixture
def forwarded(server: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Leads forwarded ports to the server; gives the namespaces that were asked for."""
    asked: list[str] = []

    @contextlib.contextmanager
    def forward(kubectl: Any) -> Iterator[int]:
        asked.append(kubectl.namespace)
        yield server

    monkeypatch.setattr(fetching, "forwarded_port", forward)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return asked


class Given(GivenResources):
    kubeconfig = ""
    context = ""


@pytest.fixture
def resource(root: Path) -> dict[str, Any]:
    digest = build_manifest(root / FOLDER).digest
    found = with_scores("base", [], digest="1" * 64)
    found["status"]["report"] = {"uri": f"pvc://safety-artifacts/{FOLDER}", "digest": digest}
    return found


def test_a_report_is_fetched_once_and_its_page_named(root, resource, forwarded, tmp_path) -> None:
    for _ in range(2):
        console = recording_console(20)
        assert report.show(console, Given([resource]), "base", into=None, browser=False) == 0
        page = Path(text_of(console).strip())
        assert page.read_bytes() == (root / FOLDER / "report.html").read_bytes()
    assert forwarded == ["team"]
    assert page.parent.stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "cache/kubectl-safety").iterdir()] == [page.parent.name]


def test_all_files_can_be_copied(resource, forwarded, tmp_path) -> None:
    target = tmp_path / "a/b"
    report.show(recording_console(), Given([resource]), "base", into=target, browser=True)
    assert {path.name for path in target.iterdir()} == REPORT_NAMES | {MANIFEST_NAME}


def test_a_blends_page_is_fetched_without_its_rows(root, forwarded, tmp_path) -> None:
    path = "team/safetyblend/blend/0f9a8b7c/assemble-0123456789abcdef"
    folder = root / path
    folder.mkdir(parents=True)
    for name in ("blend.html", "blend.json", "README.md", "lineage.json", "train.jsonl"):
        (folder / name).write_text(f"text of {name}")
    manifest = build_manifest(folder, "hash")
    atomic_write_text(folder / MANIFEST_NAME, manifest.to_json())
    blend = with_scores("blend", []) | {"kind": "SafetyBlend"}
    blend["status"]["output"] = {"uri": f"pvc://safety-artifacts/{path}", "digest": manifest.digest}
    console = recording_console(200)
    report.show(console, Given([blend]), "blend", into=tmp_path / "copy", browser=False)
    assert Path(text_of(console).strip()).read_text() == "text of blend.html"
    assert not (tmp_path / "copy/train.jsonl").exists()
    namesake = with_scores("blend", []) | {"kind": "SafetyFinetune"}
    report.show(console, Given([namesake, blend]), "blend", into=None, browser=False)
    served = with_scores("served", []) | {"kind": "GuardedDeployment"}
    with pytest.raises(CliError, match="a GuardedDeployment leaves no report"):
        report.show(console, Given([served]), "served", into=None, browser=False)


def test_a_finetunes_page_is_fetched(root, forwarded) -> None:
    path = "team/safetyfinetune/tuned/0f9a8b7c/report-0123456789abcdef"
    folder = root / path
    folder.mkdir(parents=True)
    for name in FINETUNE_NAMES:
        (folder / name).write_text(f"text of {name}")
    manifest = build_manifest(folder, "hash")
    atomic_write_text(folder / MANIFEST_NAME, manifest.to_json())
    finetune = with_scores("tuned", []) | {"kind": "SafetyFinetune"}
    finetune["status"]["report"] = {"uri": f"pvc://safety-artifacts/{path}", "digest": manifest.digest}
    console = recording_console(200)
    report.show(console, Given([finetune]), "tuned", into=None, browser=False)
    page = Path(text_of(console).strip())
    assert page.read_text() == "text of finetune.html"
    assert (page.parent / "metrics.parquet").is_file()


def test_a_copy_that_was_changed_is_fetched_again(resource, forwarded) -> None:
    folder = fetching.fetch(Given([resource]), resource)
    (folder / "report.md").write_text("Passed")
    assert (fetching.fetch(Given([resource]), resource) / "report.md").read_text() != "Passed"
    assert forwarded == ["team", "team"]


def test_a_server_that_has_something_else_is_not_believed(resource, forwarded, tmp_path) -> None:
    resource["status"]["report"]["digest"] = "sha256:" + "9" * 64
    with pytest.raises(CliError, match="not the one that the resource names"):
        fetching.fetch(Given([resource]), resource)
    assert list((tmp_path / "cache/kubectl-safety").iterdir()) == []


def test_a_file_that_changed_behind_its_manifest_is_not_believed(root, resource, forwarded) -> None:
    page = root / FOLDER / "report.md"
    text = page.read_bytes()
    page.write_bytes(text.swapcase())
    try:
        with pytest.raises(CliError, match=r"report\.md arrived changed"):
            fetching.fetch(Given([resource]), resource)
    finally:
        page.write_bytes(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"report": None}, r"no report yet \(Succeeded\)"),
        (
            {"report": {"uri": "pvc://c/../x", "digest": "sha256:" + "1" * 64}},
            "names no report of this namespace",
        ),
        (
            {
                "report": {
                    "uri": f"pvc://safety-artifacts/{FOLDER.replace('team', 'other')}",
                    "digest": "sha256:" + "1" * 64,
                }
            },
            "names no report of this namespace",
        ),
        (
            {"report": {"uri": f"pvc://own/{FOLDER}", "digest": "sha256:" + "1" * 64}},
            "answered 404: This server has the reports on the claim safety-artifacts",
        ),
        (
            {
                "report": {
                    "uri": f"pvc://safety-artifacts/{FOLDER.replace('base', 'gone')}",
                    "digest": "sha256:" + "1" * 64,
                }
            },
            "answered 404: No such report",
        ),
    ],
)
def test_what_is_not_there_is_said(resource, forwarded, change, words) -> None:
    resource["status"] |= change
    with pytest.raises(CliError, match=words):
        fetching.fetch(Given([resource]), resource)


def test_a_broken_connection_is_said(resource, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fetching, "forwarded_port", lambda _: contextlib.nullcontext(free_port()))
    with pytest.raises(CliError, match="connection to the report server broke"):
        fetching.fetch(Given([resource]), resource)


def list_hits(resource, *, metrics=(), limit=20, reveal=False, width=120) -> str:
    console = recording_console(width)
    assert (
        hits_command.show(console, Given([resource]), "base", metrics=metrics, limit=limit, reveal=reveal)
        == 0
    )
    return text_of(console)


def test_hits_hide_what_is_unsafe_until_it_is_asked_for(root, resource, forwarded) -> None:
    document = json.loads((root / FOLDER / "report.json").read_text())
    texts = {hit[key] for group in document["hits"] for hit in group["shown"] for key in ("prompt", "answer")}
    hidden = list_hits(resource)
    assert "characters, hidden" in hidden
    assert "--show" in hidden
    assert not [text for text in texts if text in hidden]
    shown = list_hits(resource, reveal=True, width=10_000_000)
    assert "hidden" not in shown
    assert "<script>window.hacked = 1</script>" in shown


def test_hostile_text_cannot_act_on_the_terminal(root, resource, forwarded, tmp_path, monkeypatch) -> None:
    """Every kind of hostile text, in every field that a model or a data set fills."""
    folder = tmp_path / "report"
    shutil.copytree(root / FOLDER, folder)
    document = json.loads((folder / "report.json").read_text())
    group = document["hits"][0]
    template = group["shown"][0]
    group["shown"] = [
        template
        | {"prompt": text, "answer": text, "error": text, "detail": text, "judge": text, "categories": [text]}
        for text in HOSTILE
    ]
    group["metric"] = "\x1b[31mmetric"
    (folder / "report.json").write_text(json.dumps(document))
    monkeypatch.setattr(hits_command, "fetch", lambda *_: folder)
    for reveal in (False, True):
        text = list_hits(resource, reveal=reveal)
        assert not {"\x1b", "\x00", "\x07", "\u202e", "\u200b", "\r"} & set(text)
    assert "\\x1b[2J\\x00\\x07 \\u202eevil\\u200b\\U000e0041" in list_hits(resource, reveal=True)


def test_hits_of_one_metric_and_a_few_only(root, resource, forwarded) -> None:
    document = json.loads((root / FOLDER / "report.json").read_text())
    names = [group["metric"] for group in document["hits"]]
    text = list_hits(resource, metrics=[names[0].rpartition(".")[2]], limit=1)
    assert names[0] in text
    assert "  1. " in text
    assert "  2. " not in text
    with pytest.raises(CliError, match="no such metric with hits"):
        list_hits(resource, metrics=["nothing"])


def test_verify_fetches_what_it_checks(resource, forwarded, tmp_path) -> None:
    public = tmp_path / "key.pub"
    public.write_bytes(public_pem(KEY))
    console = recording_console(300)
    code = verify.show(console, Given([resource]), "base", public_key=public, folder=None, passed=False)
    assert code == 0, text_of(console)
    older = copy.deepcopy(resource)
    older["status"]["target"]["digest"] = "sha256:" + "2" * 64
    code = verify.show(console, Given([older]), "base", public_key=public, folder=None, passed=False)
    assert (code, "NOT VERIFIED" in text_of(console)) == (1, True)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (f'Error from server (NotFound): pods "{SERVER_NAME}-0" not found', "reports.create: always"),
        (
            'Error from server (Forbidden): pods "x" is forbidden: User "eve" cannot get',
            "safety-reports-reader",
        ),
        (
            "error: unable to forward port because pod is not running. Current status=Pending",
            "does not run yet",
        ),
        ("Unable to connect to the server: dial tcp: i/o timeout", "API server does not answer"),
    ],
)
def test_a_port_that_cannot_be_forwarded_says_what_to_do(said, words, tmp_path, monkeypatch) -> None:
    """Kubectl's words as they are known; a script says them in its place."""
    script = tmp_path / "kubectl"
    script.write_text(f"#!/bin/sh\ncat >&2 <<'END'\n{said}\nEND\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(CliError, match=words), fetching.forwarded_port(fetching.Kubectl()):
        pass


def test_forwarding_lasts_as_long_as_the_block(tmp_path, monkeypatch) -> None:
    """A script in kubectl's place; the real one is in tests/e2e."""
    script = tmp_path / "kubectl"
    line = "Forwarding from 127.0.0.1:4711 -> 8080"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\necho '{line}'\nexec sleep 600\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with fetching.forwarded_port(fetching.Kubectl()) as port:
        assert port == 4711
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_server_refuses_to_start_without_knowing_whose_reports() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "safety_reports"],
        env={"PYTHONPATH": str(REPO / "operator"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "SAFETY_NAMESPACE and SAFETY_CLAIM" in done.stdout
