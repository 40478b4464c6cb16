"""The four kinds in one table: names, models, printer columns. Used by the CRD generator and the handlers."""

from dataclasses import asdict, dataclass

from safety_operator.api.conditions import CommonStatus
from safety_operator.api.eval_status import SafetyEvalStatus
from safety_operator.api.guarded_deployment import GuardedDeploymentSpec, GuardedDeploymentStatus
from safety_operator.api.kind_names import BLEND, EVAL, FINETUNE, GUARDED, KindNames
from safety_operator.api.run import RunSpec
from safety_operator.api.safety_blend import SafetyBlendSpec, SafetyBlendStatus
from safety_operator.api.safety_eval import SafetyEvalSpec
from safety_operator.api.safety_finetune import SafetyFinetuneSpec, SafetyFinetuneStatus


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    """0: always shown; 1: with -o wide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(KindNames):
    """All that is known of a kind."""

    spec: type[RunSpec]
    status: type[CommonStatus]
    columns: tuple[Column, ...]
    scale: bool = False
    """Whether the kind has a scale subresource (spec.serving.replicas)."""
    rules: tuple[tuple[str, str], ...] = ()
    """CEL rules over the whole resource: pairs of (expression, message)."""


def _condition(name: str, kind: str, priority: int = 0) -> Column:
    return Column(name, f'.status.conditions[?(@.type=="{kind}")].status', priority=priority)


READY = _condition("Ready", "Ready")
STATE = Column("State", ".status.state")
PROGRESS = Column("Progress", ".status.progress.text")
AGE = Column("Age", ".metadata.creationTimestamp", type="date")
MESSAGE = Column("Message", '.status.conditions[?(@.type=="Ready")].message', priority=1)

KINDS: tuple[Kind, ...] = (
    Kind(
        **asdict(EVAL),
        spec=SafetyEvalSpec,
        status=SafetyEvalStatus,
        columns=(
            READY,
            STATE,
            _condition("Passed", "SafetyPassed"),
            Column("Content", ".status.summary.contentSafety"),
            Column("Security", ".status.summary.security"),
            Column("Accuracy", ".status.summary.accuracy"),
            PROGRESS,
            AGE,
            Column("Model", ".status.target.uri", priority=1),
            MESSAGE,
        ),
        rules=(
            (
                "!has(self.spec.baselineRef) || self.spec.baselineRef.name != self.metadata.name",
                "baselineRef names this very evaluation: name another one, or leave it out",
            ),
        ),
    ),
    Kind(
        **asdict(BLEND),
        spec=SafetyBlendSpec,
        status=SafetyBlendStatus,
        columns=(
            READY,
            STATE,
            Column("Rows", ".status.summary.rows", type="integer"),
            Column("Kept", ".status.summary.kept"),
            Column("Screened", ".status.summary.screened"),
            PROGRESS,
            AGE,
            MESSAGE,
        ),
    ),
    Kind(
        **asdict(FINETUNE),
        spec=SafetyFinetuneSpec,
        status=SafetyFinetuneStatus,
        columns=(
            READY,
            STATE,
            Column("Step", ".status.step", type="integer"),
            Column("Loss", ".status.loss"),
            Column("Val-Loss", ".status.validationLoss"),
            Column("Resumes", ".status.resumes", type="integer"),
            PROGRESS,
            AGE,
            Column("Pushed", ".status.output.pushed.uri", priority=1),
            MESSAGE,
        ),
    ),
    Kind(
        **asdict(GUARDED),
        spec=GuardedDeploymentSpec,
        status=GuardedDeploymentStatus,
        columns=(
            READY,
            STATE,
            _condition("Gate", "GatePassed"),
            _condition("Proof", "RailsProven"),
            _condition("Bypass-Closed", "BypassClosed"),
            Column("Endpoint", ".status.endpoint"),
            AGE,
            MESSAGE,
        ),
        scale=True,
    ),
)

KIND_BY_NAME: dict[str, Kind] = {kind.kind: kind for kind in KINDS}
