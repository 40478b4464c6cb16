"""Chat templates of a user's in place of a model's own."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.worker.conftest import Workplace
from tests.unit.worker.support.weights import tensors

from safety_records.result import StageResult
from safety_records.stages import MAX_CHAT_TEMPLATE_BYTES
from safety_worker.errors import InputError
from safety_worker.models.chat_template import compile_chat_template, find_template, special_tokens

OWN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
PLAIN = (
    "{{ bos_token }}{% for m in messages %}{{ m.content }}{% generation %}!{% endgeneration %}{% endfor %}"
)
FILES = {
    "config.json": "{}",
    "model.safetensors": tensors(b"weights").decode(),
    "tokenizer.json": "{}",
    "tokenizer_config.json": json.dumps({"chat_template": OWN, "bos_token": {"content": "<s>"}, "a": "é"}),
    "chat_template.json": json.dumps({"chat_template": OWN}),
    "processor_config.json": json.dumps({"chat_template": OWN, "size": 3}),
}


@pytest.fixture
def model(workplace: Workplace) -> str:
    folder = workplace.inputs / "pvc/a/m"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return "pvc://a/m"


def fetch(workplace: Workplace, uri: str, template: str | bytes = "", **spec: Any) -> StageResult:
    """Fetch a model with a template; ``""``: without one."""
    given = {"chat_template": workplace.configmap("t", "x.jinja", template)} if template else {}
    return workplace.run("fetch", uri=uri, **given, **spec)


def folder_of(workplace: Workplace, result: StageResult) -> Path:
    assert result.output is not None
    return workplace.artifacts / result.output.uri


def test_a_given_template_is_the_only_one_of_the_model_and_part_of_its_digest(
    model: str, workplace: Workplace
) -> None:
    own = fetch(workplace, model)
    given = fetch(workplace, model, PLAIN, out="demo/e/2/fetch", inputs_hash="2")
    assert own.output is not None
    assert given.output is not None
    assert own.output.digest != given.output.digest
    folder = folder_of(workplace, given)
    assert find_template(folder) == PLAIN
    assert not (folder / "chat_template.json").exists()
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert config == {"bos_token": {"content": "<s>"}, "a": "é"}
    assert json.loads((folder / "processor_config.json").read_text()) == {"size": 3}
    assert find_template(folder_of(workplace, own)) == OWN


def test_a_model_without_a_template_can_be_given_one(model: str, workplace: Workplace) -> None:
    for name in ("tokenizer_config.json", "chat_template.json"):
        (workplace.inputs / "pvc/a/m" / name).write_text("{}")
    assert find_template(folder_of(workplace, fetch(workplace, model, PLAIN))) == PLAIN


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (b"{{ messages }}\xff", "not UTF-8"),
        ("{% for m in messages %}", "expected tokens|Unexpected end"),
        ("x" * (MAX_CHAT_TEMPLATE_BYTES + 1), "at most"),
        (" \n", "it needs some"),
        ("Hello", "what the user says"),
        ("{{ raise_exception('only tools') }}", "only tools"),
        ("{{ messages[0].content.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ messages[0]['content'] }}{% for a in range(99999999) %}{% endfor %}", "Range too big"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
            "more than 1 s",
        ),
        ("{{ 'a' * 10**12 }}", "too much memory"),
        (
            "{% set n = namespace(x='ab') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
            "too much memory|more than 1 s",
        ),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_with_the_reason(
    template: str | bytes, why: str, model: str, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safety_worker.models.chat_template.SECONDS", 1.0)
    with pytest.raises(InputError, match=why) as caught:
        fetch(workplace, model, template)
    assert caught.value.reason == "InvalidChatTemplate"
    assert "model.chatTemplate (configmap://t/x.jinja)" in caught.value.message


def test_a_template_renders_as_in_transformers(model: str, workplace: Workplace) -> None:
    folder = workplace.inputs / "pvc/a/m"
    (folder / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<old>", "eos_token": "</s>"}))
    text = (
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}"
        "{{ m | tojson }}{% endfor %}{{ add_generation_prompt }}{{ tools }}"
    )
    render = compile_chat_template(text, special_tokens(folder))
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": "<é>"}]
    assert render(messages, True) == '<s>{"role": "user", "content": "<é>"}TrueNone'
