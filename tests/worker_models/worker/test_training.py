"""The train stage with the real TRL on a tiny random model: killed at the worst moment, it ends alike."""

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.worker_models.worker.tiny_model import write_tiny_model

from safety_records.stages import parse_stage_spec
from safety_worker.cli import run_spec
from safety_worker.errors import InputError

STEPS = 60
EVERY = 10
DIRECT = Path(__file__).with_name("training_directly.py")
KILLS = Path(__file__).with_name("training_kills.py")
VARIANTS = Path(__file__).with_name("training_variants.py")


class Training:
    """One train stage in its own process, as in a pod."""

    def __init__(self, environment: dict[str, str], root: Path, name: str) -> None:
        self.environment, self.root, self.name = environment, root, name
        self.message = root / f"{name}.message"

    def spec(self, **changes: Any) -> dict[str, Any]:
        return {
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

    def start(self, **changes: Any) -> subprocess.Popen[str]:
        spec = self.spec(**changes)
        path = self.root / f"{self.name}.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        command = [sys.executable, "-m", "safety_worker", "run", "--spec", str(path)]
        environment = {**self.environment, "SAFETY_TERMINATION_LOG": str(self.message)}
        with (self.root / f"{self.name}.log").open("a", encoding="utf-8") as log:
            return subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, text=True
            )

    def finish(self, **changes: Any) -> dict[str, Any]:
        assert self.start(**changes).wait(300) == 0, self.log()
        return self.result()

    def result(self) -> dict[str, Any]:
        return json.loads(self.message.read_text(encoding="utf-8"))

    def log(self) -> str:
        return (self.root / f"{self.name}.log").read_text(encoding="utf-8")[-3000:]

    def checkpoint(self, step: int) -> Path:
        return self.root / f"{self.name}.work/checkpoints/checkpoint-{step}"

    def wait_for(self, path: Path, process: subprocess.Popen[str]) -> None:
        self.wait_until(process, path.exists)

    def wait_until(self, process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 240
        while not happened():
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
    shapes = (("base", {}), ("tied", {"tie_word_embeddings": True}), ("exact", {"dtype": "float32"}))
    for name, shape in shapes:
        if not (root / name).exists():
            write_tiny_model(root / name, shape)

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


def has_made(run: Training, step: int) -> bool:
    metrics = run.root / f"{run.name}.work/metrics.jsonl"
    return metrics.exists() and f'"step": {step},' in metrics.read_text(encoding="utf-8")


def assert_alike(run: Training, whole: Training) -> None:
    """The same losses and, in float32 on a CPU, the same weights to the last bit."""
    assert losses(run) == losses(whole)
    weights = [(one.root / one.name / "model.safetensors").read_bytes() for one in (run, whole)]
    assert weights[0] == weights[1]


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
    assert training["trainedShare"] == pytest.approx(0.44, abs=0.05), "an answer and its end of a row"
    table = pq.read_table(whole.root / "report-whole/metrics.parquet").to_pylist()
    assert [row["loss"] for row in table if row["loss"] is not None] == curve
    assert not (whole.root / "whole.work/checkpoints").exists()


def test_killed_while_it_saves_it_continues_from_the_checkpoint_before_and_ends_alike(training, whole):
    run = training("killed")
    process = run.start()
    run.wait_for(run.checkpoint(3 * EVERY), process)  # the folder exists, its files are being written
    process.kill()
    process.wait(20)
    assert not (run.checkpoint(3 * EVERY) / "complete.json").exists()
    result = run.finish()
    assert result["training"]["resumes"] == 1
    assert_alike(run, whole)
    assert "continuing from step 20" in (run.root / "killed.log").read_text()


def test_sigterm_saves_and_a_flipped_bit_of_that_falls_back_to_the_checkpoint_before(training, whole):
    run = training("terminated")
    process = run.start()
    run.wait_for(run.checkpoint(EVERY) / "complete.json", process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143, run.log()
    saved = list((run.root / "terminated.work/checkpoints").glob("checkpoint-*/complete.json"))
    step = max(int(path.parent.name.removeprefix("checkpoint-")) for path in saved)
    spoilt = run.checkpoint(step) / "optimizer.pt"
    content = bytearray(spoilt.read_bytes())
    content[len(content) // 2] ^= 1
    spoilt.write_bytes(content)
    result = run.finish()
    wanted = f"checkpoint {step} was damaged (optimizer.pt is not what was written) and was not used"
    assert wanted in result["warnings"]
    assert_alike(run, whole)


def test_killed_again_and_again_at_any_step_it_ends_with_the_same_weights(training, whole):
    """Before the first checkpoint, between two, and when the last step is made but not saved."""
    run = training("often")
    for step in (4, 23, STEPS):
        process = run.start()
        run.wait_until(process, partial(has_made, run, step))
        process.kill()
        process.wait(20)
    run.finish()
    assert_alike(run, whole)


def test_two_processes_of_a_pod_shard_one_model(training, whole):
    run = training("pair")
    result = run.finish(processes=2, strategy="fsdp")
    training_result = result["training"]
    assert (training_result["step"], training_result["processes"]) == (STEPS, 2)
    assert training_result["strategy"] == "fsdp"
    assert losses(run)[0] == pytest.approx(losses(whole)[0], abs=1e-5), "the same rows are in the same step"
    base, out = run.root / "base/model.safetensors", run.root / "pair/model.safetensors"
    assert out.stat().st_size == base.stat().st_size
    assert out.read_bytes() != base.read_bytes()


def test_what_stops_one_process_of_a_pod_is_what_the_pod_tells(training):
    run = training("pair-diverging")
    changes = {"learningRate": 1e30, "warmupSteps": 0, "processes": 2}
    assert run.start(**changes).wait(300) == 42, run.log()
    assert run.result()["failure"]["reason"] == "LossNotFinite"


def test_a_peer_that_never_comes_is_told(training):
    run = training("lonely")
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29611", "SAFETY_PEER_SECONDS": "1"}
    run.environment = run.environment | where | {"JOB_COMPLETION_INDEX": "0"}
    assert run.start(nodes=3, globalBatch=12).wait(300) == 1, run.log()
    failure = run.result()["failure"]
    assert failure["reason"] == "PeersMissing"
    assert failure["message"].startswith("1 of 3 pods came within 1 s (missing: 1, 2)")


@pytest.mark.parametrize(("strategy", "processes"), [("ddp", 1), ("fsdp", 2), ("ddp", 2)])
def test_ten_kills_at_random_steps_end_in_the_same_weights(training, strategy, processes):
    """By SIGKILL of one process, or SIGTERM to all."""
    run = training(f"kills-{strategy}-{processes}")
    spec = run.spec(strategy=strategy, microBatch=2, steps=40, checkpointSteps=4, validation="")
    given = run.root / f"{run.name}-given.json"
    given.write_text(json.dumps(spec), encoding="utf-8")
    command = [sys.executable, str(KILLS), str(run.root), str(given), str(processes), "10", "7"]
    done = subprocess.run(
        command, env=run.environment, check=False, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["alike"], found
    assert found["losses"]
    assert len(found["kills"]) == 10
    assert {name for _, name in found["kills"]} == {"SIGKILL", "SIGTERM"}


@pytest.fixture
def variants(training):
    """Trainings with all rows in each step, by name, as ``training_variants`` tells of them."""
    run = training("v")
    given = run.root / "v-given.json"
    spec = run.spec(model="exact", steps=3, globalBatch=50, microBatch=5, warmupSteps=1, validationSteps=2)
    lines = (run.root / "blend/train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (run.root / "blend/eleven.jsonl").write_text("".join(lines[:11]), encoding="utf-8")
    given.write_text(json.dumps(spec | {"validation": "blend/eleven.jsonl"}), encoding="utf-8")
    command = [sys.executable, str(VARIANTS), str(run.root), str(given)]
    done = subprocess.run(
        command, env=run.environment, check=False, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_processes_packing_and_interruptions_change_neither_losses_nor_weights(variants):
    assert variants["lora-fsdp-begun"]["codes"] == [143, 143]
    assert variants["lost-begun"]["failure"] == "CheckpointLost"
    assert variants["lora"]["change"] > 1e-3
    for name, number in (
        ("packed", 1),
        ("ddp", 2),
        ("fsdp", 2),
        ("lost", 1),
        ("lora-ddp", 2),
        ("lora-fsdp", 2),
        ("pass-ddp", 2),
        ("pass-fsdp", 3),
    ):
        found = variants[name]
        wanted = variants[next((whole for whole in ("lora", "pass") if name.startswith(f"{whole}-")), "one")]
        assert found["codes"] == [0] * number, (name, found)
        assert found["losses"] == pytest.approx(wanted["losses"], abs=2e-5), name
        assert found["validation"] == pytest.approx(wanted["validation"], abs=2e-5), name
        assert found["difference"] < 1e-4, name
    assert variants["lora"]["merged"], "the bytes that PEFT gives"
    assert variants["pass-fsdp-begun"]["codes"] == [143, 143]
    assert variants["pass-fsdp"]["training"]["processes"] == 3
    check_measured(variants)
    check_aside(variants)
    for name, reason, number in (
        ("other", "OtherStrategy", 2),
        ("fewer", "OtherStrategy", 1),
        ("unsharded", "CannotShard", 2),
        ("full", "OutOfMemory", 1),
    ):
        assert (variants[name]["failure"], variants[name]["codes"]) == (reason, [42] * number), name
    assert variants["renamed"]["failure"] == "CannotExport"
    assert variants["renamed"]["codes"][0] == 42
    assert (variants["hangs"]["codes"], variants["hangs"]["failure"]) == ([1, 1], "StepHung")


def check_aside(variants: dict[str, Any]) -> None:
    """Checkpoints that are written while training goes on, on a disk that is full or slow."""
    assert (variants["aside"]["codes"], variants["aside"]["difference"]) == ([0], 0)
    assert variants["aside"]["training"]["resumes"] == 0
    full = variants["disk-begun"]
    assert (full["codes"], full["failure"], full["complete"]) == ([1, 143], "ArtifactStoreFull", [])
    stopped = variants["stopped-begun"]
    assert (stopped["codes"], stopped["complete"]) == ([143, 143], [1, 2]), (
        "the one before, then the last one"
    )
    late = variants["late-begun"]
    assert (late["codes"], late["complete"]) == ([143, 143], []), "what would not be done in time stays half"
    for name, resumes in (("disk", 0), ("stopped", 1), ("late", 0)):
        found = variants[name]
        assert (found["codes"], found["training"]["resumes"]) == ([0, 0], resumes), (name, found)
        assert found["losses"] == variants["fsdp"]["losses"], name
        assert found["difference"] == 0, name


def check_measured(variants: dict[str, Any]) -> None:
    """A measurement that SIGTERM prevented is made when training goes on, or when no step is left."""
    assert (variants["due-begun"]["codes"], variants["due-begun"]["validation"]) == ([143], [])
    assert len(variants["due"]["validation"]) == 3
    assert variants["due"]["validation"][1:] == variants["one"]["validation"]
    assert (variants["last-begun"]["codes"], variants["last-begun"]["validation"]) == ([143], [])
    assert variants["last"]["codes"] == [0]
    assert variants["last"]["validation"] == variants["due"]["validation"][:1]


def test_losses_and_weights_are_those_of_the_formulas(training):
    """All rows in one batch, so that nothing is drawn: a loop in plain torch comes to the same."""
    run = training("formula")
    settings = {
        "steps": 3,
        "globalBatch": 50,
        "microBatch": 5,
        "learningRate": 0.01,
        "minLearningRate": 0.002,
        "warmupSteps": 1,
        "weightDecay": 0.1,
        "maxGradNorm": 0.5,
        "precision": "fp32",
    }
    run.finish(**settings, validation="", model="exact")
    given = run.root / "formula-given.json"
    given.write_text(json.dumps(settings), encoding="utf-8")
    subprocess.run([sys.executable, str(DIRECT), "train", str(run.root), str(given)], check=True, timeout=300)
    wanted = json.loads(given.read_text(encoding="utf-8"))
    assert losses(run) == pytest.approx(wanted["losses"], abs=2e-5)
    assert wanted["difference"] < 1e-4
    assert wanted["change"] > 1e-3, "weights that stay would differ by nothing as well"


def test_lora_hands_over_the_base_plus_the_scaled_product_of_its_adapters(training):
    run = training("merged")
    lora = {"type": "lora", "rank": 4, "alpha": 12}
    result = run.finish(method=lora, precision="bf16", validation="", steps=20, model="tied")
    assert losses(run)[-1] < losses(run)[0]
    assert "validationLoss" not in result["training"]
    adapter = run.root / "merged/adapter"
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == "tied"
    assert (run.root / "merged/model.safetensors").exists()
    given = run.root / "merged-given.json"
    given.write_text(json.dumps({"adapter": str(adapter), **lora}), encoding="utf-8")
    subprocess.run([sys.executable, str(DIRECT), "merge", str(run.root), str(given)], check=True, timeout=300)
    wanted = json.loads(given.read_text(encoding="utf-8"))
    assert wanted["adapters"] == 2 * 7, "all linear layers but the head"
    assert wanted["difference"] == 0
    assert wanted["change"] > 1e-3


def refusal(run: Training, **changes: Any) -> InputError:
    """What a stage ends with in this very process: a pod's exit code and record follow from it (``cli``)."""
    spec = parse_stage_spec(json.dumps(run.spec(**changes)))
    with pytest.raises(InputError) as caught:
        run_spec(spec, run.environment)
    return caught.value


@pytest.mark.parametrize(
    ("target", "reason"),
    [("qq_proj", "NoTargetModules"), ("lm_head", "TiedTargetModules"), ("embed_tokens", "TiedTargetModules")],
)
def test_adapters_that_could_not_be_merged_are_refused(training, target, reason):
    method = {"type": "lora", "rank": 4, "alpha": 8, "targetModules": ["q_proj", target]}
    found = refusal(training(f"target-{target}"), method=method, model="tied")
    assert found.reason == reason
    assert target in str(found)


def test_a_diverging_training_says_so(training):
    run = training("diverging")
    assert run.start(learningRate=1e30, warmupSteps=0).wait(120) == 42, run.log()
    assert run.result()["failure"]["reason"] == "LossNotFinite"


def test_a_last_step_that_spoils_the_weights_is_no_success(training):
    found = refusal(training("spoilt"), learningRate=1e38, warmupSteps=0, steps=1)
    assert found.reason == "LossNotFinite"
    assert "the validation loss is nan at step 1" in str(found)


def test_fewer_rows_than_a_batch_are_refused(training):
    run = training("few")
    assert refusal(run, globalBatch=64).reason == "TooFewRows"
    assert not (run.root / "few.work").exists()
