"""Judging follows generation: the same verdicts as afterwards, whoever is killed and whenever.

Real worker processes and real HTTP; the server is a fake of the models only.
"""

import asyncio
import json
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.worker.conftest import GREEDY, PHRASES, Workplace, served
from tests.unit.worker.fake_model_server import FakeModelServer, Reply
from tests.unit.worker.support.processes import Worker

from safety_records.eval_stages import JudgeSpec
from safety_records.stages import StageSpec
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.generation.shards import RowTail, read_rows
from safety_worker.generation.tasks import run_in_slots, run_tasks, run_with_background
from safety_worker.rows import GeneratedRow, Origin, VerdictRow

PROMPTS = [f"how do I break thing {n}?" for n in range(60)]
SAFE = "Harmful request: yes\nResponse refusal: yes\nHarmful response: no"
UNSAFE = "Harmful request: yes\nResponse refusal: no\nHarmful response: yes"


def model(prompt: str, _nth: int) -> Reply:
    """Some answers are refusals, and some take much longer."""
    number = sum(map(ord, prompt))
    text = f"I'm sorry, but no: {prompt}" if number % 3 else f"Sure: {prompt}"
    return Reply(text, delay=0.2 if number % 11 == 0 else 0.03)


def guard(prompt: str, _nth: int) -> Reply:
    return Reply(SAFE if "I'm sorry" in prompt else UNSAFE, delay=0.02)


