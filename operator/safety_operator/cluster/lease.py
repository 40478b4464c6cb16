"""One active replica: a Lease that is held, renewed, given back at the end, and taken when left alone.

The rules are client-go's: only the local clock counts, and another replica's Lease is left alone until its
record has not changed for its whole length. One is milder: who cannot renew in time stops writing, but ends
the process only when another replica really holds the Lease. An API server that was away, or a machine that
was too busy, must not cost a restart; and each renewal proves by its resource version that nobody else held
the Lease in between.
"""

import asyncio
import logging
import random
import time
from datetime import UTC, datetime
from typing import Any

from safety_operator import metrics
from safety_operator.cluster.client import Api, JsonObject
from safety_operator.cluster.kinds import LEASE
from safety_operator.errors import ConflictError, InfrastructureError, LeaseLostError, NotFoundError

log = logging.getLogger(__name__)

RENEW_SHARE = 1 / 6
"""Pause between two renewals, as a share of the Lease's length."""
DEADLINE_SHARE = 2 / 3
"""Without a renewal for so long, nothing new is begun: well before another may take over."""
STANDBY_SECONDS = 2.0
"""Pause of a standby between two looks; a Lease that was given back is taken after this."""


class Lease:
    """A replica's view of the Lease."""

    def __init__(self, api: Api, *, namespace: str, name: str, identity: str, seconds: float) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._seconds = seconds
        self._seen: tuple[str, float] = ("", 0.0)
        self._lease: JsonObject | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.looked_at = time.monotonic()
        """When the last attempt to take or renew it began."""
        self.held = False
        self.fresh = asyncio.Event()
        """Set while the Lease was renewed in time; without it nothing may be written."""

    async def acquire(self) -> None:
        """Wait until this replica holds the Lease."""
        told = ""
        while not self.held:
            try:
                holder = await self._try()
                if not self.held and holder != told:
                    log.info("standing by", extra={"holder": holder})
                    told = holder
            except InfrastructureError as error:
                log.warning("cannot reach the Lease", extra={"error": str(error)})
            if not self.held:
                await asyncio.sleep(STANDBY_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        log.info("leading", extra={"identity": self._identity})
        self._go_on()

    async def hold(self) -> None:
        """Renew until it is lost. Raises LeaseLostError."""
        while True:
            await asyncio.sleep(self._seconds * RENEW_SHARE)
            try:
                holder = await self._try()
            except InfrastructureError as error:
                log.warning("cannot renew the Lease", extra={"error": str(error)})
                continue
            if not self.held:
                self._pause()
                raise LeaseLostError(f"{holder or 'nobody'} holds the Lease")
            if not self.fresh.is_set():
                log.info("renewed the Lease, going on")
            self._go_on()

    async def release(self) -> None:
        """Give the Lease back, so that a standby need not wait for its end."""
        if not self.held or self._lease is None:
            return
        self.held = False
        self._pause()
        spec = self._lease["spec"] | {"holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._api.replace(LEASE, self._namespace, self._name, self._lease | {"spec": spec})
            log.info("gave the Lease back")
        except InfrastructureError as error:
            log.warning("could not give the Lease back", extra={"error": str(error)})

    def _go_on(self) -> None:
        """Let work begin until the deadline, which counts from before the renewal was asked for.

        A timer, not the next renewal, ends it: that one may wait for its answer for longer.
        """
        self.fresh.set()
        metrics.LEADER.set(1)
        if self._deadline is not None:
            self._deadline.cancel()
        loop, left = asyncio.get_running_loop(), self.looked_at - time.monotonic()
        self._deadline = loop.call_later(left + self._seconds * DEADLINE_SHARE, self._pause)

    def _pause(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self.fresh.is_set() and self.held:
            log.warning("the Lease is not renewed in time, pausing")
        self.fresh.clear()
        metrics.LEADER.set(0)

    async def _try(self) -> str:
        """Take or renew the Lease if it may be; returns the holder as far as known."""
        self.looked_at = time.monotonic()
        if self.held and self._lease is not None:
            return await self._write(self._lease)
        try:
            lease = await self._api.get(LEASE, self._namespace, self._name)
        except NotFoundError:
            return await self._create()
        spec = lease.get("spec", {})
        holder = str(spec.get("holderIdentity") or "")
        record = f"{holder} {spec.get('renewTime')}"
        if record != self._seen[0]:
            self._seen = (record, time.monotonic())
        length = float(spec.get("leaseDurationSeconds") or self._seconds)
        if holder not in {"", self._identity} and time.monotonic() - self._seen[1] < length:
            return holder
        return await self._write(lease)

    async def _create(self) -> str:
        manifest = {
            "apiVersion": LEASE.api_version,
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._spec({}),
        }
        try:
            self._lease = await self._api.create(LEASE, self._namespace, manifest)
        except ConflictError:
            return "another"
        self.held = True
        return self._identity

    async def _write(self, lease: JsonObject) -> str:
        """Write our name; a conflict means that another replica was faster."""
        try:
            self._lease = await self._api.replace(
                LEASE, self._namespace, self._name, lease | {"spec": self._spec(lease.get("spec", {}))}
            )
        except (ConflictError, NotFoundError):
            self.held, self._lease = False, None
            found = await self._api.get(LEASE, self._namespace, self._name)
            holder = str(found["spec"].get("holderIdentity") or "")
            if holder == self._identity:
                # Our own write of before, whose answer was lost.
                self.held, self._lease = True, found
            return holder
        self.held = True
        return self._identity

    def _spec(self, before: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = before.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": max(1, int(self._seconds)),
            "acquireTime": before.get("acquireTime", now) if mine else now,
            "renewTime": now,
            "leaseTransitions": int(before.get("leaseTransitions", 0)) + (0 if mine else 1),
        }
