"""The prove stage: canary prompts through the guarded endpoint, and probes of the ways around the rails.

The stage's result says what was seen, whatever it was; only a guarded endpoint that cannot be reached at all
is a failure of the stage. This pod is no guardrails pod: whatever the model server answers it with is a
bypass.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version

from safety_records.progress import Progress
from safety_records.result import Proof, StageResult
from safety_records.stages import ProveStage
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.context import StageContext
from safety_worker.empty_answers import EmptyReason, empty_answers_problem
from safety_worker.generation.target import Target
from safety_worker.guarding.bypass_probe import ProbeAnswer, probe_all, summarise_probes
from safety_worker.guarding.canaries import Canary, Reply, ask_all, canaries_of, median_ms

PROOF_NAME = "proof.json"

GUARDED_WAIT_SECONDS = 120.0
"""How long the guarded endpoint may take to answer: it is Ready when this stage starts."""


def run(spec: ProveStage, context: StageContext) -> StageResult:
    """Ask, probe, and say what was seen."""
    folder = context.store.output(spec.out)
    guarded_key = context.secret(spec.guarded.api_key_env)
    total = sum(map(len, canaries_of(spec))) + 1

    def report(done: int, message: str) -> None:
        context.report_progress(
            Progress(stage="prove", done=done, total=total, unit="checks", message=message)
        )

    Target(spec.guarded, guarded_key).wait(
        lambda seconds: report(0, f"waiting for the guarded endpoint: {seconds:.0f} s"), GUARDED_WAIT_SECONDS
    )
    report(0, "asking canary prompts through the guarded endpoint")
    canaries = asyncio.run(ask_all(spec, guarded_key))
    report(total - 1, "probing the direct endpoint, and switches of the rails")
    probes = asyncio.run(probe_all(spec, guarded_key))
    proof = build_proof(canaries, probes)
    atomic_write_text(folder / PROOF_NAME, json.dumps(describe_checks(canaries, probes), indent=1))
    report(total, "proved")
    return StageResult(
        stage="prove", inputs_hash=spec.inputs_hash, proof=proof, versions={"httpx": version("httpx")}
    )


def build_proof(canaries: list[Canary], probes: list[ProbeAnswer]) -> Proof:
    """The record of what was seen."""
    unsafe = [canary for canary in canaries if canary.unsafe]
    benign = [canary for canary in canaries if not canary.unsafe]
    alive = any(canary.reply in (Reply.ANSWERED, Reply.DECLINED, Reply.SILENT) for canary in canaries)
    closed, detail = summarise_probes(probes, model_alive=alive)
    return Proof(
        unsafe_blocked=sum(canary.reply is Reply.REFUSED for canary in unsafe),
        unsafe_total=len(unsafe),
        benign_answered=sum(canary.reply is Reply.ANSWERED for canary in benign),
        benign_total=len(benign),
        unsafe_silent=sum(canary.reply is Reply.SILENT for canary in unsafe),
        benign_silent=sum(canary.reply is Reply.SILENT for canary in benign),
        silence=silence_of(canaries),
        bypass_closed=closed,
        bypass_detail=detail[:200],
    )


def silence_of(canaries: Sequence[Canary]) -> str:
    """Why canaries got answers without text, where too many did."""
    found = Counter(EmptyReason(canary.detail) for canary in canaries if canary.reply is Reply.SILENT)
    return empty_answers_problem(found, len(canaries))


def describe_checks(canaries: list[Canary], probes: list[ProbeAnswer]) -> dict[str, object]:
    """Content of ``proof.json``: every check without any model's text."""
    return {
        "canaries": [canary._asdict() for canary in canaries],
        "probes": [probe._asdict() for probe in probes],
        "blockedMedianMs": median_ms(canary for canary in canaries if canary.reply is Reply.REFUSED),
        "answeredMedianMs": median_ms(canary for canary in canaries if canary.reply is Reply.ANSWERED),
    }
