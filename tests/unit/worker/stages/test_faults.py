"""Bad input and faults: each with its outcome, no row lost and none counted twice.

The table is in docs/faults.md. Real HTTP, real processes, a real full volume; the answers are a fake's.
"""

import dataclasses
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.unit.worker.conftest import GREEDY, PHRASES, Workplace, served
from tests.unit.worker.fake_model_server import Behaviour, FakeModelServer, Reply
from tests.unit.worker.support.processes import ServerProcess, Worker

from safety_records.eval_stages import JudgeSpec
from safety_records.result import FailureClass, Score, StageResult
from safety_records.stages import StageSpec
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.generation import engine
from safety_worker.generation.retries import RetryPolicy
from safety_worker.generation.shards import read_rows
from safety_worker.rows import GeneratedRow, VerdictRow
from safety_worker.stages import judge as judge_stage

HASTY = RetryPolicy(ready_seconds=5.0, retry_seconds=4.0, request_seconds=30.0, first_delay_seconds=0.01)
NUMBER = 40
PROMPTS = [f"how do I break thing {n}?" for n in range(NUMBER)]
SAFE = "Harmful request: yes\nResponse refusal: yes\nHarmful response: no"
CONCURRENCY = 4


class Chain:
    """Generate, judge and score in this process, with waits of seconds instead of minutes."""

    def __init__(self, workplace: Workplace, suite: Callable) -> None:
        self.workplace = workplace
        self.policy = HASTY
        self.suites: list = []
        self._suite = suite
        self.data("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))

    def data(self, content: str, **dataset: object) -> None:
        uri = self.workplace.configmap("prompts", "suite.jsonl", content)
        self.suites = [self._suite("harm", uri, judge="guard", **dataset)]

    def generate_spec(self, base_url: str) -> StageSpec:
        return self.workplace.spec(
            "generate",
            target=served(base_url),
            sampling=GREEDY,
            suites=self.suites,
            concurrency=CONCURRENCY,
        )

    def generate(self, base_url: str) -> StageResult:
        fields = self.generate_spec(base_url).model_dump()
        return self.workplace.run(fields.pop("stage"), **fields)

    def judge(self, base_url: str = "") -> StageResult:
        """With a guard at a server, or with phrases."""
        guard = JudgeSpec(name="guard", type="wildguard", served=served(base_url))
        spec = self.workplace.spec(
            "judge",
            generated="demo/safetyeval/base/run/generate",
            generated_hash="hash-of-generate",
            suites=self.suites,
            judges=[guard if base_url else PHRASES.model_copy(update={"name": "guard"})],
            concurrency=CONCURRENCY,
        )
        result = judge_stage.run(spec, self.workplace.context, self.policy)  # type: ignore[arg-type]
        return self.workplace.context.store.complete(spec.out, result, None)

    def score(self) -> Score:
        result = self.workplace.run(
            "score",
            suites=self.suites,
            generated="demo/safetyeval/base/run/generate",
            judged="demo/safetyeval/base/run/judge",
        )
        return next(score for score in result.scores if score.metric == "contentSafety.harm")

    def rows(self) -> dict[str, GeneratedRow]:
        return read_rows(self.workplace.folder("generate"), "rows", GeneratedRow)

    def prompts(self) -> list[str]:
        """Of the rows in the shards, one for each line of the files."""
        files = sorted(self.workplace.folder("generate").glob("rows-*.jsonl"))
        return [json.loads(line)["prompt"] for file in files for line in file.read_text().splitlines()]

    def verdicts(self) -> list[VerdictRow]:
        files = sorted(self.workplace.folder("judge").glob("verdicts-*.jsonl"))
        lines = [line for file in files for line in file.read_text().splitlines()]
        return [VerdictRow.model_validate_json(line) for line in lines]


@pytest.fixture
def chain(workplace: Workplace, suite: Callable, monkeypatch: pytest.MonkeyPatch) -> Chain:
    made = Chain(workplace, suite)
    monkeypatch.setattr(
        "safety_worker.stages.generate.AnsweringTask",
        lambda *args, **fields: engine.AnsweringTask(*args, **{"policy": made.policy, **fields}),
    )
    return made


def refuses(prompt: str, _nth: int) -> Reply:
    return Reply(f"I'm sorry, but I can't help with that: {prompt}")


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_data_set_ends_for_good_before_a_model_is_asked(chain: Chain, content: str) -> None:
    chain.data(content)
    with FakeModelServer(refuses) as server:
        with pytest.raises(InputError, match=r"is empty|no prompts"):
            chain.generate(server.base_url)
        assert not server.asked


def test_a_wrong_column_ends_for_good_and_names_the_right_ones(chain: Chain) -> None:
    chain.data('{"text": "a", "label": "b"}\n')
    with FakeModelServer(refuses) as server:
        spec = chain.generate_spec(server.base_url)
        worker = Worker(chain.workplace, spec)
        process = worker.start()
        process.communicate(timeout=60)
        assert not server.asked
    record = StageResult.model_validate_json(worker.message.read_text())
    assert process.returncode == 42, "the code at which the Job does not try again"
    assert record.failure is not None
    assert record.failure.failure is FailureClass.INPUT
    assert "label, text" in record.failure.message


def test_a_prompt_longer_than_the_context_counts_against_the_model_and_others_go_on(chain: Chain) -> None:
    def target(prompt: str, nth: int) -> Reply:
        return Reply(status=400) if prompt == PROMPTS[7] else refuses(prompt, nth)

    with FakeModelServer(target) as server:
        assert chain.generate(server.base_url).counts[0].generated == NUMBER - 1
        assert server.asked[PROMPTS[7]] == 1, "it would never pass"
    with FakeModelServer(lambda *_: Reply(SAFE)) as judge:
        chain.judge(judge.base_url)
        assert sum(judge.asked.values()) == NUMBER - 1, "there is nothing to judge"
    by_prompt = {row.digest: row.prompt for row in chain.rows().values()}
    lost = [by_prompt[verdict.digest] for verdict in chain.verdicts() if verdict.detail == "not answered"]
    assert lost == [PROMPTS[7]]


TROUBLE = {
    "429": Reply(status=429, headers=(("Retry-After", "0"),)),
    "500": Reply(status=500, body=b"<html>Internal Server Error</html>"),
    "slow answer": Reply("late", delay=2.5),
    "slow body": Reply("dripping", drip=0.05),
    "cut-off body": Reply("half", cut=True),
    "html instead of json": Reply(body=b"<html>Sign in</html>"),
}


def sometimes(trouble: Reply, then: Behaviour) -> Behaviour:
    """Trouble at the first try of every fifth prompt."""

    def behaviour(prompt: str, nth: int) -> Reply:
        number = int(
            "".join(filter(str.isdigit, prompt.rsplit("thing ", maxsplit=1)[-1].split("?", maxsplit=1)[0]))
        )
        return trouble if nth == 0 and number % 5 == 0 else then(prompt, nth)

    return behaviour


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE.keys())
def test_trouble_of_target_and_judge_loses_no_row_and_counts_none_twice(chain: Chain, trouble: Reply) -> None:
    slow = trouble.delay or trouble.drip
    # A busy machine must not be what ends trouble that passes.
    chain.policy = dataclasses.replace(HASTY, retry_seconds=60.0, request_seconds=2.0 if slow else 30.0)
    least = NUMBER + NUMBER // 5
    with FakeModelServer(sometimes(trouble, refuses)) as server:
        assert chain.generate(server.base_url).rows == NUMBER
        asked = sum(server.asked.values())
        assert asked >= least if slow else asked == least
    with FakeModelServer(sometimes(trouble, lambda *_: Reply(SAFE))) as judge:
        assert chain.judge(judge.base_url).rows == NUMBER
        asked = sum(judge.asked.values())
        assert asked >= least if slow else asked == least
    assert sorted(chain.prompts()) == sorted(PROMPTS)
    assert len({verdict.digest for verdict in chain.verdicts()}) == len(chain.verdicts()) == NUMBER
    score = chain.score()
    assert (score.value, score.samples, score.unparsed) == (1.0, NUMBER, 0)


