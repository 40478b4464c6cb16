"""A blend's output with the real libraries: lengths by a real tokenizer, files that Datasets and TRL read.

The model server is a fake: real HTTP, answers from a function.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.fake_model_server import Reply
from tests.unit.worker.support.blend_runs import THINKING, Blend
from tests.worker_models.worker.tiny_model import write_tiny_model

from safety_worker.blending.lengths import renderer

KEEPS_REASONING = (
    "{% for message in messages %}<|{{ message['role'] }}|> {{ message['content'] }} <|end|> {% endfor %}"
)
DROPS_REASONING = (
    "{% for message in messages %}<|{{ message['role'] }}|> "
    "{{ message['content'].split('</think>')[-1] }} <|end|> {% endfor %}"
)
"""As DeepSeek-R1's template does."""
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}x"
"""As Gemma's template does."""


def make_model(folder: Path, template: str = KEEPS_REASONING) -> Path:
    write_tiny_model(folder)
    for path in folder.glob("*"):
        if path.name == "chat_template.jinja":
            path.write_text(template, encoding="utf-8")
        elif path.name == "tokenizer_config.json":
            config = json.loads(path.read_text(encoding="utf-8"))
            if "chat_template" in config:
                path.write_text(json.dumps(config | {"chat_template": template}), encoding="utf-8")
    return folder


@pytest.fixture
def blend(workplace: Workplace) -> Blend:
    made = Blend(workplace)
    make_model(workplace.artifacts / "demo/models/tiny")
    made.collect()
    return made


def refuses(prompt: str, _nth: int) -> Reply:
    return Reply(f"They want w1 w2.</think>I'm sorry, but I can't help with {prompt[-9:]}.")


def assemble(blend: Blend, **fields: Any) -> Any:
    given = {"sampling": THINKING, "reasoning_end": "</think>", "tokenizer": "demo/models/tiny", **fields}
    return blend.rest(refuses, **given)


def test_tokens_are_those_of_the_models_own_tokenizer_and_template(tmp_path: Path) -> None:
    render = renderer(make_model(tmp_path / "model"))
    rendered = render([{"role": "user", "content": "w1 w2"}, {"role": "assistant", "content": "w3"}])
    assert rendered is not None
    assert rendered.text == "<|user|> w1 w2 <|end|> <|assistant|> w3 <|end|> "
    assert rendered.tokens == 7


def test_what_a_template_refuses_has_no_length(tmp_path: Path) -> None:
    render = renderer(make_model(tmp_path / "model", NO_SYSTEM))
    talk = [{"role": "user", "content": "w1"}, {"role": "assistant", "content": "w2"}]
    assert render(talk) is not None
    assert render([{"role": "system", "content": "w1"}, *talk]) is None


def test_reasoning_is_kept_whether_or_not_the_template_keeps_it_in_finished_turns(blend: Blend) -> None:
    result = assemble(blend, reasoning="keep")
    assert result.rows > 30
    assert all(
        m[-1]["content"].startswith("<think>\n") for m in blend.training_rows() if "harm" in m[0]["content"]
    )
    make_model(blend.workplace.artifacts / "demo/models/r1", DROPS_REASONING)
    kept = blend.again(reasoning="keep", reasoning_end="</think>", tokenizer="demo/models/r1")
    assert (kept.rows, kept.tokens) == (result.rows, result.tokens)
    stripped = blend.again(
        reasoning="strip",
        reasoning_end="</think>",
        tokenizer="demo/models/r1",
        out="demo/safetyeval/base/run/stripped",
    )
    assert stripped.tokens < kept.tokens


@pytest.mark.parametrize("output", ["jsonl", "parquet"])
def test_datasets_and_trl_read_the_folder_as_it_is(
    blend: Blend, output: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    import datasets  # noqa: PLC0415 - reads HF_HOME when it is imported
    from transformers import AutoTokenizer  # noqa: PLC0415
    from trl.data_utils import is_conversational, maybe_apply_chat_template  # noqa: PLC0415

    result = assemble(blend, format=output, validation=0.2)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    found = datasets.load_dataset(str(blend.workplace.folder("assemble")), cache_dir=str(tmp_path / "cache"))
    assert set(found) == {"train", "validation"}
    assert (len(found["train"]), len(found["validation"])) == (result.train_rows, result.validation_rows)
    row = found["train"][0]
    assert list(row) == ["messages"]
    assert [list(message) for message in row["messages"]] == [["role", "content"]] * 2
    assert is_conversational(row)
    tokenizer = AutoTokenizer.from_pretrained(blend.workplace.artifacts / "demo/models/tiny")
    text = maybe_apply_chat_template(row, tokenizer)["text"]
    assert text.startswith("<|user|> ")
