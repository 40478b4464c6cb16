"""Prometheus metrics of what the operator does; those of the resources' statuses are in ``handlers.observe``.

Filled by ``cluster`` and ``handlers``, served by ``handlers.health`` on ``/metrics``.
"""

from prometheus_client import Counter, Gauge, Histogram

RECONCILES = Counter("safety_reconciles", "Reconciles by kind and outcome.", ["kind", "outcome"])
"""Outcome: ok, deferred (its status waits), gone, refused (a child was), infrastructure (tried again), failed
(trying again does not help), bug."""
RECONCILE_SECONDS = Histogram(
    "safety_reconcile_seconds",
    "Seconds of one reconcile.",
    ["kind"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
QUEUE_DEPTH = Gauge("safety_queue_depth", "Resources that wait for a worker.")
QUEUE_DELAYED = Gauge("safety_queue_delayed", "Resources that wait for their time.")
API_CALLS = Counter("safety_api_calls", "Calls to the API server.", ["verb", "resource", "code"])
"""Verb as in RBAC (get, list, watch, create, patch, delete, log); code 0: no answer."""
WATCH_AGE = Gauge("safety_watch_silence_seconds", "Seconds since a watch was last heard of.", ["watch"])
WATCH_RESTARTS = Counter("safety_watch_relists", "Lists after the first one, by watch.", ["watch"])
LEADER = Gauge("safety_leader", "1 while this replica holds the Lease.")
EVENTS = Counter("safety_events", "Kubernetes events by outcome.", ["outcome"])
