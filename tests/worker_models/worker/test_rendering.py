"""Chat templates of strangers in transformers' own renderer: they cost no more than they may."""

import json
from pathlib import Path
from typing import Any

import pytest
from jinja2 import TemplateError
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from safety_worker.blending.lengths import renderer
from safety_worker.errors import InputError
from safety_worker.models import rendering
from safety_worker.models.rendering import CostlyTemplateError, render_marked, render_text
from safety_worker.training.encoding import EncodedFile, learn_marked, read_rows

TALK = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
TURNS = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
HOSTILE = {
    "takes more than": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "too much memory": "{% set a = namespace(x='ab' * 1024) %}"
    "{% for i in range(40) %}{% set a.x = a.x ~ a.x %}{% endfor %}",
    "characters of one": "{{ 'x' * 9999 }}",
}


def tokenizer_of(template: str) -> Any:
    model = Tokenizer(models.WordLevel({"?": 0, "Why": 1, "So": 2, ".": 3}, unk_token="?"))
    model.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=model, chat_template=template, unk_token="?")


@pytest.mark.parametrize("words", sorted(HOSTILE))
@pytest.mark.parametrize("place", ["outside of a mark", "inside of a mark", "in an expression of constants"])
def test_a_costly_template_is_ended_wherever_it_costs(
    words: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = HOSTILE[words]
    monkeypatch.setattr(rendering, "SECONDS", 0.5 if words == "takes more than" else 3600.0)
    monkeypatch.setattr(rendering, "MAX_CHARACTERS", 999)
    templates = {
        "outside of a mark": TURNS + hostile,
        "inside of a mark": TURNS.replace("{{ m.content }}", "{{ m.content }}" + hostile),
        "in an expression of constants": hostile,
    }
    tokenizer = tokenizer_of(templates[place])
    with pytest.raises(CostlyTemplateError, match=words):
        render_marked(tokenizer, TALK)
    with pytest.raises(CostlyTemplateError, match=words):
        render_text(tokenizer, TALK, False)


@pytest.mark.parametrize(
    "template",
    ["{{ ''.__class__.__mro__ }}", "{{ cycler.__init__.__globals__ }}", "{{ messages.append(1) }}"],
)
def test_a_template_that_leaves_its_sandbox_is_refused(template: str) -> None:
    with pytest.raises(TemplateError, match=r"unsafe|not safely"):
        render_marked(tokenizer_of(TURNS + template), TALK)


def test_a_row_of_training_that_costs_too_much_only_where_marks_are_read_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"messages": TALK}), encoding="utf-8")
    tokenizer = tokenizer_of(TURNS)
    (file,) = read_rows(tokenizer, [tmp_path / "t.jsonl"]).files
    assert [row.labels for row in learn_marked(tokenizer, file)] == [[1, 0, 2, 3]]
    monkeypatch.setattr(rendering, "MAX_CHARACTERS", 3)
    with pytest.raises(InputError, match=r"t.jsonl, row 1: .* 7 characters of one conversation") as caught:
        learn_marked(tokenizer, file)
    assert caught.value.reason == "TemplateRefusesRow"


def test_a_row_of_which_nothing_is_marked_is_refused() -> None:
    template = TURNS.replace("{% generation %}", "{% if false %}{% generation %}").replace(
        "{% endgeneration %}", "{% endgeneration %}{% endif %}{{ m.content }}"
    )
    with pytest.raises(InputError, match=r"train, row 1: .*marks nothing"):
        learn_marked(tokenizer_of(template), EncodedFile("train", [TALK], ()))


def test_marks_within_marks_count_once() -> None:
    inner = TURNS.replace("{{ m.content }}", "{{ m.content }}{% generation %}!{% endgeneration %}")
    found = render_marked(tokenizer_of(inner), TALK[1:])
    assert (found.text, found.marks[0][0]) == ("So.!", 0)
    assert sum(end - start for start, end in found.marks) == len("So.!")


def test_a_blend_ends_at_the_first_row_of_a_costly_template(tmp_path: Path) -> None:
    tokenizer_of(TURNS + "{{ 'x' * 99999999 }}").save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"onPolicy.model: .*cannot be used"):
        renderer(tmp_path)(TALK)
