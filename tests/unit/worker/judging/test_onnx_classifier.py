"""A text classifier of one's own as an ONNX graph, run by the real ONNX Runtime and tokenizers."""

import errno
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from onnxruntime.capi import onnxruntime_pybind11_state as ort
from tests.unit.worker.conftest import GREEDY, Workplace, served
from tests.unit.worker.fake_model_server import FakeModelServer, Reply
from tests.unit.worker.support.tiny_onnx import write_classifier
from tests.unit.worker.support.weights import tensors
from tokenizers import processors

from safety_records.eval_stages import EvalSuite, JudgeSpec
from safety_worker.artifacts.store import ArtifactStore
from safety_worker.errors import InfrastructureError, InputError
from safety_worker.generation.shards import read_rows
from safety_worker.judging.model_classifier import Labels, highest, load_model_classifier
from safety_worker.rows import VerdictRow

CALM = "w1 w2 w3 w4 w5"


def test_it_finds_what_means_unsafe(tmp_path: Path) -> None:
    classifier = load_model_classifier(write_classifier(tmp_path), ["Toxic"])
    bad, calm = classifier(["w3 bad w7", CALM])
    assert bad == pytest.approx(1 / (1 + math.exp(-6)))  # logits -2 and 4
    assert calm == pytest.approx(1 / (1 + math.exp(6)))
    assert classifier([]) == []


def test_the_worst_window_of_a_long_text_counts_wherever_it_stands(tmp_path: Path) -> None:
    classifier = load_model_classifier(write_classifier(tmp_path), ["toxic"])
    long = CALM.split() * 100
    for place in (0, 29, 30, 250, 499):
        words = list(long)
        words[place] = "bad"
        assert classifier([CALM, " ".join(words), CALM])[1] > 0.9
    assert max(classifier([" ".join(long), "", "\ud800 w1", "x" * 100_000])) < 0.1


def test_the_other_texts_of_a_batch_change_nothing(tmp_path: Path) -> None:
    classifier = load_model_classifier(write_classifier(tmp_path), ["toxic"])
    texts = [" ".join(["w1"] * n + ["bad"] * (n % 3)) for n in range(60)]
    alone = [classifier([text])[0] for text in texts]
    assert classifier(texts) == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "unsafe", "expected"),
    [
        ({"labels": ("toxic",), "weights": (8.0,)}, ["toxic"], 4),
        (
            {"labels": ("fine", "rude", "threat"), "weights": (-4.0, 8.0, 2.0), "problem": "multi"},
            ["rude"],
            4,
        ),
        ({"integers": TensorProto.INT32}, ["toxic"], 6),
        ({"shape": (1, 16)}, ["toxic"], 6),
        ({"shape": (4, "tokens")}, ["toxic"], 6),
        ({"inputs": ("input_ids", "attention_mask", "token_type_ids")}, ["toxic"], 6),
        ({"output": "probs_or_so"}, ["toxic"], 6),
        ({"external": "model.onnx_data"}, ["toxic"], 6),
    ],
)
def test_graphs_of_many_exporters_run(
    fields: dict[str, Any], unsafe: list[str], expected: float, tmp_path: Path
) -> None:
    if fields.get("problem") == "multi":
        fields = {**fields, "problem": "multi_label_classification"}
    classifier = load_model_classifier(write_classifier(tmp_path, **fields), unsafe)
    bad, calm = classifier(["w1 bad", CALM])
    assert bad == pytest.approx(1 / (1 + math.exp(-expected)))
    assert calm == pytest.approx(1 / (1 + math.exp(expected)))


def test_several_unsafe_labels_are_added_up_or_the_highest_counts() -> None:
    names = {0: "fine", 1: "rude", 2: "threat"}
    logits = np.log(np.array([[0.2, 0.3, 0.5]]))
    together = Labels.of(names, None, ["rude", "threat"])
    assert together.probabilities(logits) == pytest.approx([0.8])
    apart = Labels.of(names, "multi_label_classification", ["rude", "threat"])
    assert apart.probabilities(np.array([[9.0, 0.0, -1.0]])) == pytest.approx([0.5])


