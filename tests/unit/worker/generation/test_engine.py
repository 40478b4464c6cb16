"""The engine against a fake model server: what is retried, what is refused, what survives being killed."""

import functools
import json
import signal
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.unit.worker.conftest import GREEDY, Workplace, served
from tests.unit.worker.fake_model_server import Behaviour, FakeModelServer, Reply
from tests.unit.worker.support.processes import Worker

from safety_records.sampling import Sampling
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.generation import engine
from safety_worker.generation.reasoning import joined, reasoning_of, strip_reasoning
from safety_worker.generation.retries import RetryPolicy
from safety_worker.generation.shards import ShardWriter, read_rows
from safety_worker.rows import GeneratedRow

HASTY = RetryPolicy(ready_seconds=1.0, retry_seconds=3.0, request_seconds=30.0, first_delay_seconds=0.01)
"""For servers that stay as they are."""
PATIENT = replace(HASTY, retry_seconds=60.0)
"""For trouble that passes: a busy machine must not be what ends it."""


@pytest.fixture
def generate(workplace: Workplace, suite: Callable, monkeypatch: pytest.MonkeyPatch) -> Callable:
    def run(
        server: FakeModelServer,
        prompts: list[object],
        sampling: Sampling = GREEDY,
        policy: RetryPolicy = HASTY,
        **fields: object,
    ):
        task = functools.partial(engine.AnsweringTask, policy=policy)
        monkeypatch.setattr("safety_worker.stages.generate.AnsweringTask", task)
        lines = "".join(json.dumps(p if isinstance(p, dict) else {"prompt": p}) + "\n" for p in prompts)
        uri = workplace.configmap("prompts", "suite.jsonl", lines)
        target = fields.pop("target", served(server.base_url))
        spec = {"target": target, "sampling": sampling, "suites": [suite("s", uri)], "concurrency": 4}
        return workplace.run("generate", **{**spec, **fields})

    return run


def rows(workplace: Workplace) -> dict[str, GeneratedRow]:
    return {row.prompt: row for row in read_rows(workplace.folder("generate"), "rows", GeneratedRow).values()}


def fails_first(times: int, reply: Reply) -> Behaviour:
    return lambda prompt, nth: reply if nth < times else Reply(f"answer to {prompt}")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=429, headers=(("Retry-After", "0"),)),
        Reply(status=500),
        Reply(status=503, body=b"<html>loading</html>"),
        Reply(cut=True),
        Reply(body=b"<html>not json</html>"),
        Reply(body=b'{"choices": []}'),
        Reply(body=b'{"choices": [{"message": {"content": 5}}]}'),
        Reply(body=b"[" * 100_000),
    ],
    ids=[
        "429",
        "500",
        "503 with html",
        "cut body",
        "html with 200",
        "no choices",
        "content is no text",
        "deep json",
    ],
)
def test_what_may_pass_is_asked_again(reply: Reply, generate: Callable, workplace: Workplace) -> None:
    with FakeModelServer(fails_first(2, reply)) as server:
        assert generate(server, ["a", "b", "c"], policy=PATIENT).rows == 3
        assert set(server.asked.values()) == {3}
    assert {row.answer for row in rows(workplace).values()} == {"answer to a", "answer to b", "answer to c"}


def test_an_answer_that_takes_too_long_is_asked_again(generate: Callable) -> None:
    slow = fails_first(1, Reply("late", delay=1.5))
    with FakeModelServer(slow) as server:
        assert generate(server, ["a"], policy=replace(PATIENT, request_seconds=1.0)).rows == 1
        assert server.asked["a"] >= 2


def test_a_server_that_keeps_failing_ends_the_stage_and_keeps_what_was_answered(
    generate: Callable, workplace: Workplace
) -> None:
    def behaviour(prompt: str, _nth: int) -> Reply:
        return Reply(status=500) if prompt == "bad" else Reply("fine")

    with FakeModelServer(behaviour) as server:
        with pytest.raises(InfrastructureError, match="HTTP 500"):
            generate(server, ["a", "bad", "c"])
        assert set(rows(workplace)) == {"a", "c"}
    with FakeModelServer(lambda *_: Reply("now")) as server:
        assert generate(server, ["a", "bad", "c"]).rows == 3
        assert set(server.asked) == {"bad"}, "finished rows are not asked again"


