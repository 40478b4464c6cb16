"""All four kinds on the real cluster and the real model, with everything killed once on the way.

One story, told once per session by the fixture ``story``; each test looks at another side of it.
"""

import base64
import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.kube import Kube, Object, condition, is_true
from tests.until import until

pytestmark = pytest.mark.cluster

FLOW = Path(__file__).parent / "flow"
OPERATOR_NAMESPACE = "model-safety-system"
SECONDS = 1500
"""When something has gone wrong: processors without bfloat16 answer four times as slowly as others."""

PROBE_DIRECT = """
import json, sys, urllib.request
hi = [{"role": "user", "content": "Hi"}]
request = urllib.request.Request(sys.argv[1] + "/chat/completions",
    json.dumps({"model": sys.argv[2], "messages": hi, "max_tokens": 4}).encode(),
    {"Content-Type": "application/json"})
try:
    print("ANSWERED", urllib.request.urlopen(request, timeout=8).read(200))
except OSError as error:
    print("REFUSED", error)
"""
"""Asks an OpenAI-compatible server for a model without a key, and says whether it answered."""


@dataclass
class Story:
    """What happened on the way."""

    kube: Kube
    done_when_generation_was_killed: int = 0
    step_when_training_was_killed: int = 0
    waited_for: dict[str, str] = field(default_factory=dict)


def kill(kube: Kube, *args: str) -> None:
    """Delete pods at once, as a lost node would."""
    kube.run("delete", "pod", *args, "--grace-period=0", "--force", "--wait=false")


def running_stage(kube: Kube, kind: str, name: str, stage: str, least: int) -> int:
    """How far a stage is, once it has done at least so many units; 0 before."""
    resource = kube.get(kind, name)
    failed = condition(resource, "Stalled")
    assert failed.get("status") != "True", f"{kind}/{name} is stalled: {failed}"
    progress = resource.get("status", {}).get("progress") or {}
    if progress.get("stage") != stage or progress.get("done", 0) < least:
        return 0
    return int(progress["done"])


def wait_ready(kube: Kube, kind: str, name: str) -> Object:
    """The resource once it is Ready; fails at once with its words when it stalls for good."""

    def look() -> Object | None:
        resource = kube.get(kind, name)
        return resource if is_true(resource, "Ready") else None

    try:
        return until(look, f"{kind}/{name} to be Ready", SECONDS)
    except AssertionError as error:
        status = json.dumps(kube.get(kind, name).get("status"), indent=1)
        raise AssertionError(f"{error}\n{status[-4000:]}") from error


@pytest.fixture(scope="module")
def story(kube: Kube) -> Story:
    """Apply everything at once; kill operator and worker in generation and in training; wait."""
    story = Story(kube)
    kube.run("apply", "-k", str(FLOW))

    def waits() -> str:
        return str(condition(kube.get("gdep", "assistant"), "Ready").get("message", ""))

    story.waited_for["gdep"] = until(waits, "the first condition of the deployment", 30)
    story.done_when_generation_was_killed = until(
        lambda: running_stage(kube, "seval", "base", "generate", 5), "generation to be under way", SECONDS
    )
    kill(
        kube, "-l", "modelsafety.dev/kind=SafetyEval,modelsafety.dev/name=base,modelsafety.dev/role=generate"
    )
    kube.run(
        "delete", "pod", "-n", OPERATOR_NAMESPACE, "--all", "--grace-period=0", "--force", "--wait=false"
    )
    wait_ready(kube, "sblend", "blend")
    story.step_when_training_was_killed = until(
        lambda: running_stage(kube, "sft", "hardened", "train", 3), "training to be under way", SECONDS
    )
    kube.run(
        "delete", "pod", "-n", OPERATOR_NAMESPACE, "--all", "--grace-period=0", "--force", "--wait=false"
    )
    kill(
        kube,
        "-l",
        "modelsafety.dev/kind=SafetyFinetune,modelsafety.dev/name=hardened,modelsafety.dev/role=train",
    )
    wait_ready(kube, "sft", "hardened")
    wait_ready(kube, "seval", "base")
    wait_ready(kube, "seval", "hardened")
    wait_ready(kube, "gdep", "assistant")
    wait_ready(kube, "seval", "through-rails")
    return story


def test_a_resource_says_what_it_waits_for(story: Story) -> None:
    assert "hardened" in story.waited_for["gdep"]


def rows_of(kube: Kube, kind: str, name: str, stage: str) -> list[dict[str, Any]]:
    """The finished rows of a stage, from the shard files in the artifact store."""
    return kube.read_lines(f"{kube.namespace}/{kind.lower()}/{name}/*/{stage}-*/rows-*.jsonl")


def test_no_finished_row_is_generated_twice_when_operator_and_worker_are_killed(story: Story) -> None:
    assert story.done_when_generation_was_killed >= 5
    rows = rows_of(story.kube, "SafetyEval", "base", "generate")
    seen = Counter((row["suite"], row["digest"]) for row in rows)
    assert len(seen) == 40 + 4 + 8
    assert [key for key, count in seen.items() if count > 1] == []


def test_training_continues_from_its_last_checkpoint_when_operator_and_worker_are_killed(
    story: Story,
) -> None:
    status = story.kube.get("sft", "hardened")["status"]
    assert story.step_when_training_was_killed >= 3
    assert status["step"] == status["steps"] == 8
    assert status["resumes"] >= 1
    steps = [
        line["step"]
        for line in story.kube.read_lines("*/safetyfinetune/hardened/*/train-*.work/metrics.jsonl")
        if "loss" in line
    ]
    repeated = len(steps) - len(set(steps))
    assert set(steps) == set(range(1, 9))
    assert repeated <= 2, f"more was lost than the steps since the last checkpoint: {steps}"


