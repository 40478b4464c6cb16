"""The stage that copies a trained model to a hub, a bucket or a registry."""

from functools import partial

from safety_operator.api.finetune_output import PushedStatus
from safety_operator.api.safety_finetune import SafetyFinetuneSpec
from safety_operator.planning.engine.batch import Outcome
from safety_operator.planning.engine.references import Reference, secret_reference
from safety_operator.planning.engine.stages import Decision, Run, Stage, Work
from safety_records.base import shared
from safety_records.finetune_stages import PushStage
from safety_records.push import find_push_problem
from safety_records.result import Pushed

PUSH = "push"
"""Name of the stage."""
PUSH_TOKEN_ENV = "PUSH_TOKEN"  # noqa: S105 - the name of a variable
"""Variable of its pod that holds the credentials of the target."""


def push_references(spec: SafetyFinetuneSpec) -> tuple[Reference, ...]:
    """The Secret of the target: one that is missing shows before anything is trained."""
    push = spec.output.push
    where = "spec.output.push.tokenSecretRef"
    return secret_reference(where, push.token_secret_ref, PUSH_TOKEN_ENV, PUSH) if push else ()


def check_push(spec: SafetyFinetuneSpec) -> str:
    """What is wrong with the target; empty if nothing is."""
    uri = spec.output.push.uri if spec.output.push else ""
    problem = find_push_problem(uri) if uri else ""
    return f"spec.output.push.uri: {uri}: {problem}." if problem else ""


def push_stages(spec: SafetyFinetuneSpec, exporter: str) -> tuple[Stage[SafetyFinetuneSpec], ...]:
    """The stage behind ``exporter``, which makes the model; empty where the model is not pushed."""
    return (Stage(PUSH, partial(_push, exporter), needs=(exporter,)),) if spec.output.push else ()


def _push(exporter: str, run: Run[SafetyFinetuneSpec]) -> Decision:
    push, inputs = run.spec.output.push, run.inputs(PUSH)
    assert push is not None
    spec = PushStage(
        **run.base(),
        model=run.out(exporter),
        digest=run.digest(exporter),
        uri=push.uri,
        token_env=PUSH_TOKEN_ENV if push.token_secret_ref else "",
        replace=push.replace,
    )
    shape = inputs.shape(internet=True)
    return Work(spec, inputs={"model": run.digest(exporter)}, shape=shape, outside=True)


def pushed_status(outcome: Outcome[SafetyFinetuneSpec]) -> PushedStatus | None:
    """Where the model was pushed to; None before it was."""
    record, view = outcome.run.results.get(PUSH), outcome.view(PUSH)
    if record is None or record.pushed is None or view is None:
        return None
    return PushedStatus(**shared(record.pushed, Pushed), at=view.status.finished_at)
