"""The data of a training: where they are, and what is known about them."""

from dataclasses import dataclass, field

from safety_operator.api.conditions import ConditionType
from safety_operator.api.safety_blend import BlendArtifact, SafetyBlendStatus
from safety_operator.api.safety_finetune import SafetyFinetuneSpec
from safety_operator.planning.engine.problems import UnmetRuleError
from safety_operator.planning.engine.products import check_same_claim, find_finished, split_artifact
from safety_operator.planning.engine.references import Inputs
from safety_operator.planning.engine.stages import Run
from safety_operator.state.reading import known_digest, value_at

TRAIN = "train"
"""Name of the stage that trains."""
PREPARE = "prepare"
"""Backend nemo-rl: name of the stage that reads and checks the data for it."""


def reader(spec: SafetyFinetuneSpec) -> str:
    """The stage that reads the data."""
    return PREPARE if spec.backend == "nemo-rl" else TRAIN


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Files of training data, and what is known about them."""

    train: str
    """Relative to the artifact root, or absolute."""
    validation: str = ""
    digest: str = ""
    rows: int | None = None
    source: Inputs = field(default_factory=Inputs)


def find_training_data(run: Run[SafetyFinetuneSpec]) -> TrainingData:
    """The data of a training. Raises Blocked while they are not there."""
    data = run.spec.data
    if data.blend_ref is not None:
        return _from_blend(run, data.blend_ref.name)
    if data.uri is None:
        raise UnmetRuleError("spec.data names no data")
    found = run.inputs(reader(run.spec))
    digest = found.digests.get(data.uri) or data.uri
    return TrainingData(_mounted_path(data.uri), digest=digest, source=found)


def _mounted_path(uri: str) -> str:
    """Absolute path of a data URI inside a pod: of a file of the image, a ConfigMap or a claim."""
    scheme, _, rest = uri.partition("://")
    return rest if scheme == "file" else f"/inputs/{scheme}/{rest}"


def _from_blend(run: Run[SafetyFinetuneSpec], name: str) -> TrainingData:
    blend = find_finished(run, SafetyBlendStatus, name, ConditionType.READY)
    output = blend.status.output or BlendArtifact()
    claim, path = split_artifact(output.uri)
    check_same_claim(run, claim, "spec.data.blendRef", f"SafetyBlend {name}")
    suffix = str(value_at(blend.manifest, "spec", "output", "format", default="jsonl"))
    validation = f"{path}/validation.{suffix}" if output.validation_rows else ""
    return TrainingData(
        f"{path}/train.{suffix}",
        validation,
        known_digest(output.digest),
        output.train_rows,
    )