@pytest.mark.parametrize("problem", [None, "multi_label_classification"])
def test_an_output_that_is_no_number_is_never_taken_for_safe(problem: str | None) -> None:
    labels = Labels.of({0: "fine", 1: "toxic"}, problem, ["toxic"])
    assert math.isnan(labels.probabilities(np.array([[np.nan, np.nan]]))[0])
    assert math.isnan(highest([0.0, math.nan]))
    assert math.isnan(highest([math.nan, 0.9]))
    assert highest([0.1, 0.9, 0.0]) == 0.9
    huge = labels.probabilities(np.array([[0.0, 1e9], [0.0, -1e9]]))
    assert huge == pytest.approx([1, 0])


@pytest.mark.parametrize(
    ("fields", "reason", "words"),
    [
        ({"labels": ("fine", "rude", "toxic")}, "OnnxOutputs", "config.json has 3 labels"),
        ({"mask": TensorProto.FLOAT}, "OnnxInputs", "int64 or int32"),
        ({"inputs": ("input_ids", "attention_mask", "pixel_values")}, "OnnxInputs", "pixel_values"),
        ({"domain": "com.evil"}, "NoClassifier", "Evil"),
        ({"external": "../secret"}, "NoClassifier", "own operators"),
        ({"external": "/etc/passwd"}, "NoClassifier", "own operators"),
        ({"problem": "regression"}, "NoClassifier", "regression"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(
    fields: dict[str, Any], reason: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 25 * 2 * 4)
    folder = write_classifier(tmp_path / "model", **fields)
    with pytest.raises(InputError) as caught:
        load_model_classifier(folder, ["toxic"])
    assert caught.value.reason == reason
    assert words in caught.value.message


@pytest.mark.parametrize("unsafe", [["nothing"], [], ["toxic", "fine"]])
def test_labels_that_cannot_be_told_apart_are_refused(unsafe: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the model has fine, toxic"):
        load_model_classifier(write_classifier(tmp_path), unsafe)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("model.onnx", "no graph", "NoClassifier"),
        ("other.onnx", "one too many", "NoClassifier"),
        ("config.json", "{}", "NoClassifier"),
        ("config.json", "[]", "NoClassifier"),
        ("config.json", "{", "NoClassifier"),
        ("tokenizer.json", "{}", "NoTokenizer"),
    ],
)
def test_a_broken_folder_is_refused(name: str, content: str, reason: str, tmp_path: Path) -> None:
    folder = write_classifier(tmp_path)
    (folder / name).write_text(content)
    with pytest.raises(InputError) as caught:
        load_model_classifier(folder, ["toxic"])
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", '{"id2label": 5}'),
        ("config.json", '{"id2label": {"first": "fine"}}'),
        ("config.json", '{"id2label": {"0": "fine", "1": "toxic"}, "pad_token_id": [0]}'),
        ("config.json", "[" * 100_000),
        ("config.json", "\udcff"),
        ("tokenizer.json", "\udcff"),
    ],
)
def test_a_folder_that_says_nonsense_is_refused_for_good(name: str, content: str, tmp_path: Path) -> None:
    folder = write_classifier(tmp_path)
    (folder / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError):
        load_model_classifier(folder, ["toxic"])


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_disk_that_fails_is_no_fault_of_the_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_classifier(tmp_path)
    read = Path.read_text

    def failing(path: Path, *args: Any, **kwargs: Any) -> str:
        if path.name == name:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return read(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", failing)
    with pytest.raises(OSError, match="Input/output error"):
        load_model_classifier(folder, ["toxic"])


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ort.InvalidArgument("indices element out of data bounds"), InputError),
        (ort.RuntimeException("broadcast"), InputError),
        (ValueError("missing from input feed"), InputError),
        (ort.Fail("BFCArena: Failed to allocate memory for requested buffer"), InfrastructureError),
        (ort.RuntimeException("std::bad_alloc"), InfrastructureError),
        (MemoryError(), MemoryError),
        (ort.EPFail("threads"), ort.EPFail),
    ],
)
def test_a_run_that_fails_for_something_else_than_the_graph_may_be_tried_again(
    error: Exception, kind: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = load_model_classifier(write_classifier(tmp_path), ["toxic"])

    class Session:
        def run(self, *_: object) -> None:
            raise error

    monkeypatch.setattr(classifier._engine, "_session", Session())
    with pytest.raises(kind) as caught:
        classifier([CALM])
    assert type(caught.value) is kind


def test_a_text_of_which_the_tokenizer_leaves_nothing_is_not_called_safe(tmp_path: Path) -> None:
    classifier = load_model_classifier(write_classifier(tmp_path), ["toxic"])
    classifier._engine.tokenizer.post_processor = processors.Sequence([])
    assert math.isnan(classifier(["  "])[0])


def in_a_repository(folder: Path, graphs: str) -> None:
    """The files of a classifier as a hub keeps them: graphs in a folder of their own."""
    write_classifier(folder)
    (folder / "onnx").mkdir()
    for name in graphs.split():
        (folder / "onnx" / name).write_bytes((folder / "model.onnx").read_bytes())
    (folder / "onnx/model.onnx_data").write_bytes(b"weights")
    (folder / "model.onnx").unlink()


@pytest.mark.parametrize("graphs", ["", "model.onnx", "model.onnx model_int8.onnx", "model_int8.onnx"])
def test_a_graph_is_fetched_and_judges(
    graphs: str, workplace: Workplace, suite: Callable[..., EvalSuite]
) -> None:
    folder = workplace.inputs / "pvc/a/m"
    in_a_repository(folder, graphs) if graphs else write_classifier(folder)
    model = workplace.run("fetch", uri="pvc://a/m", chat=False, classifier=True).output
    assert model is not None
    store = ArtifactStore(f"file://{workplace.artifacts}")
    assert {path.name for path in store.input(model.uri).iterdir()} == {
        "config.json",
        "manifest.json",
        "tokenizer.json",
        "tokenizer_config.json",
        graphs.partition(" ")[0] if graphs else "model.onnx",
    } | ({"model.onnx_data"} if "model.onnx" in graphs else set())
    prompts = workplace.configmap("p", "p.jsonl", '{"prompt": "w1"}\n')
    suites = [suite("s", prompts, judge="own")]
    with FakeModelServer(lambda _prompt, _times: Reply("w1 bad")) as server:
        workplace.run("generate", suites=suites, target=served(server.base_url), sampling=GREEDY)
    judge = JudgeSpec(
        name="own", type="classifier", path=model.uri, digest=model.digest, unsafe_labels=("toxic",)
    )
    generated = workplace.spec("generate", target=served("http://x/v1"), sampling=GREEDY, suites=[]).out
    workplace.run("judge", suites=suites, judges=[judge], generated=generated)
    (row,) = read_rows(workplace.folder("judge"), "verdicts", VerdictRow).values()
    assert row.passed is False
    assert row.detail == "p(unsafe) 0.998"


@pytest.mark.parametrize("name", ["model.onnx_data", "model.onnx.data", "Weights-1"])
def test_a_graph_without_the_file_of_its_weights_is_refused(name: str, workplace: Workplace) -> None:
    folder = write_classifier(workplace.inputs / "pvc/a/m", external=name)
    if "onnx" in name:
        assert workplace.run("fetch", uri="pvc://a/m", chat=False, classifier=True).output is not None
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"model\.onnx of .* keeps weights in {name}, which is not there"):
        workplace.run("fetch", uri="pvc://a/m", out="demo/e/2/fetch", chat=False, classifier=True)