def test_every_score_has_an_interval_or_says_why_it_is_missing(story: Story) -> None:
    for name in ("base", "hardened"):
        scores = story.kube.get("seval", name)["status"]["scores"]
        metrics = {score["metric"] for score in scores}
        assert {"contentSafety", "contentSafety.harmbench", "contentSafety.over-refusal"} <= metrics
        assert "accuracy.common-knowledge" in metrics
        assert any(metric.startswith("security.") for metric in metrics)
        for score in scores:
            assert ("value" in score and "lower" in score and "upper" in score) or score["missing"]


def test_the_second_evaluation_is_paired_with_the_first(story: Story) -> None:
    scores = story.kube.get("seval", "hardened")["status"]["scores"]
    harmbench = next(score for score in scores if score["metric"] == "contentSafety.harmbench")
    assert harmbench["paired"]["baseline"] == "base"
    assert harmbench["paired"]["pairs"] == 40


def test_the_gate_names_the_very_digest_that_was_evaluated(story: Story) -> None:
    trained = story.kube.get("sft", "hardened")["status"]["output"]["digest"]
    assert story.kube.get("seval", "hardened")["status"]["target"]["digest"] == trained
    deployment = story.kube.get("gdep", "assistant")
    assert is_true(deployment, "GatePassed")
    assert deployment["status"]["served"]["modelDigest"] == trained


def test_the_direct_way_to_a_guarded_model_is_refused(story: Story) -> None:
    services = story.kube.items("service", kind="GuardedDeployment", name="assistant", role="model")
    assert len(services) == 2, "the model server's Service, and the headless one of its pods"
    for number, service in enumerate(services):
        direct = f"http://{service['metadata']['name']}:8000/v1"
        probe = story.kube.pod(f"probe-{number}", ["python3", "-c", PROBE_DIRECT, direct, "model"])
        assert "REFUSED" in probe["output"]
    guarded = story.kube.get("gdep", "assistant")["status"]["endpoint"]
    assert guarded.startswith("http://assistant.")
    patient = PROBE_DIRECT.replace("=8)", "=60)")
    allowed = story.kube.pod("guarded", ["python3", "-c", patient, guarded, "assistant"])
    assert "ANSWERED" in allowed["output"], "the probe proves nothing when the guarded endpoint is closed too"


def test_the_running_proof_is_on_the_resource(story: Story) -> None:
    deployment = story.kube.get("gdep", "assistant")
    assert is_true(deployment, "BypassClosed")
    assert is_true(deployment, "RailsProven")
    assert deployment["status"]["proof"]["unsafeBlocked"] == "3/3"


def test_an_evaluation_through_the_rails_says_what_they_add_and_cost(story: Story) -> None:
    status = story.kube.get("seval", "through-rails")["status"]
    served = story.kube.get("gdep", "assistant")["status"]["served"]
    assert status["target"]["guarded"]["modelDigest"] == served["modelDigest"]
    assert status["target"]["digest"] != served["modelDigest"]
    rails = status["rails"]
    assert rails["blockedUnsafe"]["total"] == 12
    assert rails["blockedUnsafe"]["count"] > 0
    assert rails["blockedBenign"]["total"] == 8
    assert (rails["gained"]["baseline"], rails["gained"]["pairs"]) == ("unguarded", 12)
    assert rails["latency"]["p50"] > 0
    assert rails["latency"]["unguardedP50"] > 0
    assert any(score["metric"].startswith("security.") for score in status["scores"])


def test_only_what_went_through_the_rails_was_blocked(story: Story) -> None:
    rows = rows_of(story.kube, "SafetyEval", "through-rails", "generate")
    bare = rows_of(story.kube, "SafetyEval", "through-rails", "generate-unguarded")
    blocked = [row for row in rows if row["blocked"]]
    assert blocked
    assert {row["finishReason"] for row in blocked} == {"content_filter"}
    assert len(bare) == 20
    assert not [row for row in bare if row["blocked"]]
    left = story.kube.items("deployment", kind="SafetyEval", name="through-rails")
    assert left == [], "the server without rails is gone"


def test_no_secret_is_in_logs_status_or_events(story: Story) -> None:
    kube = story.kube
    secrets = json.loads(kube.run("get", "secret", "-o", "json"))["items"]
    values = [value for secret in secrets for value in secret.get("data", {}).values()]
    assert values, "the key between rails and model is a Secret"
    text = kube.run("get", "modelsafety,events,pods,deployments,jobs,configmaps", "-o", "json")
    logs = kube.run(
        "logs", "-n", OPERATOR_NAMESPACE, "-l", "app.kubernetes.io/name=model-safety-operator", "--tail=-1"
    )
    for value in values:
        assert value not in text + logs
        assert base64.b64decode(value).decode() not in text + logs


def test_deleting_a_resource_deletes_its_children(story: Story) -> None:
    kube = story.kube
    kube.run("delete", "gdep", "assistant")

    def left() -> bool:
        found = kube.run(
            "get",
            "deploy,service,job,networkpolicy,configmap,secret",
            "-l",
            "modelsafety.dev/name=assistant",
            "-o",
            "name",
        )
        return not found.strip()

    until(left, "the children to go", 90)