def test_rows_of_prompts_that_are_no_longer_asked_for_go(generate: Callable, workplace: Workplace) -> None:
    """A data set may have changed since an earlier try."""
    with (
        FakeModelServer(lambda prompt, _: Reply(status=500 if prompt == "bad" else 200)) as server,
        pytest.raises(InfrastructureError),
    ):
        generate(server, ["old", "bad"])
    with FakeModelServer(lambda *_: Reply("now")) as server:
        assert generate(server, ["new", "bad"]).rows == 2
    assert set(rows(workplace)) == {"new", "bad"}


def test_a_prompt_longer_than_the_context_is_recorded_and_others_go_on(
    generate: Callable, workplace: Workplace
) -> None:
    def behaviour(prompt: str, _nth: int) -> Reply:
        return Reply(status=400, body=b'{"error": "prompt too long"}') if prompt == "long" else Reply("fine")

    with FakeModelServer(behaviour) as server:
        result = generate(server, ["a", "long"])
        assert server.asked["long"] == 1
    assert result.rows == 2
    assert result.counts[0].generated == 1
    assert rows(workplace)["long"].error == "HTTP 400: longer than the context"


def test_a_server_that_refuses_every_prompt_is_a_mistake_of_the_specification(generate: Callable) -> None:
    with (
        FakeModelServer(lambda *_: Reply(status=400)) as server,
        pytest.raises(InputError, match="maxTokens"),
    ):
        generate(server, ["a", "b"])


def test_a_wrong_key_is_reported_at_once(generate: Callable, workplace: Workplace) -> None:
    workplace.environment["KEY"] = "wrong"
    with FakeModelServer(lambda *_: Reply(), api_key="right") as server:
        with pytest.raises(InputError, match="apiKeySecretRef"):
            generate(server, ["a"], target=served(server.base_url, api_key_env="KEY"))
        workplace.environment["KEY"] = "right"
        assert generate(server, ["a"], target=served(server.base_url, api_key_env="KEY")).rows == 1


def test_a_key_that_is_named_but_not_set_is_reported(generate: Callable) -> None:
    with FakeModelServer(lambda *_: Reply()) as server, pytest.raises(InputError, match="NOT_SET"):
        generate(server, ["a"], target=served(server.base_url, api_key_env="NOT_SET"))


def test_a_server_that_serves_another_model_is_reported(generate: Callable) -> None:
    with (
        FakeModelServer(lambda *_: Reply(), models=("other",)) as server,
        pytest.raises(InputError, match="serves other"),
    ):
        generate(server, ["a"])


def test_a_server_that_is_loading_is_waited_for_with_a_message(
    generate: Callable, workplace: Workplace
) -> None:
    with FakeModelServer(lambda *_: Reply()) as server:
        server.ready = False
        with pytest.raises(InfrastructureError, match="not ready"):
            generate(server, ["a"])
    assert any("waiting for the model server" in p.message and "503" in p.message for p in workplace.progress)


def test_no_server_at_all_is_an_infrastructure_error(generate: Callable) -> None:
    with FakeModelServer(lambda *_: Reply()) as server:
        gone = server.base_url
    with (
        FakeModelServer(lambda *_: Reply()) as server,
        pytest.raises(InfrastructureError, match="ConnectError"),
    ):
        generate(server, ["a"], target=served(gone))


def test_concurrency_is_a_limit_and_is_used(generate: Callable) -> None:
    with FakeModelServer(lambda *_: Reply(delay=0.05)) as server:
        generate(server, [f"p{n}" for n in range(20)])
        assert 2 <= server.most_at_once <= 4


def test_truncation_and_reasoning_are_recorded(generate: Callable, workplace: Workplace) -> None:
    replies = {
        "long": Reply("cut in the", finish_reason="length"),
        "thought": Reply("<think>a</think> b </think> the answer"),
        "thinking": Reply("<think>still", finish_reason="length"),
    }
    sampling = Sampling(temperature=0.0, max_tokens=8, reasoning_end="</think>")
    with FakeModelServer(lambda prompt, _: replies[prompt]) as server:
        generate(server, list(replies), sampling)
    found = rows(workplace)
    assert found["thought"].answer == "the answer"
    assert not found["thought"].truncated
    assert found["thinking"].answer == ""
    assert found["thinking"].truncated_reasoning
    assert found["long"].truncated


