"""The conversation of a request: what the model reads of it, and what the rails do.

Each list has a bound, and work is linear in the size of the body.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from safety_gateway.errors import BadRequestError
from safety_gateway.json_text import as_read, with_letters
from safety_gateway.rails import Message
from safety_gateway.tools import CALL_ID, ToolCall, read_call

MAX_MESSAGES = 4096
"""Far above any conversation; each message costs the guard work."""
MAX_CALLS = 128
"""Calls of tools in one turn."""
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
"""Roles that a client may use, and what they become."""


def read_messages(value: Any, refusals: Collection[str]) -> list[dict[str, Any]]:
    """The conversation as the model reads it, ending with the user or with a tool's result.

    A turn that the rails refused is left out with the refusal, so that it neither reaches the model later nor
    blocks the rest of the conversation.
    """
    if not isinstance(value, list) or not value:
        raise _invalid("messages has to be a list with at least one message")
    if len(value) > MAX_MESSAGES:
        raise _invalid(f"a request has at most {MAX_MESSAGES} messages")
    messages: list[dict[str, Any]] = []
    for item in value:
        message = read_message(item)
        if _is_refusal(message, refusals) and messages and messages[-1]["role"] == "user":
            messages.pop()
        else:
            messages.append(message)
    _check_order(messages)
    return messages


def _is_refusal(message: dict[str, Any], refusals: Collection[str]) -> bool:
    return (
        message["role"] == "assistant"
        and "tool_calls" not in message
        and message["content"].strip() in refusals
    )


def _check_order(messages: list[dict[str, Any]]) -> None:
    """Raise BadRequestError unless somebody waits for an answer, and each tool's result has its call."""
    last = messages[-1] if messages else {"role": ""}
    if last["role"] != "tool" and (last["role"] != "user" or not last["content"].strip()):
        raise _invalid("the last message has to be the user's, and not empty, or a tool's result")
    open_calls: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                raise _invalid("a message of role tool has to follow the call with its tool_call_id")
        else:
            open_calls = {call["id"] for call in message.get("tool_calls", ())}


def read_message(item: Any) -> dict[str, Any]:
    """One message: role, text, calls of tools, and whose result it is."""
    role = item.get("role") if isinstance(item, dict) else None
    if not isinstance(role, str) or role not in ROLES:
        words = f"a message's role has to be one of {', '.join(ROLES)}"
        raise BadRequestError(words, code="unsupported_role")
    message: dict[str, Any] = {"role": ROLES[role]}
    calls = _read_calls(item.get("tool_calls")) if role == "assistant" else ()
    if calls:
        message["tool_calls"] = [call.to_dict() for call in calls]
    message["content"] = "" if calls and item.get("content") is None else read_text(item.get("content"))
    if role == "tool":
        message["tool_call_id"] = _read_id(item.get("tool_call_id"))
    return message


def _read_id(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _invalid("a message of role tool has a tool_call_id")
    return _checked_id(value)


def _checked_id(id_: str) -> str:
    if id_ and CALL_ID.fullmatch(id_) is None:
        raise _invalid("the id of a tool's call has 1 to 64 letters, digits, dashes and underscores")
    return id_


def _read_calls(value: Any) -> tuple[ToolCall, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_CALLS:
        raise _invalid(f"tool_calls has to be a list of at most {MAX_CALLS}")
    try:
        # One form for model and rails: a template would print the words that an escape hides.
        calls = tuple(replace(call, arguments=with_letters(call.arguments)) for call in map(read_call, value))
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise _invalid("tool_calls have an id, and a function with name and arguments") from error
    for call in calls:
        _checked_id(call.id)
        encodable(call.arguments)
    return calls


def read_text(content: Any) -> str:
    """Text of a message: a string, or a list of text parts, joined by line ends."""
    if isinstance(content, str):
        return encodable(content)
    if not isinstance(content, list) or not content:
        raise _no_text()
    return encodable("\n".join(map(_text_part, content)))


def _text_part(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise _no_text()
    return text


def encodable(text: str) -> str:
    """The text, unless it holds half of a UTF-16 pair, which no server can be sent."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _invalid("a text is no valid Unicode") from error
    return text


def for_rails(messages: list[dict[str, Any]]) -> list[Message]:
    """The conversation as guards know it: text of system, user and assistant.

    What a tool gave back comes from outside, as what a user writes; a call of a tool is what the assistant
    said.
    """
    return [_for_rails(message) for message in messages]


def without_results(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conversation without what tools gave back; where it ends with that, the user's last text ends it.

    Rails judge by the last text, and a conversation without any of the user's has only results to judge.
    """
    users = [message for message in messages if message["role"] == "user"]
    if not users:
        return messages
    kept = [message for message in messages if message["role"] != "tool"]
    return [*kept, users[-1]] if messages[-1]["role"] == "tool" else kept


def _for_rails(message: dict[str, Any]) -> Message:
    calls = (call["function"] for call in message.get("tool_calls", ()))
    content = as_read(message["content"]) if message["role"] == "tool" else message["content"]
    texts = [content, *(f"{call['name']} {as_read(call['arguments'])}" for call in calls)]
    role = "user" if message["role"] == "tool" else message["role"]
    return {"role": role, "content": "\n".join(text for text in texts if text)}


def _no_text() -> BadRequestError:
    words = "a message's content has to be a text or a list of text parts"
    return BadRequestError(words, code="unsupported_content")


def _invalid(words: str) -> BadRequestError:
    return BadRequestError(words, code="invalid_messages")