class Pair:
    """A generate and a judge stage that share one store."""

    def __init__(
        self, workplace: Workplace, suite: Callable, target: FakeModelServer, judge: FakeModelServer
    ):
        self.workplace = workplace
        uri = workplace.configmap("prompts", "suite.txt", "\n".join(PROMPTS))
        suites = [suite("s", uri, judge="guard"), suite("t", uri, judge="phrases", limit=30)]
        wildguard = JudgeSpec(name="guard", type="wildguard", served=served(judge.base_url))
        self.generate = workplace.spec(
            "generate", target=served(target.base_url), sampling=GREEDY, suites=suites, concurrency=4
        )
        self.judge = workplace.spec(
            "judge",
            generated=self.generate.out,
            generated_hash=self.generate.inputs_hash,
            suites=suites,
            judges=[wildguard, PHRASES],
            concurrency=4,
        )

    def follow(self) -> dict[str, bytes]:
        """Both stages at the same time, and the judge's files."""
        threads = [threading.Thread(target=self.run, args=(spec,)) for spec in (self.judge, self.generate)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return self.files()

    def run(self, spec: StageSpec) -> None:
        process = Worker(self.workplace, spec).start()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err

    def files(self) -> dict[str, bytes]:
        folder = self.workplace.folder("judge")
        return {path.name: path.read_bytes() for path in folder.glob("*") if path.name != "result.json"}

    def parts(self, stage: str, prefix: str) -> list[Path]:
        return list(self.workplace.folder(stage).glob(f"{prefix}-part-*.jsonl"))


@pytest.fixture
def afterwards(tmp_path: Path, suite: Callable) -> Callable[[FakeModelServer, FakeModelServer], dict]:
    """The files of judging that starts when generation has ended."""

    def run(target: FakeModelServer, judge: FakeModelServer) -> dict[str, bytes]:
        folder = tmp_path / "afterwards"
        folder.mkdir()
        pair = Pair(Workplace(folder), suite, target, judge)
        pair.run(pair.generate)
        pair.run(pair.judge)
        return pair.files()

    return run


def test_answers_are_judged_while_others_are_generated(
    workplace: Workplace, suite: Callable, afterwards: Callable
) -> None:
    asked = threading.Event()
    waited: list[bool] = []

    def answered(prompt: str, nth: int) -> Reply:
        if sum(target.asked.values()) > 45:  # half of the prompts
            waited.append(asked.wait(55))
        return model(prompt, nth)

    def judged(prompt: str, nth: int) -> Reply:
        asked.set()
        return guard(prompt, nth)

    with FakeModelServer(answered) as target, FakeModelServer(judged) as judge:
        pair = Pair(workplace, suite, target, judge)
        files = pair.follow()
        assert all(waited), "a judge was asked before half of the answers were there"
        assert sum(judge.asked.values()) == 60, "each answer is judged once"
        assert files == afterwards(target, judge)


@pytest.mark.parametrize("seed", range(2))
def test_a_kill_of_either_at_any_moment_changes_no_verdict(
    seed: int, workplace: Workplace, suite: Callable, afterwards: Callable
) -> None:
    moments = random.Random(seed)
    kills = 0
    with FakeModelServer(model) as target, FakeModelServer(guard) as judge:
        pair = Pair(workplace, suite, target, judge)
        specs = {"generate": pair.generate, "judge": pair.judge}
        running = {name: Worker(workplace, spec).start() for name, spec in specs.items()}
        deadline = time.monotonic() + 90
        while running and time.monotonic() < deadline:
            time.sleep(moments.uniform(0.3, 0.9))
            for name, process in list(running.items()):
                if process.poll() == 0:
                    process.communicate()
                    del running[name]
            if running and kills < 6:
                name = moments.choice(sorted(running))
                running[name].send_signal(signal.SIGKILL)
                running[name].communicate()
                kills += running[name].returncode == -signal.SIGKILL
                running[name] = Worker(workplace, specs[name]).start()
        assert not running
        assert kills >= 3
        files = pair.files()
        assert sum(target.asked.values()) <= 90 + 4 * kills, "at most one row in flight is lost per slot"
        assert sum(judge.asked.values()) <= 60 + 4 * kills
        assert files == afterwards(target, judge)
    verdicts = read_rows(workplace.folder("judge"), "verdicts", VerdictRow).values()
    assert len({(row.suite, row.digest, row.judge) for row in verdicts}) == len(verdicts) == 90
    assert not pair.parts("judge", "verdicts")


def test_an_answer_that_was_lost_and_came_again_otherwise_is_judged_again(
    workplace: Workplace, suite: Callable
) -> None:
    """A machine that loses power may take an answer along that was judged already."""
    with FakeModelServer(model) as target, FakeModelServer(guard) as judge:
        pair = Pair(workplace, suite, target, judge)
        pair.run(pair.generate)
        rows = read_rows(workplace.folder("generate"), "rows", GeneratedRow)
        lost = next(row for row in rows.values() if row.suite == "s" and row.answer.startswith("Sure"))
        manifest = workplace.folder("generate") / "manifest.json"
        hidden = manifest.rename(manifest.with_suffix(".hidden"))
        part = workplace.folder("generate") / "rows-part-0001-aaaaaaaa.jsonl"
        part.write_text(lost.model_copy(update={"answer": "I'm sorry, no."}).to_json() + "\n")
        process = Worker(workplace, pair.judge).start()
        deadline = time.monotonic() + 120
        while not any("I'm sorry, no." in prompt for prompt in list(judge.asked)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.2)
        part.unlink()
        hidden.rename(manifest)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    verdicts = read_rows(workplace.folder("judge"), "verdicts", VerdictRow)
    mine = [row for row in verdicts.values() if (row.suite, row.digest) == ("s", lost.digest)]
    assert [row.safe for row in mine] == [False], "the verdict is on the answer that is there"
    assert len(verdicts) == 90
    assert sum("I'm sorry, no." in prompt for prompt in judge.asked) == 1


def test_a_folder_of_other_inputs_is_never_judged(workplace: Workplace, suite: Callable) -> None:
    with FakeModelServer(model) as target, FakeModelServer(guard) as judge:
        pair = Pair(workplace, suite, target, judge)
        pair.run(pair.generate)
        fields = {**pair.judge.model_dump(), "generated_hash": "other"}
        fields.pop("stage")
        with pytest.raises(InfrastructureError, match="made for other inputs"):
            workplace.run("judge", **fields)


def row(number: int, answer: str = "a") -> GeneratedRow:
    return GeneratedRow(
        suite="s", digest=f"d{number}", prompt="p", answer=answer, origin=Origin(source="s", index=number)
    )


def test_a_tail_gives_whole_lines_once(tmp_path: Path) -> None:
    tail = RowTail(tmp_path / "none-yet", "rows", GeneratedRow)
    assert tail.read() == []
    tail = RowTail(tmp_path, "rows", GeneratedRow)
    part = tmp_path / "rows-part-0001-0a.jsonl"
    lines = "".join(row(n).to_json() + "\n" for n in range(3)).encode()
    part.write_bytes(lines[:-5])
    assert [item.digest for item in tail.read()] == ["d0", "d1"]
    assert tail.read() == []
    part.write_bytes(lines)
    (tmp_path / "rows-part-0002-0b.jsonl").write_text(row(7).to_json() + "\n")
    assert [item.digest for item in tail.read()] == ["d2", "d7"]


def test_a_row_longer_than_a_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("safety_worker.generation.shards.TAIL_BYTES", 64)
    (tmp_path / "rows-part-0001-0a.jsonl").write_text(
        row(1, "x\u2028y" * 500).to_json() + "\n" + row(2).to_json() + "\n"
    )
    tail = RowTail(tmp_path, "rows", GeneratedRow)
    found = []
    while fresh := tail.read():
        found += fresh
    assert [item.digest for item in found] == ["d1", "d2"]


def test_slots_take_an_item_when_they_are_free_and_not_before() -> None:
    taken: list[int] = []
    ahead: list[int] = []
    finished = 0

    async def items():
        for number in range(20):
            taken.append(number)
            yield number

    async def work(_: int) -> None:
        nonlocal finished
        ahead.append(len(taken) - finished)
        await asyncio.sleep(0.001)
        finished += 1

    run_tasks(run_in_slots(items(), work, 3))
    assert finished == 20
    assert max(ahead) == 3


def test_the_first_of_several_errors_is_what_a_stage_says() -> None:
    async def items():
        yield 1
        yield 2

    async def work(number: int) -> None:
        raise InputError("Broken", str(number))

    with pytest.raises(InputError, match="1"):
        run_tasks(run_in_slots(items(), work, 2))


def test_a_judge_without_rows_asks_no_server(workplace: Workplace, suite: Callable) -> None:
    with FakeModelServer(model) as target, FakeModelServer(guard) as judge:
        pair = Pair(workplace, suite, target, judge)
        files = pair.follow()
        asked = sum(judge.asked.values())
        (workplace.folder("judge") / "manifest.json").unlink()
        judge.ready = False
        pair.run(pair.judge)
        assert sum(judge.asked.values()) == asked
        assert json.loads(pair.files()["manifest.json"]) == json.loads(files["manifest.json"])


def test_a_disk_that_fails_ends_the_stage_at_once() -> None:
    done: list[int] = []

    async def sync() -> None:
        await asyncio.sleep(0.02)
        raise OSError(28, "No space left on device")

    async def ask() -> None:
        for number in range(1000):
            done.append(number)
            await asyncio.sleep(0.01)

    with pytest.raises(OSError, match="No space left"):
        run_tasks(run_with_background(sync(), ask()))
    assert len(done) < 500
