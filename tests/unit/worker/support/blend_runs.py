"""A small blend that tests run through its stages, against a fake model server."""

import json
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
from tests.unit.worker.conftest import PHRASES, Workplace, served
from tests.unit.worker.fake_model_server import FakeModelServer, Reply

from safety_records.data import Columns, Dataset, Source
from safety_records.result import StageResult
from safety_records.sampling import Sampling

REFUSAL = "I'm sorry, but I can't help with that, because it could hurt people."


WARM = Sampling(temperature=0.6, max_tokens=64)


def jsonl(*rows: dict) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


PATHS = {
    "collected": "demo/safetyeval/base/run/collect",
    "answered": "demo/safetyeval/base/run/answer",
    "judged": "demo/safetyeval/base/run/judge",
}


class Blend:
    """Builds and runs a blend."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        columns = Columns(categories="labels", response="answer")
        red = [
            {"prompt": f"harm number {n}", "labels": ["fraud" if n % 3 else "drugs_and_arms"]}
            for n in range(30)
        ]
        blue = [{"prompt": f"evil number {n}", "labels": []} for n in range(10)]
        blue.append({"prompt": "harm  number\u00a03", "labels": []})
        benign = [{"prompt": f"question {n}", "answer": f"given {n}." if n < 5 else None} for n in range(15)]
        benign.append({"prompt": "evil number 4", "answer": "sure"})
        self.red = self._source("red", jsonl(*red), columns)
        self.blue = self._source("blue", jsonl(*blue) + "broken\n", columns)
        self.retain = self._source("benign", jsonl(*benign), columns)
        self.exam = Dataset(
            uri=workplace.configmap("exam", "e.txt", "HARM number 5\nharm number 6\nquestion 0")
        )

    def _source(self, name: str, content: str, columns: Columns) -> Source:
        uri = self.workplace.configmap(name, "d.jsonl", content)
        used = columns if "labels" in content else columns.model_copy(update={"categories": ""})
        used = used if "answer" in content else used.model_copy(update={"response": ""})
        return Source(name=name, dataset=Dataset(uri=uri, columns=used))

    def collect(self, **fields: Any) -> StageResult:
        spec = {
            "sources": [self.red, self.blue],
            "retain": [self.retain],
            "against": [self.exam],
            "max_invalid": 0.1,
        }
        return self.workplace.run("collect", **{**spec, **fields})

    def rest(self, behaviour: Callable[[str, int], Reply], **fields: Any) -> StageResult:
        """Answer, judge and assemble; fields go to the stage that has them."""
        stages = ("sampling", "candidates", "fallback", "more_tokens", "template")
        answer = {name: fields.pop(name) for name in stages if name in fields}
        judges = fields.pop("judges", [PHRASES])
        with FakeModelServer(behaviour) as server:
            self.workplace.run(
                "answer",
                collected=PATHS["collected"],
                target=served(server.base_url),
                **{"sampling": WARM, **answer},
            )
            self.asked, self.bodies = server.asked, server.bodies
        self.workplace.run("judge", generated=PATHS["answered"], judges=judges)
        candidates = answer.get("candidates", 1)
        return self.workplace.run("assemble", **PATHS, candidates=candidates, **fields)

    def again(self, **fields: Any) -> StageResult:
        """Assemble once more, from the same answers."""
        return self.workplace.run("assemble", **PATHS, **{"out": "demo/safetyeval/base/run/again", **fields})

    def unkept(self) -> list[dict]:
        path = self.workplace.folder("assemble") / "no-safe-answer.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def training_rows(self, name: str = "train") -> list[list[dict]]:
        path = self.workplace.folder("assemble") / f"{name}.jsonl"
        return [json.loads(line)["messages"] for line in path.read_text().splitlines()]

    def fates(self) -> list[dict]:
        return pq.read_table(self.workplace.folder("assemble") / "rows.parquet").to_pylist()


def refuses_when_told(prompt: str, _nth: int) -> Reply:
    """Refuses when the wrapper asks for it, but complies with evil number 7 and all its like."""
    if "number 7" in prompt:
        return Reply("Sure, here is how.")
    return Reply(REFUSAL if "Write a polite refusal" in prompt else f"An answer to {prompt}.")


def with_thoughts(prompt: str, _nth: int) -> Reply:
    return Reply(f"They say {prompt[-9:]}.</think>\n\n{REFUSAL}")


THINKING = Sampling(temperature=0.6, max_tokens=64, reasoning_end="</think>")
