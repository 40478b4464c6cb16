"""The chat template of a model's folder: found, replaced, compiled and rendered, without transformers.

A template is a program of whoever published the model, or of a user: it runs in Jinja's sandbox, with what
transformers gives it (``_compile_jinja_template``) and for a limited time.
"""

import json
import resource
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from safety_records.result import ChatTemplateKind
from safety_records.stages import MAX_CHAT_TEMPLATE_BYTES
from safety_worker.artifacts.files import atomic_write_text
from safety_worker.errors import InputError
from safety_worker.models.row_text import Messages, Render, describe_template

TEMPLATE_FILE = "chat_template.jinja"
OLDER_FILE = "chat_template.json"
HOLDERS = ("tokenizer_config.json", "processor_config.json")
"""Files that may hold a template among other things."""

FIELD = "chat_template"
SECONDS = 5.0
"""Longest time of a conversation's rendering; templates take about a millisecond."""
MEMORY_BYTES = 1024**3
"""Most memory that a rendering may take on top of what the process has; templates take less than a MiB."""

RENDER_ERRORS = (
    *(TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError),
    *(RecursionError, MemoryError, TimeoutError),
)
"""What a template may raise."""


class _Generation(Extension):
    """``{% generation %}``: marks the assistant's text, and renders what is inside."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """The statements between the marks."""
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


def compile_chat_template(text: str, special_tokens: Mapping[str, str]) -> Render:
    """Make a function that renders conversations as servers and trainers do.

    Raises
    ------
    TemplateError
        If the template cannot be parsed.
    TimeoutError, MemoryError
        If that takes more than is allowed.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    with limited(SECONDS):  # constants are computed while a template is compiled
        template = environment.from_string(text)

    def render(messages: Messages, begin: bool) -> str:
        with limited(SECONDS):
            return template.render(
                messages=[dict(message) for message in messages],
                tools=None,
                documents=None,
                add_generation_prompt=begin,
                **special_tokens,
            )

    return render


def _tojson(value: Any, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=options.pop("ensure_ascii", False), **options)


def _refuse(message: str) -> str:
    raise TemplateError(message)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in what takes longer, MemoryError in what takes more than :data:`MEMORY_BYTES`.

    Not in threads, which signals do not reach.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"it takes more than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _address_bytes() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most if soft < 0 else min(soft, most), hard))
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)  # again: Jinja drops what its optimizer raises
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGALRM, before)


def _address_bytes() -> int:
    """Addresses that this process has in use."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").partition(" ")[0])
    return pages * resource.getpagesize()


def find_template(folder: Path) -> str:
    """The template that transformers and vLLM would take; empty if the folder has none."""
    if (folder / TEMPLATE_FILE).exists():
        return (folder / TEMPLATE_FILE).read_text(encoding="utf-8", errors="replace")
    for name in (OLDER_FILE, *HOLDERS[:1]):
        found = _object(folder / name).get(FIELD)
        if isinstance(found, list):  # several by name
            named = {item.get("name"): item.get("template") for item in found if isinstance(item, dict)}
            found = named.get("default")
        if isinstance(found, str) and found:
            return found
    return ""


def special_tokens(folder: Path) -> dict[str, str]:
    """Tokens that templates may name, such as ``bos_token``."""
    found: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        for key, value in _object(folder / name).items():
            text = value.get("content") if isinstance(value, dict) else value
            if key.endswith("_token") and isinstance(text, str):
                found[key] = text
    return found


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def read_given_template(path: Path, where: str) -> str:
    """A template that a user gives.

    Raises
    ------
    InputError
        If it is empty, too long, no text or no template.
    """
    content = path.read_bytes()
    if not 0 < len(content.strip()) <= MAX_CHAT_TEMPLATE_BYTES:
        raise _invalid(
            where, f"it has {len(content)} bytes; it needs some, and {MAX_CHAT_TEMPLATE_BYTES} at most"
        )
    try:
        text = content.decode("utf-8")
        compile_chat_template(text, {})
    except UnicodeDecodeError as error:
        raise _invalid(where, "it is not UTF-8") from error
    except (TemplateError, RecursionError, MemoryError, TimeoutError) as error:
        line = getattr(error, "lineno", None)
        raise _invalid(where, f"{_words(error)}{f', line {line}' if line else ''}") from error
    return text


def install_template(folder: Path, text: str) -> None:
    """Make a template the only one of a model's folder."""
    (folder / OLDER_FILE).unlink(missing_ok=True)
    for name in HOLDERS:
        found = _object(folder / name)
        if found.pop(FIELD, None) is not None:
            atomic_write_text(folder / name, json.dumps(found, ensure_ascii=False, indent=2) + "\n")
    atomic_write_text(folder / TEMPLATE_FILE, text)


def check_given_template(folder: Path, where: str) -> None:
    """Render a short conversation with the template that was put into a folder.

    Raises
    ------
    InputError
        If it fails, or the user's words are not in what it gives.
    """
    question = "Which colour has the sky?"
    render = compile_chat_template(find_template(folder), special_tokens(folder))
    try:
        text = render([{"role": "user", "content": question}], True)
    except RENDER_ERRORS as error:
        raise _invalid(where, f"a conversation cannot be rendered: {_words(error)[:200]}") from error
    if question not in text:
        raise _invalid(where, "what the user says is not in the text that it gives")


def kind_of_template(folder: Path) -> ChatTemplateKind:
    """What the chat template of a folder does. One that fails is no reason to refuse the model."""
    try:
        return describe_template(compile_chat_template(find_template(folder), special_tokens(folder)))
    except RENDER_ERRORS as error:
        return ChatTemplateKind(problem=f"it cannot be rendered: {_words(error)[:150]}")


def _words(error: Exception) -> str:
    return str(error) or (
        "it takes too much memory" if isinstance(error, MemoryError) else type(error).__name__
    )


def _invalid(where: str, why: str) -> InputError:
    return InputError("InvalidChatTemplate", f"model.chatTemplate ({where}): {why}"[:600])
