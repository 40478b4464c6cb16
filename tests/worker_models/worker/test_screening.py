"""The screen stage with a real model: what it scores is what the papers' formulas say."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.unit.worker.screening.blends import complete, write_answers
from tests.unit.worker.support.stage_settings import SETTINGS
from tests.worker_models.worker.tiny_model import write_tiny_model

HERE = Path(__file__).parent
SHAPES = {
    "plain": {},
    "tied": {
        "tie_word_embeddings": True,
        "num_hidden_layers": 3,
        "attention_bias": True,
        "pad_token_id": 3,  # the end of a turn, as in SmolLM2: the embedding gives it no gradient
    },
}
ROWS = 290
"""More than a window, so that there is something to resume."""


def sentence(words: random.Random, low: int, high: int) -> str:
    return " ".join(f"w{words.randrange(95)}" for _ in range(words.randrange(low, high)))


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    words = random.Random(7)

    def pairs(count: int) -> list[list[str]]:
        return [[sentence(words, 3, 20), sentence(words, 1, 25)] for _ in range(count)]

    return {
        "rows": pairs(ROWS),
        "harmful": pairs(10),
        "safe": [pairs(10), pairs(10)],
        "average": 3,
        "layer": 2,
        "tokens": 10,
        "rank": 8,
        "projection": 512,
        "seed": 5,
    }


class Screening:
    """Screen stages on one model in a folder of its own."""

    def __init__(self, environment: dict[str, str], root: Path, given: dict[str, Any]) -> None:
        self.environment, self.root, self.given = environment, root, given
        anchors = {}
        for name, pairs in (("harmful", given["harmful"]), *zip("ab", given["safe"], strict=True)):
            lines = [json.dumps({"prompt": prompt, "response": answer}) for prompt, answer in pairs]
            path = root / f"{name}.jsonl"
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
            columns = {"prompt": "prompt", "response": "response"}
            anchors[name] = {"dataset": {"uri": f"file://{path}", "columns": columns}, "limit": 10}
        self.fields = {
            **SETTINGS["screen"],
            "stage": "screen",
            "namespace": "n",
            "kind": "SafetyBlend",
            "name": "b",
            "inputsHash": "h",
            "root": f"file://{root}",
            "model": "model",
            "anchors": "anchors",
            "average": given["average"],
            "layer": given["layer"],
            "gradient": {key: given[key] for key in ("tokens", "rank", "projection", "seed")},
            "maxTokens": 100,
            "batch_tokens": 1024,
            "precision": "fp32",
            "device": "cpu",
            "methods": ["representation"],
            **write_answers(root, [tuple(row) for row in given["rows"]]),
        }
        sets = {"harmful": anchors["harmful"], "safe": [anchors["a"], anchors["b"]]}
        for name, fields in (("anchors", sets), ("harmful-only", sets | {"safe": []})):
            self.read(name, fields)

    def read(self, name: str, sets: dict[str, Any]) -> None:
        """Run an anchors stage."""
        base = {key: self.fields[key] for key in ("namespace", "kind", "name", "inputsHash", "root")}
        path = self.root / f"{name}.json"
        path.write_text(json.dumps({**base, "stage": "anchors", "out": name, **sets}), encoding="utf-8")
        environment = self.environment | {"SAFETY_TERMINATION_LOG": str(self.root / f"{name}.message")}
        command = [sys.executable, "-m", "safety_worker", "run", "--spec", str(path)]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    def start(self, name: str, index: int = 0, **changes: Any) -> subprocess.Popen[str]:
        path = self.root / f"{name}-{index}.json"
        path.write_text(json.dumps({**self.fields, "out": name, **changes}), encoding="utf-8")
        environment = self.environment | {
            "SAFETY_TERMINATION_LOG": str(self.root / f"{name}.message"),
            "JOB_COMPLETION_INDEX": str(index),
        }
        command = [sys.executable, "-m", "safety_worker", "run", "--spec", str(path)]
        with (self.root / f"{name}.log").open("a", encoding="utf-8") as log:
            return subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True
            )

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text(encoding="utf-8")[-3000:]

    def message(self, name: str) -> dict[str, Any]:
        return json.loads((self.root / f"{name}.message").read_text(encoding="utf-8"))

    def finish(self, name: str, **changes: Any) -> dict[str, Any]:
        assert self.start(name, **changes).wait(400) == 0, self.log(name)
        return self.message(name)

    def scores(self, name: str, method: str) -> dict[int, float]:
        table = pq.read_table(self.root / name / "scores.parquet").to_pylist()
        return {row["index"]: row["score"] for row in table if row["method"] == method}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Artifact roots with a model of each shape, made when they are asked for."""

    @cache
    def build(shape: str) -> Path:
        root = tmp_path_factory.mktemp(shape)
        write_tiny_model(root / "model", SHAPES[shape])
        complete(root / "model")
        return root

    return build


