"""Models that were published as adapters: what is fetched and refused, without the library that adds numbers.

That the sums are PEFT's is tests/worker_models/worker/test_adapters.py's.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.fake_hub import FakeHub
from tests.unit.worker.support.weights import tensors

from safety_worker.errors import InputError
from safety_worker.models.adapter import Adapter, read_adapter

PREFIX = "base_model.model.model.layers.0.self_attn.q_proj"
SETTINGS = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "org/small"}
WEIGHTS = tensors(b"first", b"second", names=(f"{PREFIX}.lora_A.weight", f"{PREFIX}.lora_B.weight"))
BASE = {
    "config.json": b'{"max_position_embeddings": 64}',
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors": tensors(b"weights", names=("w",)),
}


def put(workplace: Workplace, name: str, files: dict[str, bytes]) -> None:
    folder = workplace.inputs / "pvc/models" / name
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)


def adapter(**settings: Any) -> dict[str, bytes]:
    config = {name: value for name, value in {**SETTINGS, **settings}.items() if value is not None}
    return {"adapter_config.json": json.dumps(config).encode(), "adapter_model.safetensors": WEIGHTS}


@pytest.fixture
def merges(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Bases that something was merged into; the base itself stands for the merged model."""
    found: list[str] = []

    def merge(adapter: Adapter, base: Path, target: Path, report: Callable[[int, int], None]) -> None:
        found.append(base.name)
        for path in base.iterdir():
            shutil.copyfile(path, target / path.name)
        (target / "config.json").write_bytes(b'{"max_position_embeddings": 32}')
        report(1, 2)

    monkeypatch.setattr("safety_worker.stages.fetch.load", lambda _name: merge)
    return found


def fetch(workplace: Workplace, **fields: Any) -> Any:
    wanted = {"uri": "pvc://models/adapter", "baseUri": "pvc://models/base", **fields}
    return workplace.run("fetch", **{name: value for name, value in wanted.items() if value})


def test_an_adapter_is_merged_once_and_both_digests_are_said(workplace: Workplace, merges: list[str]) -> None:
    put(workplace, "adapter", adapter())
    put(workplace, "base", BASE)
    first = fetch(workplace)
    assert first.merged.adapter.uri == "pvc://models/adapter"
    assert first.merged.base.uri == "pvc://models/base"
    assert len({first.output.digest, first.merged.base.digest, first.merged.adapter.digest}) == 3
    assert first.max_length == 32
    again = fetch(workplace, out="demo/e/2/fetch")
    assert (again.output, again.merged) == (first.output, first.merged)
    assert len(merges) == 1
    assert not list(workplace.artifacts.glob("demo/models/.tmp-*"))


