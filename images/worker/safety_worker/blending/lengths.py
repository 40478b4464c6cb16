"""A training row as the model will see it: by the tokenizer and chat template of the trained model."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jinja2 import TemplateError

from safety_records.blend_stages import AssembleStage
from safety_worker.blending.outcomes import LENGTH_REASON, TEMPLATE_REASON, RowOutcome
from safety_worker.blending.output import messages
from safety_worker.errors import InputError
from safety_worker.generation.reasoning import bare, reasoning_of
from safety_worker.models.rendering import CostlyTemplateError, render_text
from safety_worker.models.row_text import Messages, RowWriter, UnlearnableError


class Rendered(NamedTuple):
    """A conversation behind the chat template."""

    text: str
    tokens: int


Render = Callable[[Messages], Rendered | None]
"""None: the chat template refuses these messages."""


def renderer(folder: Path) -> Render:
    """A function from messages to their text and tokens; None where the template refuses them.

    The text is that of training: what a server sends, and behind it what the model is to write.

    Parameters
    ----------
    folder
        The model's folder.

    Raises
    ------
    InputError
        By the function, if the model cannot be trained through its template.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415 - slow to import, and only where lengths are checked

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    writer = RowWriter(partial(render_text, tokenizer))

    def render(messages: Messages) -> Rendered | None:
        try:
            row = writer.write(messages)
        except CostlyTemplateError as error:
            raise InputError(
                "InvalidChatTemplate",
                f"onPolicy.model: its chat template cannot be used: {error}: set model.chatTemplate",
            ) from error
        except TemplateError:  # for example a system turn where the template knows none
            return None
        except UnlearnableError as error:
            raise InputError(
                "ChatTemplateMismatch", f"onPolicy.model: {error}: set model.chatTemplate"
            ) from error
        text = row.prompt + row.completion
        return Rendered(text, len(tokenizer(text, add_special_tokens=False)["input_ids"]))

    return render


def measure_length(outcome: RowOutcome, render: Render, spec: AssembleStage) -> RowOutcome:
    """The outcome with the length; rows that are too long, or that the chat template refuses, are dropped.

    Raises
    ------
    InputError
        If reasoning is kept and the chat template leaves it out: then it would be paid for and not learnt.
    """
    if outcome.reason:
        return outcome
    rendered = render(messages(outcome.row, outcome.answer))
    if rendered is None:
        return outcome._replace(reason=TEMPLATE_REASON)
    trace = reasoning_of(outcome.answer, spec.reasoning_end) if spec.reasoning == "keep" else ""
    if bare(trace, spec.reasoning_end) not in rendered.text:
        raise InputError(
            "ReasoningLost",
            "filter.reasoning is keep, but the chat template of onPolicy.model leaves reasoning out of what "
            "is trained on: set it to strip, or use a model whose chat template keeps it",
        )
    too_long = rendered.tokens > spec.max_tokens
    return outcome._replace(tokens=rendered.tokens, reason=LENGTH_REASON if too_long else "")
