"""The train stage with the real TRL on a tiny random model: killed at the worst moment, it ends alike."""

import json
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

STEPS = 60
EVERY = 10


class Training:
    """One train stage in its own process, as in a pod."""

    def __init__(self, environment: dict[str, str], root: Path, name: str) -> None:
        self.environment, self.root, self.name = environment, root, name

    def start(self, **changes: Any) -> subprocess.Popen[str]:
        spec = {
            "stage": "train",
            "namespace": "n",
            "kind": "SafetyFinetune",
            "name": self.name,
            "inputsHash": "h",
            "root": f"file://{self.root}",
            "out": self.name,
            "model": "base",
            "train": "blend/train.jsonl",
            "validation": "blend/validation.jsonl",
            "steps": STEPS,
            "learningRate": 0.01,
            "minLearningRate": 0.001,
            "warmupSteps": 3,
            "globalBatch": 8,
            "microBatch": 4,
            "maxSequenceLength": 64,
            "precision": "fp32",
            "checkpointSteps": EVERY,
            "checkpointKeep": 2,
            "validationSteps": 20,
            "device": "cpu",
            "nodes": 1,
            **changes,
        }
        path = self.root / f"{self.name}.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        command = [sys.executable, "-m", "safety_worker", "run", "--spec", str(path)]
        environment = {**self.environment, "SAFETY_TERMINATION_LOG": str(self.root / f"{self.name}.message")}
        with (self.root / f"{self.name}.log").open("a", encoding="utf-8") as log:
            return subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True
            )

    def finish(self, **changes: Any) -> dict[str, Any]:
        assert self.start(**changes).wait(300) == 0, self.log()
        return self.result()

    def result(self) -> dict[str, Any]:
        return json.loads((self.root / f"{self.name}.message").read_text(encoding="utf-8"))

    def log(self) -> str:
        return (self.root / f"{self.name}.log").read_text(encoding="utf-8")[-3000:]

    def checkpoint(self, step: int) -> Path:
        return self.root / f"{self.name}.work/checkpoints/checkpoint-{step}"

    def wait_for(self, path: Path, process: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 240
        while not path.exists():
            assert process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.001)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifacts")
    words = random.Random(1)
    (folder / "blend").mkdir()
    for name, count in (("train", 50), ("validation", 6)):
        rows = []
        for _ in range(count):
            first = words.randrange(40)
            prompt = " ".join(f"w{first + n}" for n in range(words.randrange(3, 9)))
            answer = " ".join(f"w{first + 50 - n}" for n in range(words.randrange(3, 9)))
            rows.append([{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}])
        lines = [json.dumps({"messages": row}) for row in rows]
        (folder / f"blend/{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def training(worker_environment, root):
    if not (root / "base").exists():
        script = Path(__file__).with_name("tiny_model.py")
        subprocess.run([sys.executable, str(script), str(root / "base")], check=True, timeout=120)

    def make(name: str) -> Training:
        return Training(worker_environment, root, name)

    return make


@pytest.fixture
def whole(training):
    """The training that nothing has interrupted."""
    run = training("whole")
    if not (run.root / "whole/manifest.json").exists():
        run.finish()
    return run


def losses(run: Training) -> list[float]:
    lines = (run.root / f"{run.name}.work/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [line["loss"] for line in map(json.loads, lines) if "loss" in line]


def test_training_learns_validates_and_exports(whole):
    result = whole.result()
    curve = losses(whole)
    assert len(curve) == STEPS
    assert curve[-1] < 0.5 * curve[0]
    training = result["training"]
    assert (training["step"], training["steps"], training["resumes"]) == (STEPS, STEPS, 0)
    assert training["validationLoss"] > 0
    assert training["tokensPerSecond"] > 0
    assert (result["trainRows"], result["validationRows"]) == (50, 6)
    out = whole.root / "whole"
    base = whole.root / "base"
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert (out / name).read_bytes() == (base / name).read_bytes()
    assert (out / "model.safetensors").stat().st_size == (base / "model.safetensors").stat().st_size
    assert (out / "model.safetensors").read_bytes() != (base / "model.safetensors").read_bytes()
    assert result["output"]["digest"] == json.loads((out / "manifest.json").read_text())["digest"]
    kept = sorted(p.name for p in (whole.root / "whole.work/checkpoints").glob("checkpoint-*"))
    assert kept == [f"checkpoint-{STEPS - EVERY}", f"checkpoint-{STEPS}"]


def test_killed_while_it_saves_it_continues_from_the_checkpoint_before_and_ends_alike(training, whole):
    run = training("killed")
    process = run.start()
    run.wait_for(run.checkpoint(3 * EVERY), process)  # the folder exists, its files are being written
    process.kill()
    process.wait(20)
    assert not (run.checkpoint(3 * EVERY) / "complete.json").exists()
    result = run.finish()
    assert result["training"]["resumes"] == 1
    assert losses(run) == pytest.approx(losses(whole), abs=1e-4)
    assert result["training"]["loss"] == pytest.approx(whole.result()["training"]["loss"], abs=1e-5)
    assert "continuing from step 20" in (run.root / "killed.log").read_text()


def test_sigterm_saves_and_asks_to_be_started_again(training, whole):
    run = training("terminated")
    process = run.start()
    run.wait_for(run.checkpoint(EVERY) / "complete.json", process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143, run.log()
    saved = sorted((run.root / "terminated.work/checkpoints").glob("checkpoint-*/complete.json"))
    assert saved
    result = run.finish()
    assert result["training"]["resumes"] == 1
    assert result["training"]["loss"] == pytest.approx(whole.result()["training"]["loss"], abs=1e-5)


def test_lora_hands_over_a_merged_model(training):
    run = training("lora")
    result = run.finish(method={"type": "lora", "rank": 4, "alpha": 8}, precision="bf16", validation="")
    curve = losses(run)
    assert curve[-1] < curve[0]
    names = {p.name for p in (run.root / "lora").iterdir()}
    assert "model.safetensors" in names
    assert not any("adapter" in name for name in names)
    assert "validationLoss" not in result["training"]


def test_two_processes_train_one_model(training, whole):
    run = training("pair")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    processes = []
    for rank in ("0", "1"):
        run.environment = {
            **run.environment,
            "JOB_COMPLETION_INDEX": rank,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        processes.append(run.start(nodes=2))
    assert [process.wait(300) for process in processes] == [0, 0], run.log()
    assert run.result()["training"]["step"] == STEPS
    assert losses(run)[0] == pytest.approx(losses(whole)[0], abs=0.2)


def test_a_diverging_training_says_so(training):
    run = training("diverging")
    assert run.start(learningRate=1e30, warmupSteps=0).wait(120) == 42, run.log()
    assert run.result()["failure"]["reason"] == "LossNotFinite"


def test_fewer_rows_than_a_batch_are_refused(training):
    run = training("few")
    assert run.start(globalBatch=64).wait(120) == 42, run.log()
    assert run.result()["failure"]["reason"] == "TooFewRows"
    assert not (run.root / "few.work").exists()
