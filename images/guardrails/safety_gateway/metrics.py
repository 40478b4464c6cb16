"""Prometheus metrics of a gateway. Each label has a bounded set of values, and none holds anybody's words."""

import re
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
"""Bounds of the histograms: from the gateway's own share to the longest answer."""
MAX_CATEGORIES = 64
"""Categories that are counted by name; a guard is a model and may write whatever it likes."""
OTHER = "other"
_CATEGORY = re.compile(r"[A-Za-z0-9 ,./()&_-]{1,64}")


class Metrics:
    """What one process counts."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._categories: set[str] = set()
        self._count()
        self._time()

    def _count(self) -> None:
        prefix, registry = "safety_gateway", self.registry
        self.requests = Counter(
            f"{prefix}_requests",
            "Requests by endpoint, status and caller; 499: the client left.",
            ["endpoint", "status", "caller"],
            registry=registry,
        )
        self.canaries = Counter(
            f"{prefix}_canaries",
            "Requests of the operator's proofs by status, which nothing else counts and no audit line has.",
            ["status"],
            registry=registry,
        )
        self.in_flight = Gauge(
            f"{prefix}_requests_in_flight", "Requests that are being worked on.", registry=registry
        )
        self.blocks = Counter(
            f"{prefix}_blocks",
            "What rails blocked, by direction (input, output) and caller.",
            ["rail", "direction", "caller"],
            registry=registry,
        )
        self.categories = Counter(
            f"{prefix}_block_categories",
            "Categories of the guard that blocked texts fell into.",
            ["rail", "category"],
            registry=registry,
        )
        self.failures = Counter(
            f"{prefix}_failures_closed",
            "Requests that were closed because a rail, a guard or the model failed.",
            ["rail"],
            registry=registry,
        )
        self.tokens = Counter(
            f"{prefix}_tokens",
            "Tokens as the model counted them, by kind (prompt, answer).",
            ["caller", "kind"],
            registry=registry,
        )
        self.audit_lost = Counter(
            f"{prefix}_audit_lines_lost",
            "Lines of the audit trail that are not in its files on the claim; those of the log are.",
            registry=registry,
        )
        self.audit_failures = Counter(
            f"{prefix}_audit_write_failures",
            "Tries to write the audit trail to the claim that failed; lines wait, and are tried again.",
            registry=registry,
        )
        self.spans = Counter(
            f"{prefix}_spans", "Spans by outcome (sent, failed).", ["outcome"], registry=registry
        )
        self.up = Gauge(
            f"{prefix}_upstream_up",
            "1 where the last request to it was answered, else 0; absent before the first.",
            ["upstream"],
            registry=registry,
        )

    def _time(self) -> None:
        prefix, registry = "safety_gateway", self.registry
        self.seconds = Histogram(
            f"{prefix}_request_seconds", "A request, whole.", ["endpoint"], buckets=SECONDS, registry=registry
        )
        self.first_part = Histogram(
            f"{prefix}_first_part_seconds",
            "Until a stream shows the first part of its answer.",
            buckets=SECONDS,
            registry=registry,
        )
        self.rails_seconds = Histogram(
            f"{prefix}_rails_seconds",
            "One check by all rails of a direction.",
            ["direction"],
            buckets=SECONDS,
            registry=registry,
        )
        self.model_seconds = Histogram(
            f"{prefix}_model_seconds", "Waiting for the model.", buckets=SECONDS, registry=registry
        )
        self.own_seconds = Histogram(
            f"{prefix}_own_seconds",
            "A request without the waiting for rails, model and client.",
            buckets=SECONDS,
            registry=registry,
        )

    def count_block(self, rail: str, direction: str, caller: str, categories: Iterable[str]) -> None:
        """Count a text that a rail blocked."""
        self.blocks.labels(rail, direction, caller).inc()
        for category in categories:
            self.categories.labels(rail, self._bounded(category)).inc()

    def _bounded(self, category: str) -> str:
        """The category by its name, while there are few of them and it is one."""
        if category not in self._categories:
            if len(self._categories) >= MAX_CATEGORIES or _CATEGORY.fullmatch(category) is None:
                return OTHER
            self._categories.add(category)
        return category