def test_one_of_several_graphs_has_to_be_named(workplace: Workplace) -> None:
    in_a_repository(workplace.inputs / "pvc/a/m", "model_int8.onnx model_fp16.onnx")
    with pytest.raises(InputError, match=r"none is model\.onnx"):
        workplace.run("fetch", uri="pvc://a/m", chat=False, classifier=True)


def test_a_graph_is_no_model_that_can_be_served(workplace: Workplace) -> None:
    write_classifier(workplace.inputs / "pvc/a/m")
    with pytest.raises(InputError, match=r"\*\.safetensors files are needed"):
        workplace.run("fetch", uri="pvc://a/m", chat=False)


def test_safetensors_go_before_a_graph(workplace: Workplace) -> None:
    folder = write_classifier(workplace.inputs / "pvc/a/m")
    (folder / "model.safetensors").write_bytes(tensors(b"weights"))
    model = workplace.run("fetch", uri="pvc://a/m", chat=False, classifier=True).output
    assert model is not None
    assert not (workplace.artifacts / model.uri / "model.onnx").exists()


def test_the_graph_that_is_tried_in_the_image_is_this_one(tmp_path: Path) -> None:
    write_classifier(tmp_path)
    kept = Path(__file__).parents[3] / "data/onnx/tiny"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        path.name: path.read_bytes() for path in tmp_path.iterdir()
    }
