"""What the report stage takes from the stages before it: shards of a scan, accuracy, judges."""

import json
import os
from typing import Any

import pytest
from tests.unit.worker.conftest import Workplace, served

from safety_records.eval_stages import JudgeSpec
from safety_records.result import StageResult
from safety_worker.statistics import wilson

DIGEST = "sha256:" + "3" * 64


def write_shard(workplace: Workplace, name: str, probe: dict[str, Any], **fields: Any) -> None:
    folder = workplace.context.store.output(name)
    calibration = {"calibration": "2026-02-02 (23 models)", "calibrationFile": "c.json sha256:1"}
    document = {"garakVersion": "0.17.1", "generations": 5, **calibration, "probes": [probe], **fields}
    (folder / "probes.json").write_text(json.dumps(document))
    logs = folder / "probes" / probe["probe"]
    logs.mkdir(parents=True)
    hit = {"probe": probe["probe"], "detector": "d", "prompt": "p", "output": {"text": "o"}, "score": 1.0}
    (logs / "probe.hitlog.jsonl").write_text(json.dumps(hit) + "\n")
    workplace.context.store.complete(name, StageResult(stage="scan", inputs_hash=name))


def make_report(workplace: Workplace, scanned: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    parts = {"scanned": scanned, **{key: fields.pop(key) for key in ("benchmarked",) if key in fields}}
    scored = workplace.run("score", suites=(), **parts)
    report = {"target_uri": "x", "target_digest": "", "thresholds": [], "verdict": "Unknown"}
    report |= {"scored": "demo/safetyeval/base/run/score", "scores": scored.scores}
    workplace.run("report", **report, **parts, **fields)
    found: dict[str, Any] = json.loads((workplace.folder("report") / "report.json").read_text())
    return found


def test_shards_of_a_scan_are_one_table_and_all_their_hits_are_shown(workplace: Workplace) -> None:
    absent = [{"probe": "p.C", "reason": "died"}]
    write_shard(workplace, "s1", {"probe": "p.A", "detector": "d", "passed": 40, "total": 50}, missing=absent)
    write_shard(workplace, "s2", {"probe": "p.B", "detector": "d", "passed": 10, "total": 50})
    document = make_report(workplace, ("s1", "s2"))
    security = document["security"]
    assert [probe["probe"] for probe in security["probes"]] == ["p.B", "p.A", "p.C"]
    assert security["probes"][2]["missing"] == "died"
    success = security["probes"][1]["attackSuccess"]
    assert tuple(success.values()) == pytest.approx(wilson(2, 10)), "five answers to a prompt are one row"
    assert (security["calibrationFile"], security["generations"]) == ("c.json sha256:1", 5)
    assert [(hits["metric"], hits["failed"]) for hits in document["hits"]] == [
        ("security.p.A", 1),
        ("security.p.B", 1),
    ]
    scans = [item["path"] for item in document["artifacts"] if item["stage"] == "scan"]
    assert scans == ["s1", "s2"]


def test_what_stages_warn_of_is_in_the_report_once(workplace: Workplace) -> None:
    for name, warnings in (("s1", ("a | word", "both")), ("s2", ("both", "x" * 600))):
        write_shard(workplace, name, {"probe": f"p.{name}", "detector": "d", "passed": 4, "total": 5})
        result = StageResult(stage="scan", inputs_hash=name, warnings=warnings)
        workplace.context.store.complete(name, result)
    document = make_report(workplace, ("s1", "s2"))
    assert document["warnings"] == ["a | word", "both", "x" * 512]
    for end in ("html", "md"):
        page = (workplace.folder("report") / f"report.{end}").read_text()
        assert page.count("both") == 1
        assert "Warnings" in page


def test_every_number_of_a_benchmark_is_in_the_report(workplace: Workplace) -> None:
    tasks = [
        {"name": "a", "metric": "acc", "value": 0.5, "correct": 5, "samples": 10, "identity": {"task": "t"}},
        {"name": "b", "metric": "bleu", "samples": 0, "missing": "no valid answer"},
    ]
    folder = workplace.context.store.output("bench")
    (folder / "tasks.json").write_text(json.dumps({"lmEvalVersion": "0.4.13", "tasks": tasks}))
    workplace.context.store.complete("bench", StageResult(stage="benchmark", inputs_hash="h"))
    accuracy = make_report(workplace, benchmarked="bench")["accuracy"]
    assert accuracy["lmEvalVersion"] == "0.4.13"
    first, second = accuracy["tasks"]
    assert (first["value"], first["correct"], first["identity"]) == (0.5, 5, {"task": "t"})
    assert (second["value"], second["missing"]) == (None, "no valid answer")


def test_a_judge_is_named_with_its_model_and_without_addresses_or_keys(workplace: Workplace) -> None:
    model = served("http://judge.internal/v1", digest=DIGEST, api_key_env="JUDGE_KEY")
    judges = [
        JudgeSpec(name="guard", type="aegis", variant="v3", served=model),
        JudgeSpec(name="general", type="rubric", served=model, unsafe_from=3),
        JudgeSpec(name="own", type="classifier", path="team/c", digest=DIGEST, unsafe_labels=("toxic",)),
    ]
    write_shard(workplace, "s1", {"probe": "p.A", "detector": "d", "passed": 4, "total": 5})
    document = make_report(workplace, ("s1",), judges=judges)
    guard, general, own = document["judges"]
    assert (guard["variant"], guard["model"], guard["modelDigest"]) == ("v3", "model", DIGEST)
    assert (guard["unsafeFrom"], general["unsafeFrom"]) == (None, 3)
    assert own["modelDigest"] == DIGEST
    assert own["settings"] == {"unsafeLabels": '["toxic"]'}
    assert "judge.internal" not in json.dumps(document)
    assert "JUDGE_KEY" not in json.dumps(document)


def test_a_report_says_what_belongs_to_its_run_and_lets_old_runs_go(workplace: Workplace) -> None:
    old = workplace.artifacts / "demo/safetyeval/base/run/generate-of-old"
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    make_report(workplace, folders=["score"], kept=[])
    listed = workplace.context.store.read_json("demo/safetyeval/base/run/report/folders.json")
    assert listed == ["score"]
    assert not old.exists()
    assert workplace.folder("score").is_dir()