def test_a_refusal_in_a_field_of_its_own_is_the_answer(generate: Callable, workplace: Workplace) -> None:
    with FakeModelServer(lambda *_: Reply("", beside={"refusal": "I can't help with that."})) as server:
        generate(server, ["a"])
    assert rows(workplace)["a"].answer == "I can't help with that."


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize("end", ["", "</think>"])
def test_reasoning_in_a_field_of_its_own_is_no_part_of_the_answer(
    field: str, end: str, generate: Callable, workplace: Workplace
) -> None:
    replies = {
        "thought": Reply("the answer", beside={field: "hm"}),
        "both": Reply("more </think> the answer", beside={field: "hm"}),
        "thinking": Reply("", finish_reason="length", beside={field: "hm"}),
        "cut": Reply("the ans", finish_reason="length", beside={field: "hm"}),
        "silent": Reply("", beside={field: "hm"}),
        "none": Reply("<t></think> plain" if end else "plain", beside={field: ""}),
    }
    sampling = Sampling(temperature=0.0, max_tokens=8, reasoning_end=end)
    with FakeModelServer(lambda prompt, _: replies[prompt]) as server:
        generate(server, list(replies), sampling)
    found = rows(workplace)
    assert found["thought"].answer == "the answer"
    assert found["both"].answer == ("the answer" if end else "more </think> the answer")
    assert found["cut"].answer == "the ans"
    assert found["silent"].answer == ""
    assert found["none"].answer == "plain"
    assert [name for name, row in found.items() if row.truncated_reasoning] == ["thinking"]
    assert sorted(name for name, row in found.items() if row.truncated) == ["cut", "thinking"]


@pytest.mark.parametrize(
    ("text", "end", "expected"),
    [
        ("plain", "", ("plain", True)),
        ("a</t>b</t> c", "</t>", ("c", True)),
        ("never ends", "</t>", ("", False)),
        ("ends</t>", "</t>", ("", True)),
    ],
)
def test_reasoning_ends_at_the_last_mark(text: str, end: str, expected: tuple[str, bool]) -> None:
    assert strip_reasoning(text, end) == expected


def test_reasoning_in_a_field_of_its_own_is_kept_as_if_it_stood_in_the_text() -> None:
    assert reasoning_of(joined("hm", " the answer", "</think>"), "</think>") == "hm</think>"
    assert reasoning_of(joined("hm", " the answer", ""), "") == ""


def test_each_random_answer_has_its_own_seed_and_greedy_ones_have_none(generate: Callable) -> None:
    prompts = [f"p{n}" for n in range(5)]
    with FakeModelServer(lambda *_: Reply()) as server:
        generate(server, prompts, Sampling(temperature=0.7, max_tokens=8, seed=1), out="demo/a/b/one")
        first = {body["messages"][0]["content"]: body["seed"] for body in server.bodies}
        server.bodies.clear()
        generate(server, prompts[::-1], Sampling(temperature=0.7, max_tokens=8, seed=1), out="demo/a/b/two")
        again = {body["messages"][0]["content"]: body["seed"] for body in server.bodies}
        server.bodies.clear()
        generate(server, prompts, GREEDY, out="demo/a/b/three")
        assert all("seed" not in body for body in server.bodies)
    assert first == again, "seeds follow the row, not the order"
    assert len(set(first.values())) == 5


HOSTILE = [
    "lone \ud800 surrogate",
    "nul \0 and \x1b[2J",
    "\u2028\u2029\r\n lines",
    "{{ jinja }} %s {0}",
    "x" * 100_000,
]


def test_hostile_answers_survive_files_and_stay_one_row_each(
    generate: Callable, workplace: Workplace
) -> None:
    prompts = [f"prompt {n}" for n in range(len(HOSTILE))]
    with FakeModelServer(lambda prompt, _: Reply(HOSTILE[int(prompt.split()[1])])) as server:
        assert generate(server, prompts).rows == len(HOSTILE)
    found = rows(workplace)
    assert found["prompt 0"].answer == "lone \ufffd surrogate"
    assert found["prompt 2"].answer == HOSTILE[2].strip()
    assert found["prompt 4"].answer == HOSTILE[4]


