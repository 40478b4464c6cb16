"""Jinja templates of users, in a sandbox: texts of data sets and models are values, never part of them."""

from collections.abc import Callable, Collection

from jinja2 import StrictUndefined, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from safety_worker.errors import InputError
from safety_worker.text import clean


def compile_template(
    where: str, source: str, needed: Collection[str], known: Collection[str] = ()
) -> Callable[..., str]:
    """Make a function of a template that renders it with variables.

    Parameters
    ----------
    where
        The field of the template, for messages.
    source
        The template.
    needed
        Variables of which it has to use one.
    known
        All that there are; empty: one that is missing is said when it is rendered.

    Raises
    ------
    InputError
        If the template is wrong; the function too, if it cannot be rendered.
    """
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    try:
        used = meta.find_undeclared_variables(environment.parse(source))
        template = environment.from_string(source)
    except (TemplateError, RecursionError) as error:
        raise InputError("InvalidTemplate", f"{where}: {error}") from error
    if not used & set(needed):
        raise InputError("InvalidTemplate", f"{where} does not use {{{{ {min(needed)} }}}}")
    if known and used - set(known):
        unknown = ", ".join(sorted(used - set(known)))
        raise InputError("InvalidTemplate", f"{where} uses {unknown}: there are {', '.join(known)}")

    def render(**values: object) -> str:
        try:
            return clean(template.render(**values))
        except (
            *(TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError),
            RecursionError,
        ) as error:
            raise InputError("InvalidTemplate", f"{where}: {type(error).__name__}") from error

    return render
