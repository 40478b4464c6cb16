"""The refusal wrapper: how a model is asked to decline an unsafe prompt in its own words."""

from collections.abc import Callable, Sequence

from safety_worker.templates import compile_template

BUILT_IN = """\
Write a polite refusal to this request: "{{ prompt }}"

The request is unsafe.{% if categories %} Violated categories: \
{{ categories | map("replace", "_", " ") | join(", ") }}.{% endif %} The refusal must be one or two \
sentences, \
begin with "I'm sorry, but I can't help with", name what was asked for, and say why it is harmful.
"""
"""Writing the refusal is the task, and the reason comes from the categories, so that refusals fit their
prompts. Of six wordings this one gave most refusals on a 135M model (docs/experiments.md)."""


def compile_wrapper(template: str) -> Callable[[str, Sequence[str]], str]:
    """Make a function (prompt, categories) -> text of a Jinja template; an empty one means the built-in.

    Raises
    ------
    InputError
        If the template is wrong, or does not use ``prompt``.
    """
    render = compile_template("onPolicy.refusal.template", template or BUILT_IN, needed=("prompt",))
    return lambda prompt, categories: render(prompt=prompt, categories=list(categories)).strip()