def test_an_adapter_on_a_hub_says_its_base_itself(
    workplace: Workplace, merges: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeHub({**BASE, **{f"lora/{name}": content for name, content in adapter().items()}}) as hub:
        workplace.environment["HF_ENDPOINT"] = hub.endpoint
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        result = fetch(workplace, uri="hf://org/small@main/lora", baseUri="")
        assert result.merged.base.uri == f"hf://models/org/small@{hub.commit}"
        assert result.merged.adapter.uri == f"hf://models/org/small@{hub.commit}/lora"
        assert len(merges) == 1


REFUSED = {
    "another kind": ({"peft_type": "IA3"}, "type IA3, only LORA is merged"),
    "magnitudes of their own": ({"use_dora": True}, "with use_dora"),
    "single tokens": ({"trainable_token_indices": [1]}, "with trainable_token_indices"),
    "a changed base": ({"init_lora_weights": "pissa_niter_4"}, "changes the base's own weights"),
    "no alpha": ({"lora_alpha": None}, "no number as lora_alpha"),
}


@pytest.mark.parametrize(("settings", "words"), REFUSED.values(), ids=REFUSED)
def test_an_adapter_that_would_become_another_model_is_refused(
    settings: dict[str, Any], words: str, workplace: Workplace
) -> None:
    put(workplace, "adapter", adapter(**settings))
    put(workplace, "base", BASE)
    with pytest.raises(InputError, match=words):
        fetch(workplace)


BAD_FILES = {
    "pickled": (
        {"adapter_config.json": adapter()["adapter_config.json"], "adapter_model.bin": b"x"},
        "which can run code",
    ),
    "no configuration": ({"adapter_model.safetensors": WEIGHTS}, "no adapter_config.json"),
    "no weights": ({"adapter_config.json": adapter()["adapter_config.json"]}, "no weights"),
    "half": (
        {**adapter(), "adapter_model.safetensors": tensors(b"x", names=(f"{PREFIX}.lora_A.weight",))},
        "one of two matrices",
    ),
    "strange": (
        {
            **adapter(),
            "adapter_model.safetensors": tensors(b"x", names=("base_model.model.x.lora_C.weight",)),
        },
        "which no LoRA has",
    ),
    "a pointer": (
        {**adapter(), "adapter_model.safetensors": b"version https://git-lfs.github.com/spec/v1\noid x\n"},
        "pointer",
    ),
}


@pytest.mark.parametrize(("files", "words"), BAD_FILES.values(), ids=BAD_FILES)
def test_files_that_make_no_adapter_are_refused(
    files: dict[str, bytes], words: str, workplace: Workplace
) -> None:
    put(workplace, "adapter", files)
    put(workplace, "base", BASE)
    with pytest.raises(InputError, match=words):
        fetch(workplace)


def test_the_base_of_an_adapter_from_elsewhere_has_to_be_named(workplace: Workplace) -> None:
    put(workplace, "adapter", adapter())
    with pytest.raises(InputError, match=r"say where its base model is in source\.base\.uri"):
        fetch(workplace, baseUri="")


@pytest.mark.parametrize("base", ["/home/me/llama", "./llama", ""])
def test_a_base_on_the_disk_of_who_trained_has_to_be_named(
    base: str, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeHub(adapter(base_model_name_or_path=base)) as hub:
        workplace.environment["HF_ENDPOINT"] = hub.endpoint
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        with pytest.raises(InputError, match=r"source\.base\.uri"):
            fetch(workplace, uri="hf://org/small", baseUri="")


def test_a_base_that_is_an_adapter_is_refused(workplace: Workplace) -> None:
    put(workplace, "adapter", adapter())
    put(workplace, "base", adapter())
    with pytest.raises(InputError, match="is an adapter itself"):
        fetch(workplace)
    assert not list(workplace.artifacts.glob("demo/models/.tmp-*"))


def test_an_adapter_next_to_the_whole_model_is_left_out(workplace: Workplace) -> None:
    put(workplace, "base", {**BASE, **adapter()})
    output = fetch(workplace, uri="pvc://models/base", baseUri="").output
    assert "adapter_model.safetensors" not in [p.name for p in (workplace.artifacts / output.uri).iterdir()]


@pytest.mark.parametrize(
    ("settings", "module", "expected"),
    [
        ({}, "model.layers.0.q_proj", 2.0),
        ({"use_rslora": True}, "model.layers.0.q_proj", 4 / 2**0.5),
        ({"alpha_pattern": {"q_proj": 8}}, "model.layers.0.q_proj", 4.0),
        ({"alpha_pattern": {"q_proj": 8}}, "model.layers.0.k_proj", 2.0),
        ({"alpha_pattern": {r"layers\.0\..*": 8}}, "model.layers.0.k_proj", 4.0),
    ],
)
def test_scaling_follows_the_settings(
    settings: dict[str, Any], module: str, expected: float, tmp_path: Path
) -> None:
    for name, content in adapter(**settings).items():
        (tmp_path / name).write_bytes(content)
    assert read_adapter(tmp_path, "pvc://x/y").scaling(module, 2) == pytest.approx(expected)
