"""The refusal wrapper: how a model is asked to decline an unsafe prompt in its own words."""

from collections.abc import Callable, Sequence

from jinja2 import StrictUndefined, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from safety_worker.errors import InputError
from safety_worker.text import clean

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

    The template runs in a sandbox, and prompts are values in it, never part of it.

    Raises
    ------
    InputError
        If the template is wrong, or does not use ``prompt``.
    """
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    source = template or BUILT_IN
    try:
        if "prompt" not in meta.find_undeclared_variables(environment.parse(source)):
            raise InputError("InvalidTemplate", "onPolicy.refusal.template does not use {{ prompt }}")
        compiled = environment.from_string(source)
    except TemplateError as error:
        raise InputError("InvalidTemplate", f"onPolicy.refusal.template: {error}") from error

    def wrap(prompt: str, categories: Sequence[str]) -> str:
        try:
            return clean(compiled.render(prompt=prompt, categories=list(categories))).strip()
        except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise InputError(
                "InvalidTemplate", f"onPolicy.refusal.template: {type(error).__name__}"
            ) from error

    return wrap
