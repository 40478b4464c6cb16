"""Gauges of the resources' own statuses: states, progress of stages, scores.

Read from the store when somebody asks for metrics, so that idle resources cost neither memory nor work.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from safety_operator.state.keys import Key, Manifest
from safety_operator.state.reading import items_of, status_of, value_at

TRAINING = {
    "loss": ("safety_training_loss", "Loss of the last step, nats per token."),
    "validationLoss": ("safety_training_validation_loss", "Latest loss on the validation rows."),
    "tokensPerSecond": ("safety_training_tokens_per_second", "Tokens that training processes a second."),
    "learningRate": ("safety_training_learning_rate", "Learning rate of the last step."),
    "gradNorm": ("safety_training_gradient_norm", "Norm of the last step's gradient."),
    "memoryBytes": ("safety_training_gpu_memory_bytes", "Most memory that the fullest GPU has held."),
    "mfu": ("safety_training_mfu_ratio", "Share of the GPUs' peak arithmetic that the model uses."),
    "step": ("safety_training_step", "Optimizer steps that are done."),
    "resumes": ("safety_training_resumes", "Times training continued from a checkpoint."),
}
"""Gauges of trainings by field of their status; one that is missing has no value."""


class StatusMetrics(Collector):
    """What the statuses of all resources say at this moment."""

    def __init__(self, resources: Mapping[Key, Manifest]) -> None:
        self._resources = resources

    def collect(self) -> Iterator[Metric]:
        """Give the gauges."""
        states = GaugeMetricFamily(
            "safety_resources", "Resources by kind and state.", labels=("kind", "state")
        )
        progress = GaugeMetricFamily(
            "safety_stage_progress_ratio",
            "Share of the running stage that is done.",
            labels=("kind", "namespace", "name", "stage"),
        )
        scores = GaugeMetricFamily(
            "safety_score", "Scores of finished evaluations.", labels=("namespace", "name", "metric")
        )
        trainings = {
            field: GaugeMetricFamily(name, words, labels=("namespace", "name"))
            for field, (name, words) in TRAINING.items()
        }
        counts: Counter[tuple[str, str]] = Counter()
        for key, resource in self._resources.items():
            status = status_of(resource)
            counts[key.kind, str(status.get("state") or "Pending")] += 1
            stage = value_at(status, "progress", "stage")
            done, total = (_number(value_at(status, "progress", name)) for name in ("done", "total"))
            if stage and total:
                progress.add_metric((*key, str(stage)), (done or 0) / total)
            for score in items_of(status.get("scores")):
                value = _number(score.get("value"))
                if value is not None:
                    scores.add_metric((key.namespace, key.name, str(score.get("metric"))), value)
            if key.kind == "SafetyFinetune":
                _add_training(trainings, key, status)
        for labels, count in counts.items():
            states.add_metric(labels, count)
        yield from (states, progress, scores, *trainings.values())


def _add_training(gauges: Mapping[str, GaugeMetricFamily], key: Key, status: Mapping[str, object]) -> None:
    for field, gauge in gauges.items():
        value = _number(status.get(field))
        if value is not None:
            gauge.add_metric((key.namespace, key.name), value)


def _number(value: object) -> float | None:
    """A number of a status, which a person may have written; None where it is none."""
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if math.isfinite(found) else None
