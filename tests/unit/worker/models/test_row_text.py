"""Rows of training are what a server sends and what a model then writes, whatever a template does."""

import pytest

from safety_worker.models.chat_template import compile_chat_template
from safety_worker.models.row_text import RowWriter, UnlearnableError, describe_template

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FORGETS = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "<|A|>{{ m.content.split('</think>')[-1] }}<|end|>{% else %}<|U|>{{ m.content }}{% endif %}{% endfor %}"
)
"""As DeepSeek-R1-Distill's: reasoning is left out of every finished turn."""
OPENS = FORGETS + "{% if add_generation_prompt %}<|A|><think>\n{% endif %}"
FORGETS_ONLY = FORGETS + "{% if add_generation_prompt %}<|A|>{% endif %}"
WRITES = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|A|><think>\n\n</think>\n\n{{ m.content }}<|end|>"
    "{% else %}<|U|>{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|A|><think>\n{% endif %}"
)
"""It closes what it opens, and knows no reasoning of its own."""
TOLD_NOT_TO = FORGETS + "{% if add_generation_prompt %}<|A|><think>\n\n</think>\n\n{% endif %}"
BARE = FORGETS + "{% if add_generation_prompt %}<|A|><think>{% endif %}"
OTHER = FORGETS + "{% if add_generation_prompt %}<|A|><|channel|>analysis{% endif %}"

PLAIN, THOUGHT = "It is blue.", "<think>\nAir scatters.\n</think>\n\nIt is blue."


def row(answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": answer}]


@pytest.mark.parametrize(
    ("template", "answer", "prompt", "completion"),
    [
        (CHATML, PLAIN, "assistant\n", f"{PLAIN}<|im_end|>\n"),
        (CHATML, THOUGHT, "assistant\n", f"{THOUGHT}<|im_end|>\n"),
        (OPENS, PLAIN, "<|A|><think>\n", f"\n</think>\n\n{PLAIN}<|end|>"),
        (OPENS, THOUGHT, "<|A|><think>\n", f"Air scatters.\n</think>\n\n{PLAIN}<|end|>"),
        (OPENS, THOUGHT.removeprefix("<think>\n"), "", f"Air scatters.\n</think>\n\n{PLAIN}<|end|>"),
        (BARE, PLAIN, "<|A|><think>", f"\n\n</think>\n\n{PLAIN}<|end|>"),
        (BARE, THOUGHT, "<|A|><think>", f"\nAir scatters.\n</think>\n\n{PLAIN}<|end|>"),
        (FORGETS_ONLY, PLAIN, "<|A|>", f"{PLAIN}<|end|>"),
        (FORGETS_ONLY, THOUGHT, "<|A|>", f"{THOUGHT}<|end|>"),
        (WRITES, PLAIN, "<|A|><think>\n", f"\n</think>\n\n{PLAIN}<|end|>"),
        (WRITES, THOUGHT, "<|A|><think>\n", f"Air scatters.\n</think>\n\n{PLAIN}<|end|>"),
        (FORGETS, THOUGHT, "<|U|>Why?", f"<|A|>{THOUGHT}<|end|>"),
        (TOLD_NOT_TO, PLAIN, "</think>\n\n", f"{PLAIN}<|end|>"),
    ],
)
def test_a_row_is_what_a_server_sends_and_what_a_model_writes_behind_it(
    template: str, answer: str, prompt: str, completion: str
) -> None:
    render = compile_chat_template(template, {})
    found = RowWriter(render).write(row(answer))
    assert found.prompt == render(row(answer)[:1], True)
    assert found.prompt.endswith(prompt)
    assert found.completion == completion
    assert found.closes is completion.lstrip().startswith("</think>")


def test_what_ends_a_turn_is_not_looked_for_in_the_answer() -> None:
    render = compile_chat_template(OPENS, {})
    assert RowWriter(render).write(row("end")).completion == "\n</think>\n\nend<|end|>"


def test_a_template_that_asks_for_something_unknown_is_refused() -> None:
    render = compile_chat_template(OTHER, {})
    with pytest.raises(UnlearnableError, match="channel"):
        RowWriter(render).write(row(PLAIN))
    assert "channel" in describe_template(render).problem


@pytest.mark.parametrize(
    ("template", "opens", "drops"),
    [
        (CHATML, "", False),
        (OPENS, "<think>", True),
        (FORGETS_ONLY, "", True),
        (WRITES, "<think>", False),
        (TOLD_NOT_TO, "", True),
    ],
)
def test_the_kind_of_a_template_is_known_when_it_is_fetched(template: str, opens: str, drops: bool) -> None:
    found = describe_template(compile_chat_template(template, {}))
    assert (found.opens, found.drops_reasoning, found.problem) == (opens, drops, "")
