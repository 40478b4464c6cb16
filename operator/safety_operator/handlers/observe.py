"""Gauges that follow the resources' own statuses: states, progress of stages, scores."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from safety_operator import metrics
from safety_operator.state.keys import Key


class Gauges:
    """Keeps the metrics of each resource in step with its status, and takes them away with it."""

    def __init__(self) -> None:
        self._states: dict[Key, str] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._stages: dict[Key, str] = {}
        self._scores: dict[Key, frozenset[str]] = {}

    def show(self, key: Key, status: Mapping[str, Any]) -> None:
        """Show a status."""
        self._set_state(key, str(status.get("state") or "Pending"))
        self._show_progress(key, status.get("progress") or {})
        self._show_scores(key, status.get("scores") or ())

    def forget(self, key: Key) -> None:
        """Take a resource's metrics away."""
        self._set_state(key, None)
        self._show_progress(key, {})
        self._show_scores(key, ())

    def _set_state(self, key: Key, state: str | None) -> None:
        before = self._states.get(key)
        if before == state:
            return
        for label, step in ((before, -1), (state, 1)):
            if label is not None:
                self._counts[key.kind, label] += step
                metrics.RESOURCES.labels(key.kind, label).set(self._counts[key.kind, label])
        if state is None:
            del self._states[key]
        else:
            self._states[key] = state

    def _show_progress(self, key: Key, progress: Mapping[str, Any]) -> None:
        stage = str(progress.get("stage") or "")
        before = self._stages.pop(key, None)
        if before is not None and before != stage:
            metrics.STAGE_PROGRESS.remove(*key, before)
        if stage and progress.get("total"):
            self._stages[key] = stage
            metrics.STAGE_PROGRESS.labels(*key, stage).set(progress.get("done", 0) / progress["total"])
        elif before is not None and before == stage:
            metrics.STAGE_PROGRESS.remove(*key, before)

    def _show_scores(self, key: Key, scores: Any) -> None:
        valid = {s["metric"]: float(s["value"]) for s in scores if s.get("value")}
        for gone in self._scores.pop(key, frozenset()) - valid.keys():
            metrics.SCORE.remove(key.namespace, key.name, gone)
        for metric, value in valid.items():
            metrics.SCORE.labels(key.namespace, key.name, metric).set(value)
        if valid:
            self._scores[key] = frozenset(valid)
