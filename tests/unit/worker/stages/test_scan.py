"""The scan stage with a fake garak (see ``fake_garak``) and a fake target."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.unit.worker.conftest import Workplace, served
from tests.unit.worker.fake_model_server import FakeModelServer, Reply, Words
from tests.unit.worker.support.secure_server import SecureServer, write_chain
from tests.unit.worker.support.server_kinds import FIXED_TEMPERATURE, KINDS, Kind, openai

from safety_worker import subprocesses
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.generation import target
from safety_worker.scanning import probes
from safety_worker.stages import scan as stage

PROBE = {"primary_detector": "mitigation.MitigationBypass", "extended_detectors": []}
NAMES = [
    "dan.DanInTheWild",
    "fake.Crashes",
    "fake.DetectorNotLoaded",
    "fake.Dies",
    "fake.EndsEarly",
    "fake.Hangs",
    "fake.KillsTheLauncher",
    "fake.ProbeNotLoaded",
    "fake.Raises",
    "fake.WorksTheSecondTime",
    "fake.Good",
]


@pytest.fixture(autouse=True)
def _fake_garak(monkeypatch: pytest.MonkeyPatch, workplace: Workplace, tmp_path: Path) -> None:
    monkeypatch.setattr(subprocesses, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(subprocesses, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(target, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(
        stage, "load_probes", lambda: dict.fromkeys([*NAMES, "fake.Asks", "fake.Warns"], PROBE)
    )
    monkeypatch.setattr(stage, "garak_version", lambda: "0.17.1")
    monkeypatch.setattr(stage, "find_calibration", lambda: "calibration-2026-02.json sha256:0123456789ab")
    workplace.environment |= os.environ
    workplace.environment["PYTHONPATH"] = str(Path(__file__).parents[1] / "scanning/fake_garak")
    workplace.environment["FAKE_GARAK_LOG"] = str(tmp_path / "garak.log")


@pytest.fixture
def server() -> Iterator[FakeModelServer]:
    with FakeModelServer(lambda _prompt, _nth: Reply()) as fake:
        yield fake


def scan(workplace: Workplace, server: FakeModelServer, *names: str, **fields: Any) -> dict[str, Any]:
    fields = {"target": served(server.base_url), "probes": names, "probe_timeout_seconds": 60, **fields}
    workplace.run("scan", **fields)
    return json.loads((workplace.folder("scan") / "probes.json").read_text(encoding="utf-8"))


def words(tmp_path: Path) -> list[str]:
    """What the fake garak logged: ``imported``, and each probe that it began."""
    return (tmp_path / "garak.log").read_text(encoding="utf-8").split()


def ran(tmp_path: Path) -> list[str]:
    return [word for word in words(tmp_path) if word != "imported"]


def again(workplace: Workplace) -> None:
    """Let the stage run again, as after its pod died."""
    (workplace.folder("scan") / "manifest.json").unlink(missing_ok=True)


def test_a_probe_with_a_result(workplace: Workplace, server: FakeModelServer) -> None:
    summary = scan(workplace, server, "dan.DanInTheWild")
    assert summary == {
        "garakVersion": "0.17.1",
        "calibration": "2026-02-02 (23 models)",
        "calibrationFile": "calibration-2026-02.json sha256:0123456789ab",
        "detectors": "primary",
        "generations": 1,
        "promptCap": 256,
        "probes": [
            {
                "probe": "dan.DanInTheWild",
                "detector": "mitigation.MitigationBypass",
                "passed": 0,
                "total": 16,
                "zscore": pytest.approx(-2.429365974218487),
                "defcon": 1,
                "missing": "",
                "hits": 16,
            }
        ],
        "missing": [],
    }
    assert (workplace.folder("scan") / "probes/dan.DanInTheWild/probe.report.jsonl").is_file()


def test_the_record_names_garaks_version_and_calibration(
    workplace: Workplace, server: FakeModelServer
) -> None:
    record = workplace.run(
        "scan", target=served(server.base_url), probes=("fake.Good",), probe_timeout_seconds=9
    )
    assert record.versions == {
        "garak": "0.17.1",
        "garak-calibration": "calibration-2026-02.json sha256:0123456789ab",
    }


def test_each_probe_has_its_own_fate(workplace: Workplace, server: FakeModelServer) -> None:
    names = [name for name in NAMES if name != "fake.Hangs"]
    summary = scan(workplace, server, *names, "nope.Nope")
    assert [pair["probe"] for pair in summary["probes"]] == [
        "dan.DanInTheWild",
        "fake.WorksTheSecondTime",
        "fake.Good",
    ]
    assert {entry["probe"]: entry["reason"] for entry in summary["missing"]} == {
        "fake.Crashes": "garak left no report (exit code -11), 2 times",
        "fake.DetectorNotLoaded": "garak left no report (exit code 0: detector load failed: "
        "misleading.MustContradictNLI)",
        "fake.Dies": "garak left no report (exit code 1: RuntimeError), 2 times",
        "fake.EndsEarly": "garak stopped before its digest (exit code 0), 2 times",
        "fake.KillsTheLauncher": "garak left no report (its process died), 2 times",
        "fake.ProbeNotLoaded": "garak ran without this probe, it may not have loaded (exit code 0: "
        "failed to load probe probes.fake.ProbeNotLoaded)",
        "fake.Raises": "garak left no report (exit code 1: RuntimeError), 2 times",
        "nope.Nope": "garak 0.17.1 has no probe nope.Nope",
    }


def test_garak_is_imported_once_for_all_probes_and_again_when_its_process_died(
    workplace: Workplace, server: FakeModelServer, tmp_path: Path
) -> None:
    scan(workplace, server, "fake.Good", "fake.Dies", "dan.DanInTheWild", "fake.Crashes")
    assert words(tmp_path).count("imported") == 1
    again(workplace)
    scan(workplace, server, "fake.KillsTheLauncher", "fake.Good", inputs_hash="other")
    assert words(tmp_path).count("imported") == 3


def test_a_probe_that_failed_is_tried_once_more(
    workplace: Workplace, server: FakeModelServer, tmp_path: Path
) -> None:
    summary = scan(workplace, server, "fake.WorksTheSecondTime", "fake.Dies", "fake.DetectorNotLoaded")
    assert [pair["probe"] for pair in summary["probes"]] == ["fake.WorksTheSecondTime"]
    assert ran(tmp_path) == [*["fake.WorksTheSecondTime"] * 2, *["fake.Dies"] * 2, "fake.DetectorNotLoaded"]


def test_finished_probes_and_tries_are_kept_when_the_stage_starts_again(
    workplace: Workplace, server: FakeModelServer, tmp_path: Path
) -> None:
    names = ("dan.DanInTheWild", "fake.Dies")
    first = scan(workplace, server, *names)
    again(workplace)
    assert scan(workplace, server, *names) == first
    assert ran(tmp_path) == ["dan.DanInTheWild", "fake.Dies", "fake.Dies"]


def test_what_garaks_own_log_says_of_the_numbers_is_a_warning_also_when_the_stage_starts_again(
    workplace: Workplace, server: FakeModelServer
) -> None:
    fields = {"target": served(server.base_url), "probes": ("fake.Warns", "fake.Good")}
    record = workplace.run("scan", probe_timeout_seconds=60, **fields)
    (said,) = record.warnings
    assert said.startswith("garak: the server refused requests")
    again(workplace)
    assert workplace.run("scan", probe_timeout_seconds=60, **fields).warnings == (said,)
    good, warns = (
        json.loads(path.read_text()) for path in sorted(workplace.folder("scan").rglob("pairs.json"))
    )
    assert (good["warnings"], warns["warnings"]) == ([], [said])


def test_a_probe_that_takes_its_pod_down_twice_is_missing_and_the_others_run(
    workplace: Workplace, server: FakeModelServer, tmp_path: Path
) -> None:
    folder = workplace.folder("scan") / "probes/fake.Good"
    folder.mkdir(parents=True)
    (folder / "tries.json").write_text('{"count": 2, "reason": ""}', encoding="utf-8")
    summary = scan(workplace, server, "fake.Good", "dan.DanInTheWild")
    assert summary["missing"] == [
        {"probe": "fake.Good", "reason": "its pod was stopped while it ran, 2 times"}
    ]
    assert ran(tmp_path) == ["dan.DanInTheWild"]


def test_a_pod_that_is_moved_costs_no_try_and_leaves_nothing_running(
    workplace: Workplace, server: FakeModelServer
) -> None:
    def move(line: Any) -> None:
        if "fake.Hangs" in line.message and "0 s" not in line.message:
            raise SystemExit(143)

    object.__setattr__(workplace.context, "report_progress", move)
    with pytest.raises(SystemExit):
        scan(workplace, server, "fake.Hangs", probe_timeout_seconds=30)
    kept = workplace.folder("scan") / "probes/fake.Hangs/tries.json"
    assert json.loads(kept.read_text(encoding="utf-8"))["count"] == 0
    await_end_of_processes_with(str(workplace.folder("scan").parents[4]))


def await_end_of_processes_with(folder: str) -> None:
    """What was killed needs a moment."""
    deadline = time.monotonic() + 60
    while processes_with(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_with(folder) == []


def processes_with(folder: str) -> list[str]:
    """Command lines of living processes whose environment names a folder."""
    found = []
    for process_folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process_folder / "environ").read_bytes()
            command = (process_folder / "cmdline").read_bytes()
            state = (process_folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if folder.encode() in environment and b"launcher" in command and state != "Z":
            found.append(command.decode())
    return found


def test_a_hanging_probe_leaves_nothing_running(workplace: Workplace, server: FakeModelServer) -> None:
    summary = scan(workplace, server, "fake.Hangs", probe_timeout_seconds=1)
    assert summary["missing"] == [{"probe": "fake.Hangs", "reason": "not finished within 1 s, 2 times"}]
    scan(workplace, server, "fake.KillsTheLauncher", inputs_hash="other")
    await_end_of_processes_with(str(workplace.folder("scan").parents[4]))


def test_a_garak_that_does_not_start_is_said_in_its_own_words(
    workplace: Workplace, server: FakeModelServer, tmp_path: Path
) -> None:
    (tmp_path / "broken").touch()
    (entry,) = scan(workplace, server, "fake.Good")["missing"]
    assert entry["reason"] == "garak left no report (its process died: RuntimeError), 2 times"


def test_the_report_of_an_earlier_try_does_not_count(workplace: Workplace, server: FakeModelServer) -> None:
    folder = workplace.folder("scan") / "probes/fake.Dies"
    folder.mkdir(parents=True)
    good = Path(__file__).parents[1] / "scanning/data/two-probes.report.jsonl"
    text = good.read_text(encoding="utf-8").replace("dan.DanInTheWild", "fake.Dies")
    (folder / "probe.report.jsonl").write_text(text, encoding="utf-8")
    assert scan(workplace, server, "fake.Dies")["probes"] == []


def test_progress_names_the_probe_and_counts_finished_ones(
    workplace: Workplace, server: FakeModelServer
) -> None:
    scan(workplace, server, "dan.DanInTheWild", "fake.Good")
    seen = [(line.done, line.total, line.unit) for line in workplace.progress]
    assert {(0, 2, "probes"), (1, 2, "probes")} <= set(seen)
    assert seen[-1] == (2, 2, "probes")


def test_it_waits_for_the_target(workplace: Workplace, server: FakeModelServer) -> None:
    server.ready = False

    def become_ready(_progress: object) -> None:
        workplace.progress.append(_progress)  # type: ignore[arg-type]
        server.ready = len(workplace.progress) >= 3

    object.__setattr__(workplace.context, "report_progress", become_ready)
    assert scan(workplace, server, "fake.Good")["missing"] == []
    assert workplace.progress[0].message.startswith("waiting for the target to answer: ")


def test_an_endpoint_without_a_list_of_models_is_scanned(workplace: Workplace) -> None:
    with FakeModelServer(lambda *_: Reply(), models=()) as server:
        assert scan(workplace, server, "fake.Good")["missing"] == []


def test_a_target_that_never_answers_is_an_infrastructure_failure(
    workplace: Workplace, server: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target.Target.wait, "__defaults__", (0.1, *target.Target.wait.__defaults__[1:]))
    server.ready = False
    with pytest.raises(InfrastructureError, match="TargetUnreachable"):
        scan(workplace, server, "fake.Good")


def test_a_target_that_dies_during_a_probe_is_a_missing_probe(
    workplace: Workplace, server: FakeModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr(probes, "DEAD_SECONDS", 0.2)
    object.__setattr__(
        workplace.context,
        "report_progress",
        lambda line: setattr(server, "ready", "Hangs" not in line.message),
    )
    summary = scan(workplace, server, "fake.Hangs", probe_timeout_seconds=30)
    assert summary["missing"] == [{"probe": "fake.Hangs", "reason": "the target stopped answering, 2 times"}]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_target_that_lists_its_models_and_answers_nothing_runs_no_probe(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int
) -> None:
    monkeypatch.setattr(target.Target.wait, "__defaults__", (0.1, *target.Target.wait.__defaults__[1:]))
    with (
        FakeModelServer(lambda _p, _n: Reply(status=status)) as server,
        pytest.raises(InfrastructureError, match="TargetUnreachable"),
    ):
        scan(workplace, server, "fake.Good")
    assert not (tmp_path / "garak.log").exists()


@pytest.mark.parametrize(
    ("status", "reason"), [(400, "RequestRefused"), (422, "RequestRefused"), (404, "EndpointNotFound")]
)
def test_a_target_that_refuses_the_request_is_the_users_to_mend(
    workplace: Workplace, status: int, reason: str
) -> None:
    with (
        FakeModelServer(lambda _p, _n: Reply(status=status)) as server,
        pytest.raises(InputError, match=f"{reason}: .*HTTP {status}"),
    ):
        scan(workplace, server, "fake.Good")


def test_what_the_target_refuses_of_garaks_settings_is_named_before_garak_starts(
    workplace: Workplace, tmp_path: Path
) -> None:
    with (
        FakeModelServer(lambda *_: Reply(), refuses=lambda _: FIXED_TEMPERATURE) as server,
        pytest.raises(InputError, match=r"refuses temperature \(unsupported_value\)"),
    ):
        scan(workplace, server, "fake.Good")
    assert not (tmp_path / "garak.log").exists()


def test_garak_sends_what_the_target_takes(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[dict[str, Any]] = []
    build = probes.build_configuration

    def keep(*args: Any) -> dict[str, Any]:
        written.append(build(*args))
        return written[-1]

    monkeypatch.setattr(probes, "build_configuration", keep)

    def refuses(body: dict[str, Any]) -> Words | None:
        for name in ("max_tokens", "top_p", "presence_penalty"):
            if name in body:
                return openai(f"Unsupported parameter: '{name}'", "unsupported_parameter", name)
        return None

    with FakeModelServer(lambda *_: Reply(), refuses=refuses) as server:
        assert scan(workplace, server, "fake.Good")["missing"] == []
    (configuration,) = written
    generator = configuration["plugins"]["generators"]["openai"]["OpenAICompatible"]
    assert set(generator["suppressed_params"]) == {"stop", "max_tokens", "top_p", "presence_penalty"}
    assert generator["extra_params"] == {"max_completion_tokens": generator["max_tokens"]}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_of_server_is_scanned(workplace: Workplace, kind: Kind) -> None:
    with FakeModelServer(lambda *_: Reply(), lists=kind.lists, refuses=kind.refuses) as server:
        assert scan(workplace, server, "fake.Good")["missing"] == []


def test_a_model_that_the_target_does_not_have_is_said(workplace: Workplace) -> None:
    with FakeModelServer(lambda *_: Reply()) as server:
        other = served(server.base_url).model_copy(update={"model": "other"})
        with pytest.raises(InputError, match=r"ModelNotServed: .*'other'"):
            scan(workplace, server, "fake.Good", target=other)


def test_a_refused_key_is_the_users_to_mend(workplace: Workplace) -> None:
    with FakeModelServer(lambda _p, _n: Reply(), api_key="right") as server:
        workplace.environment["KEY"] = "wrong"
        with pytest.raises(InputError, match=r"Unauthorized: .*apiKeySecretRef"):
            scan(workplace, server, "fake.Good", target=served(server.base_url, api_key_env="KEY"))


def test_a_name_that_is_no_probe_runs_nothing(
    workplace: Workplace, server: FakeModelServer, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"security\.garak\.probes"):
        scan(workplace, server, "dan.DanInTheWild", "../../etc")
    assert not (tmp_path / "garak.log").exists()


def test_garak_asks_rails_that_speak_tls_by_a_way_that_checks_their_certificate(
    workplace: Workplace, tmp_path: Path
) -> None:
    issued = trustme.CA().issue_cert("assistant.example.com")
    workplace.environment["http_proxy"] = "http://127.0.0.1:9"
    with SecureServer(issued, lambda _prompt, _nth: Reply()) as server:
        target = served(server.base_url, certificate=write_chain(tmp_path / "tls.crt", issued))
        summary = scan(workplace, server, "fake.Asks", target=target)
    assert [pair["missing"] for pair in summary["probes"]] == [""]