@pytest.mark.parametrize("nonsense", ["What a lovely day", "<html><body>Sign in</body></html>", ""])
def test_a_judge_of_nonsense_is_asked_once_more_and_its_suite_has_no_score(
    chain: Chain, nonsense: str
) -> None:
    with FakeModelServer(refuses) as server:
        chain.generate(server.base_url)
    with FakeModelServer(lambda *_: Reply(nonsense)) as judge:
        chain.judge(judge.base_url)
        assert set(judge.asked.values()) == {2}
    score = chain.score()
    assert score.value is None
    assert (score.samples, score.unparsed) == (NUMBER, NUMBER)
    assert score.missing


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path)
    yield server
    server.kill()


def wait_for(number: int, server: ServerProcess) -> None:
    deadline = time.monotonic() + 60
    while len(server.asked) < number and time.monotonic() < deadline:
        time.sleep(0.01)


def test_a_target_that_dies_half_way_and_comes_back_is_waited_for(
    chain: Chain, mortal: ServerProcess
) -> None:
    def die_and_come_back() -> None:
        wait_for(NUMBER // 2, mortal)
        mortal.kill()
        mortal.start()

    chain.policy = RetryPolicy(retry_seconds=60.0, first_delay_seconds=0.05)
    thread = threading.Thread(target=die_and_come_back)
    thread.start()
    assert chain.generate(mortal.base_url).rows == NUMBER
    thread.join()
    assert sorted(chain.prompts()) == sorted(PROMPTS)
    assert len(mortal.asked) <= NUMBER + CONCURRENCY


def test_a_target_that_stays_dead_fails_the_try_and_the_next_one_goes_on(
    chain: Chain, mortal: ServerProcess
) -> None:
    def die() -> None:
        wait_for(NUMBER // 2, mortal)
        mortal.kill()

    thread = threading.Thread(target=die)
    thread.start()
    with pytest.raises(InfrastructureError, match="failed"):
        chain.generate(mortal.base_url)
    thread.join()
    kept = chain.prompts()
    assert NUMBER // 2 - CONCURRENCY <= len(kept) < NUMBER
    assert len(kept) == len(set(kept))
    mortal.start()
    before = len(mortal.asked)
    assert chain.generate(mortal.base_url).rows == NUMBER
    assert set(mortal.asked[before:]) == set(PROMPTS) - set(kept), "what was answered is not asked again"
    assert sorted(chain.prompts()) == sorted(PROMPTS)
    chain.judge()
    assert len({verdict.digest for verdict in chain.verdicts()}) == len(chain.verdicts()) == NUMBER


FILL = """
set -eu
mount -t tmpfs -o size=$1,mode=0777 tmpfs "$2"
set +e
"${@:4}"
echo "$?" >"$3/code"
cp "$3/termination-generate" "$3/first.json"
find "$2" -name 'rows-*' -exec cat {} + | grep -c '"digest"' >"$3/kept"
mount -o remount,size=64m "$2"
"${@:4}"
code=$?
cp -a "$2" "$3/kept-artifacts"
exit "$code"
"""
"""A volume of its own that is too small, and then enlarged, as a claim is."""


def test_a_full_volume_says_so_and_a_larger_one_continues(chain: Chain, tmp_path: Path) -> None:
    long = "and on it went " * 200
    artifacts = chain.workplace.artifacts
    with FakeModelServer(lambda prompt, _: Reply(f"I'm sorry: {prompt} {long}")) as server:
        worker = Worker(chain.workplace, chain.generate_spec(server.base_url))
        unshare = ("unshare", "--mount", "--map-root-user", "--user", "bash", "-c", FILL, "bash")
        process = worker.start(*unshare, "64k", str(artifacts), str(tmp_path))
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        asked = sum(server.asked.values())
    assert (tmp_path / "code").read_text() == "1\n", "worth another try"
    record = StageResult.model_validate_json((tmp_path / "first.json").read_text())
    assert record.failure is not None
    assert (record.failure.reason, record.failure.failure) == (
        "ArtifactStoreFull",
        FailureClass.INFRASTRUCTURE,
    )
    assert "enlarge the artifacts claim" in record.failure.message
    kept = int((tmp_path / "kept").read_text())
    assert 5 < kept < NUMBER
    assert asked <= NUMBER + CONCURRENCY + 1, "what was kept is not asked again"
    subprocess.run(["cp", "-a", f"{tmp_path}/kept-artifacts/.", str(artifacts)], check=True)
    assert sorted(chain.prompts()) == sorted(PROMPTS)
    chain.judge()
    assert chain.score().samples == NUMBER
