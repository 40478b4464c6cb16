"""A training row as the model will see it: by the tokenizer and chat template of the trained model."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jinja2 import TemplateError

Messages = Sequence[Mapping[str, str]]


class Rendered(NamedTuple):
    """A conversation behind the chat template."""

    text: str
    tokens: int


Render = Callable[[Messages], Rendered | None]
"""None: the chat template refuses these messages."""


def renderer(folder: Path) -> Render:
    """A function from messages to their text and tokens; None where the template refuses them.

    Parameters
    ----------
    folder
        The model's folder.
    """
    from transformers import AutoTokenizer  # noqa: PLC0415 - slow to import, and only where lengths are checked

    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)

    def render(messages: Messages) -> Rendered | None:
        try:
            text = tokenizer.apply_chat_template(list(messages), tokenize=False)
        except TemplateError:  # for example a system turn where the template knows none
            return None
        return Rendered(text, len(tokenizer(text, add_special_tokens=False)["input_ids"]))

    return render