def test_hostile_prompts_arrive_as_they_are(generate: Callable) -> None:
    prompts = ["\x1b[2J \u202e", "{{ 7 * 7 }}", "'; DROP TABLE", "\u2028line"]
    with FakeModelServer(lambda *_: Reply()) as server:
        generate(server, prompts)
        assert set(server.asked) == set(prompts)


def test_progress_counts_rows_of_earlier_tries(generate: Callable, workplace: Workplace) -> None:
    def dies(prompt: str, _nth: int) -> Reply:
        return Reply(status=500) if prompt == "p9" else Reply("x")

    prompts = [f"p{n}" for n in range(10)]
    with FakeModelServer(dies) as server, pytest.raises(InfrastructureError):
        generate(server, prompts)
    workplace.progress.clear()
    with FakeModelServer(lambda *_: Reply("x")) as server:
        generate(server, prompts)
    assert {(p.done, p.total) for p in workplace.progress} == {(9, 10), (10, 10)}


def test_the_same_rows_give_the_same_digest_however_they_came(
    generate: Callable, workplace: Workplace
) -> None:
    prompts = [f"p{n}" for n in range(12)]
    with FakeModelServer(lambda prompt, _: Reply(prompt, delay=0.001 * (hash(prompt) % 7))) as server:
        one = generate(server, prompts, out="demo/a/b/one")
        two = generate(server, prompts, out="demo/a/b/two", concurrency=1)
    assert one.output.digest == two.output.digest


def test_a_torn_last_line_counts_as_not_finished(workplace: Workplace) -> None:
    writer = ShardWriter(workplace.context.store, "demo/torn", "rows", GeneratedRow)
    row = {"suite": "s", "prompt": "p", "answer": "a", "origin": {"source": "s", "index": 0}}
    writer.append(GeneratedRow.model_validate({**row, "digest": "d1"}))
    writer.close()
    part = next(workplace.artifacts.joinpath("demo/torn").iterdir())
    with part.open("ab") as stream:
        stream.write(b'{"suite": "s", "digest": "d2", "answ')
    again = ShardWriter(workplace.context.store, "demo/torn", "rows", GeneratedRow)
    assert again.finished == {"s/d1/0"}
    again.append(GeneratedRow.model_validate({**row, "digest": "d2"}))
    assert sorted(again.consolidate()) == ["s/d1/0", "s/d2/0"]
    assert [p.name for p in workplace.artifacts.joinpath("demo/torn").iterdir()] == ["rows-00000.jsonl"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_worker_continues_and_asks_no_finished_row_twice(
    how: signal.Signals, workplace: Workplace, suite: Callable
) -> None:
    prompts = [f"prompt number {n}" for n in range(60)]
    uri = workplace.configmap("prompts", "suite.txt", "\n".join(prompts))
    with FakeModelServer(lambda prompt, _: Reply(f"answer to {prompt}", delay=0.05)) as server:
        spec = workplace.spec(
            "generate",
            target=served(server.base_url),
            sampling=GREEDY,
            suites=[suite("s", uri)],
            concurrency=4,
        )
        worker = Worker(workplace, spec)
        process = worker.start()
        deadline = time.monotonic() + 60
        while len(server.answered) < 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(how)
        out, err = process.communicate(timeout=30)
        assert process.returncode == (-signal.SIGKILL if how is signal.SIGKILL else 143), err
        assert not worker.message.exists(), "a worker that was told to go leaves no verdict"
        finished = set(read_rows(workplace.folder("generate"), "rows", GeneratedRow))
        asked_before = dict(server.asked)
        assert 10 < len(finished) < 60

        process = worker.start()
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert json.loads(worker.message.read_text())["rows"] == 60
        done = {row.prompt for row in rows(workplace).values()}
        assert done == set(prompts)
        again = {prompt for prompt in prompts if server.asked[prompt] > 1}
        assert len(again) <= 4, "only rows in flight may be asked again"
        assert sum(server.asked.values()) <= 60 + 4
        assert len(asked_before) - len(finished) <= 4
        last = json.loads([line for line in out.splitlines() if line.startswith("{")][-1])
        assert (last["done"], last["total"]) == (60, 60)