@pytest.fixture
def screening(
    worker_environment: dict[str, str], models: Callable[[str], Path], given: dict[str, Any]
) -> Screening:
    return Screening(worker_environment, models("plain"), given)


def direct_scores(screening: Screening) -> dict[str, list[float]]:
    """Scores by the formulas."""
    output = screening.root / "direct.json"
    if not output.exists():
        rows = screening.root / "given.json"
        rows.write_text(json.dumps(screening.given), encoding="utf-8")
        command = [sys.executable, str(HERE / "screening_directly.py"), str(screening.root / "model")]
        done = subprocess.run(
            [*command, str(rows), str(output)],
            env=screening.environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(output.read_text(encoding="utf-8"))


def top(scores: dict[int, float]) -> set[int]:
    return set(sorted(scores, key=scores.__getitem__, reverse=True)[:100])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("representation", {}),
        ("larf", {"methods": ["larf"]}),
        ("lora", {"methods": ["gradient"]}),
        ("full", {"methods": ["gradient"], "gradient": {"parameters": "full", "tokens": 10, "seed": 42}}),
    ],
)
def test_scores_and_the_top_hundred_are_those_of_the_formulas(
    *,
    name: str,
    changes: dict[str, Any],
    shape: str,
    worker_environment: dict[str, str],
    models: Callable[[str], Path],
    given: dict[str, Any],
) -> None:
    screening = Screening(worker_environment, models(shape), given)
    result = screening.finish(name, **changes)
    found = screening.scores(name, changes.get("methods", ["representation"])[0])
    wanted = dict(enumerate(direct_scores(screening)[name]))
    assert set(found) == set(wanted)
    assert max(abs(found[n] - wanted[n]) for n in wanted) < 1e-3
    assert top(found) == top(wanted)
    assert result["screening"]["scored"] == ROWS
    assert len({round(score, 4) for score in found.values()}) > 100, "a constant would pass as well"


def test_half_precision_finds_mostly_the_same_rows(screening: Screening) -> None:
    methods = ["representation", "gradient"]
    screening.finish("exact", methods=methods)
    screening.finish("half", methods=methods, precision="bf16")
    for method in methods:
        common = top(screening.scores("exact", method)) & top(screening.scores("half", method))
        assert len(common) >= 85, method


def test_killed_and_shared_among_pods_the_digest_is_the_same(screening: Screening) -> None:
    methods = ["representation", "gradient"]
    whole = screening.finish("whole", methods=methods)
    process = screening.start("killed", methods=methods)
    first = screening.root / "killed.work/window-000000.json"
    deadline = time.monotonic() + 300
    while not first.exists():
        assert process.poll() is None, screening.log("killed")
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    killed = screening.finish("killed", methods=methods)
    pods = [screening.start("shared", index, methods=methods, shards=2) for index in (0, 1)]
    assert [pod.wait(400) for pod in pods] == [0, 0], screening.log("shared")
    shared = screening.message("shared")
    assert whole["output"]["digest"] == killed["output"]["digest"] == shared["output"]["digest"]


def test_the_sensitive_layer_is_found_by_scaling_or_that_is_said(screening: Screening) -> None:
    """A random model never refuses, so no layer is more sensitive than another."""
    process = screening.start("search", methods=["larf"], layer=None)
    assert process.wait(400) == 42, screening.log("search")
    failure = screening.message("search")["failure"]
    assert failure["reason"] == "NoSensitiveLayer"
    assert "screening.layer" in failure["message"]
    counts = sorted((screening.root / "search.work").glob("layer-*.json"))
    layers = json.loads((screening.root / "model/config.json").read_text())["num_hidden_layers"]
    assert len(counts) == layers
    assert set(json.loads(counts[0].read_text())) == {"0.7", "0.8", "0.9", "1.1", "1.2", "1.3"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"methods": ["larf"], "layer": 9}, "NoSuchLayer"),
        ({"methods": ["larf"], "anchors": "harmful-only"}, "EmptyAnchors"),
        ({"methods": ["gradient"], "gradient": {"targetModules": ["qq"], "seed": 42}}, "NoTargetModules"),
        ({"maxTokens": 16}, "UnusableAnchor"),
    ],
)
def test_what_cannot_be_scored_is_said(changes: dict[str, Any], reason: str, screening: Screening) -> None:
    assert screening.start("refused", **changes).wait(400) == 42, screening.log("refused")
    assert screening.message("refused")["failure"]["reason"] == reason
