"""What the rails read: the whole conversation, not its last message only.

NeMo Guardrails gives an input rail the last user message. An attacker who puts the request into an earlier
turn, a system message or an invented answer of the assistant would pass it unread. The server calls
:func:`init` when it loads the rails; ``prompts.yml`` uses the names registered here.
"""

import json
from typing import Any

from nemoguardrails.context import raw_llm_request


def conversation() -> list[dict[str, Any]]:
    """The messages of the request at hand.

    Raises
    ------
    RuntimeError
        If there are none: a rail without its text fails, and a rail that fails blocks.
    """
    messages = raw_llm_request.get()
    if not isinstance(messages, list) or not messages:
        raise RuntimeError("no conversation to check")
    return messages


def conversation_messages() -> list[dict[str, str]]:
    """Who is said to have said what, in order, for a classifier that reads messages one by one."""
    return [{"role": str(m["role"]), "content": str(m["content"])} for m in conversation()]


def conversation_turns() -> str:
    """Turns as a safety model reads them; ``agent`` is the assistant."""
    names = {"assistant": "agent"}
    return "\n\n".join(f"{names.get(m['role'], m['role'])}: {m['content']}" for m in conversation())


def as_json(value: Any) -> str:
    """JSON with every script as it is: Jinja's own filter makes 6 to 12 characters of one beyond ASCII."""
    return json.dumps(value, ensure_ascii=False)


def init(app: Any) -> None:
    """Register the names for prompts."""
    app.register_filter(as_json, "as_json")
    app.register_prompt_context("conversation_messages", conversation_messages)
    app.register_prompt_context("conversation_turns", conversation_turns)
