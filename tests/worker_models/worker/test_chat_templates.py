"""Chat templates of published models, as TRL collects them: rendered as by transformers, and learnt from."""

from collections.abc import Sequence
from importlib import resources
from typing import Any

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from safety_worker.models.chat_template import RENDER_ERRORS, compile_chat_template
from safety_worker.models.row_text import describe_template

TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
TEMPLATES = {
    path.name: path.read_text(encoding="utf-8")
    for path in resources.files("trl").joinpath("chat_templates").iterdir()
    if path.name.endswith(".jinja")
}
ASKED = {"role": "user", "content": "Why <é>?"}
THOUGHT = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nSo."}
TALKS = ([ASKED], [ASKED, THOUGHT, ASKED], [{"role": "system", "content": "Be short."}, ASKED, THOUGHT])


def by_transformers(template: str, messages: Sequence[Any], *, begin: bool) -> str:
    found = render_jinja_template(
        [list(messages)], chat_template=template, add_generation_prompt=begin, **TOKENS
    )
    return str(found[0][0])


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_template_gives_the_text_of_transformers(name: str) -> None:
    render = compile_chat_template(TEMPLATES[name], TOKENS)
    for messages in TALKS:
        for begin in (True, False):
            try:
                expected = by_transformers(TEMPLATES[name], messages, begin=begin)
            except RENDER_ERRORS as error:
                with pytest.raises(type(error)):
                    render(messages, begin)
            else:
                assert render(messages, begin) == expected


@pytest.mark.parametrize(
    ("name", "opens"),
    [
        ("deepseek_r1_distill.jinja", "<think>"),
        ("nemotron_3_nano.jinja", "<think>"),
        ("qwen3_5_think.jinja", "<think>"),
        ("qwen3.jinja", ""),
        ("llama3_1.jinja", ""),
    ],
)
def test_models_can_be_trained_through_their_own_templates(name: str, opens: str) -> None:
    found = describe_template(compile_chat_template(TEMPLATES[name], TOKENS))
    assert (found.opens, found.problem) == (opens, "")
