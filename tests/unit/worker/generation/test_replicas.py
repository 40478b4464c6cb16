"""Several replicas of one server, real HTTP on addresses of the loopback network."""

import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from tests.unit.worker.fake_model_server import Behaviour, FakeModelServer, Reply

from safety_records.sampling import Sampling
from safety_records.stage_base import ServedModel
from safety_worker.errors import InfrastructureError
from safety_worker.generation.client import ChatClient
from safety_worker.generation.completion import Completion
from safety_worker.generation.replicas import Replicas
from safety_worker.generation.retries import RetryPolicy
from safety_worker.generation.tasks import run_in_slots, run_tasks
from safety_worker.rows import Message

HASTY = RetryPolicy(ready_seconds=2.0, retry_seconds=3.0, request_seconds=2.0, first_delay_seconds=0.01)
GREEDY = Sampling(temperature=0.0, max_tokens=8)


class Farm:
    """Replicas that share a port, as pods do, and the name that resolves to those that are ready."""

    def __init__(self, stack: contextlib.ExitStack, *behaviours: Behaviour) -> None:
        self.servers: list[FakeModelServer] = []
        port = 0
        for number, behaviour in enumerate(behaviours, start=1):
            server = FakeModelServer(behaviour, address=(f"127.0.0.{number}", port))
            port = server.port
            self.servers.append(stack.enter_context(server))
        self.ready = [f"127.0.0.{number}" for number in range(1, len(behaviours) + 1)]
        self.served = ServedModel(
            base_url=self.servers[-1].base_url,
            pods_url=f"http://model-pods.team.svc:{port}/v1",
            model="model",
        )

    async def resolve(self, host: str, _port: int) -> Sequence[str]:
        assert host == "model-pods.team.svc"
        if not self.ready:
            raise OSError("no such name")
        return self.ready

    def ask(self, prompts: int, slots: int = 12, policy: RetryPolicy = HASTY) -> list[Completion]:
        answers = []

        async def each() -> AsyncIterator[int]:
            for number in range(prompts):
                yield number

        async def run() -> None:
            async with ChatClient(self.served, "", slots, policy, self.resolve) as client:
                await client.wait_ready(lambda _: None)

                async def work(number: int) -> None:
                    messages = [Message(role="user", content=f"prompt {number}")]
                    answers.append(await client.complete(messages, GREEDY))

                await run_in_slots(each(), work, slots)

        run_tasks(run())
        return answers

    def shares(self) -> list[int]:
        return [sum(server.answered.values()) for server in self.servers]


def good(prompt: str, _nth: int) -> Reply:
    return Reply(f"answer to {prompt}", delay=0.02)


def test_requests_go_evenly_to_all() -> None:
    with contextlib.ExitStack() as stack:
        farm = Farm(stack, good, good, good)
        assert len(farm.ask(120)) == 120
        assert sum(farm.shares()) == 120
        assert min(farm.shares()) >= 30


def test_one_request_at_a_time_goes_round() -> None:
    with contextlib.ExitStack() as stack:
        farm = Farm(stack, good, good, good)
        farm.ask(30, slots=1)
        assert farm.shares() == [10, 10, 10]


def test_a_slower_one_gets_less() -> None:
    with contextlib.ExitStack() as stack:
        farm = Farm(stack, good, lambda prompt, _: Reply("late", delay=0.2))
        farm.ask(120)
        fast, slow = farm.shares()
        assert slow < fast / 2
        assert slow >= 6, "it is not left without work"


def test_one_that_dies_is_taken_out_and_its_requests_go_to_others() -> None:
    dead = False

    def dies(prompt: str, _nth: int) -> Reply:
        nonlocal dead
        dead = dead or int(prompt.split()[1]) >= 60
        return Reply(cut=True) if dead else good(prompt, 0)

    with contextlib.ExitStack() as stack:
        farm = Farm(stack, good, dies)
        assert len(farm.ask(200)) == 200
        failed = sum(farm.servers[1].asked.values()) - farm.shares()[1]
        assert sum(farm.shares()) == 200, "none is answered twice"
        assert 1 <= failed <= 20, "it is hardly asked again"


def test_one_that_closed_its_port_is_left_alone() -> None:
    with contextlib.ExitStack() as stack:
        farm = Farm(stack, good, good)
        farm.ready.append("127.0.0.3")  # nobody listens there
        assert len(farm.ask(60)) == 60


def test_pods_that_come_later_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safety_worker.generation.replicas.RESOLVE_SECONDS", 0.05)
    with contextlib.ExitStack() as stack:
        farm = Farm(stack, good, good)
        farm.ready = ["127.0.0.1"]

        def joins(prompt: str, nth: int) -> Reply:
            farm.ready = ["127.0.0.1", "127.0.0.2"]
            return good(prompt, nth)

        late = Farm(stack, joins, good)
        late.ready = farm.ready = ["127.0.0.1"]
        late.resolve = farm.resolve  # type: ignore[method-assign]
        late.ask(200)
        assert late.shares()[1] >= 40


def test_all_dead_is_reported_after_the_time_for_retries_is_over() -> None:
    with contextlib.ExitStack() as stack:
        broken = Reply(status=500)
        farm = Farm(stack, lambda *_: broken, lambda *_: broken)
        start = time.monotonic()
        with pytest.raises(InfrastructureError, match="HTTP 500"):
            farm.ask(4, policy=RetryPolicy(retry_seconds=1.0, first_delay_seconds=0.01))
        assert time.monotonic() - start < 20


def test_nobody_there_is_waited_for() -> None:
    with contextlib.ExitStack() as stack:
        farm = Farm(stack, good)
        farm.ready = []
        with pytest.raises(InfrastructureError, match="was not ready"):
            farm.ask(1, policy=RetryPolicy(ready_seconds=0.3, first_delay_seconds=0.01))


def test_without_a_name_for_the_pods_the_service_is_asked() -> None:
    replicas = Replicas(ServedModel(base_url="http://a.svc:8000/v1", model="m"), 4)
    assert len(replicas) == 1


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_that_names_a_time_is_not_asked_before(form: str) -> None:
    times: list[float] = []

    def busy(prompt: str, nth: int) -> Reply:
        times.append(time.monotonic())
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        wish = "1.2" if form == "seconds" else date
        return Reply(status=429, headers=(("Retry-After", wish),)) if nth == 0 else good(prompt, nth)

    with contextlib.ExitStack() as stack:
        farm = Farm(stack, busy)
        farm.ask(1)
    assert times[1] - times[0] > 0.95


def test_a_wait_beyond_the_time_for_retries_ends_with_what_the_server_asks_for() -> None:
    refusal = Reply(status=429, headers=(("Retry-After", "86400"),))
    with contextlib.ExitStack() as stack:
        farm = Farm(stack, lambda *_: refusal)
        with pytest.raises(InfrastructureError, match="HTTP 429, to wait for 86400 s"):
            farm.ask(1)


def test_a_server_that_refuses_for_load_is_asked_less_and_answers_everything() -> None:
    crowded: list[int] = []

    with contextlib.ExitStack() as stack:

        def small(prompt: str, nth: int) -> Reply:
            crowded.append(farm.servers[0].at_once)
            if farm.servers[0].at_once > 4:
                return Reply(status=429)
            return good(prompt, nth)

        farm = Farm(stack, small)
        assert len(farm.ask(200, slots=32, policy=RetryPolicy(first_delay_seconds=0.01))) == 200
        assert sum(farm.shares()) == 200
        later = crowded[len(crowded) // 2 :]
        assert sum(count > 4 for count in later) < len(later) / 3, "it has learned"
