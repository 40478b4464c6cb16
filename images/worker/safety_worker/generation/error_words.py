"""What a server says when it does not answer, in a fixed vocabulary.

Servers word one cause in many ways: OpenAI and vLLM put an object into ``error``, older vLLM and SGLang lay
it flat, FastAPI (NIM, LiteLLM's proxy) has ``detail``, TGI ``error`` and ``error_type``, Ollama a text, Azure
an ``innererror``, and gateways wrap any of these once more as a text in a text. So causes are found in all
texts of a body, but for those that repeat the request. Nothing of the body goes on: causes, parameters and
codes are those of this file.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

MAX_WORDS, MAX_DEPTH = 20_000, 8
"""Characters of a body that are searched, and how deep it is."""

OK = 200

RETRIED_STATUS = frozenset({408, 409, 424, 425, 429})
"""Answers below 500 that say: not now. 424 is what TGI says where its model failed."""

NOT_IMPLEMENTED = 501
"""The only one from 500 on that does not pass."""

REPEATED = frozenset(
    {"input", "ctx", "url", "messages", "prompt", "failed_generation", "content_filter_results"}
)
"""Keys under which servers repeat what they were asked."""

SETTINGS = (
    *("max_completion_tokens", "max_tokens", "max_new_tokens", "temperature", "top_p", "seed", "stop", "n"),
    *("logprobs", "top_logprobs", "echo", "frequency_penalty", "presence_penalty"),
)
"""Parameters that this project, garak or lm-eval send."""

CODES = (
    *("unsupported_parameter", "unsupported_value", "invalid_value", "invalid_type", "extra_forbidden"),
    *(
        "unknown_parameter",
        "missing_required_parameter",
        "integer_above_max_value",
        "integer_below_min_value",
    ),
    *("decimal_above_max_value", "context_length_exceeded", "string_above_max_length"),
    "invalid_prompt",
    *("content_filter", "content_policy_violation", "data_inspection_failed", "ResponsibleAIPolicyViolation"),
    *("model_not_found", "DeploymentNotFound", "invalid_model", "invalid_api_key", "insufficient_quota"),
    *("budget_exceeded", "billing_hard_limit_reached", "billing_not_active"),
    "unsupported_country_region_territory",
    *("rate_limit_exceeded", "key_model_access_denied", "UnsupportedParamsError", "template_error"),
    *("ContextWindowExceededError", "ContentPolicyViolationError", "validation", "overloaded"),
)
"""Codes and types of errors that may be shown."""


class Cause(StrEnum):
    """Why a server does not answer; the value is for people."""

    FILTERED = "withheld by the server's content filter"
    CONTEXT = "longer than the context"
    MODEL = "no such model"
    NO_CHAT = "no chat template, or no chat model"
    ROLES = "the chat template refuses a system prompt or the order of turns"
    QUOTA = "the quota is used up"
    SETTING = "refuses a parameter"
    KEY = "refuses the key"
    ROUTE = "no such route"
    UNREADABLE = "no readable answer"
    OTHER = "refused"


_WORDS: Mapping[Cause, tuple[str, ...]] = {
    Cause.FILTERED: (
        *("content[ _]?filter", "content management policy", "responsibleaipolicyviolation"),
        *("content_?policy_?violation", "invalid_prompt", "data_inspection_failed"),
        *("input was flagged", "flagged as potentially", "requires moderation"),
    ),
    Cause.CONTEXT: (
        *("context[ _-]?(length|window|size)", "max_model_len", "max_seq_len", "string_above_max_length"),
        *("maximum (model |sequence |input |allowed )*(length|tokens)", "too many (input )?tokens"),
        *("(prompt|input|request|message)s? (is |are )?too (long|large)", "reduce the length"),
        *("longer than the (model|maximum|context)", "exceeds? the (available |model'?s? )*(context|max)"),
        *(
            "max_new_tokens` must be <=",
            "`inputs` must have less than",
            "max_tokens must be at least 1, got -",
        ),
    ),
    Cause.NO_CHAT: (
        "(no|without|provide|provide a|default|have a|define a|define) chat[ _]template",
        *(
            "chat_template is not set",
            "template not found",
            "not a chat model",
            "does not support (chat|generate)",
        ),
    ),
    Cause.ROLES: (
        *("system role", "only user and assistant roles", "roles must alternate"),
        *("after the optional system message", "(invalid|unknown|unsupported|unexpected) role"),
        *("role .{0,40}not (supported|allowed)", "system (message|prompt|instruction)s? (is |are )?not"),
        *("developer instruction is not enabled", "last message must (be|have)"),
    ),
    Cause.MODEL: (
        *("model_not_found", "deploymentnotfound", "invalid_model", "model_not_available"),
        *("key_model_access_denied", "invalid model", "no such model", "unknown model", "try pulling it"),
        "not a valid model",
        "(model|deployment)\\b.{0,160}(does not exist|not found|is not available)",
        "(access to|access|serve) (the )?model",
    ),
    Cause.QUOTA: (
        *("insufficient_quota", "exceeded your current quota", "credit balance", "budget_exceeded"),
        *("budget has been exceeded", "exceeded (your )?budget", "billing[ _](hard[ _]limit|not[ _]active)"),
        "insufficient (credits|balance)",
    ),
    Cause.ROUTE: (
        *("unexpected endpoint", "no route matched", "404 page not found", "cannot post /"),
        *("method not allowed", "unrecognized request url"),
    ),
}
"""What servers say, in lower case. The first cause that fits counts."""

_CAUSES = {cause: re.compile("|".join(words)) for cause, words in _WORDS.items()}
_UNSUPPORTED = re.compile(
    "unsupported[_ ]?param|unknown[_ ]param|extra_forbidden|extra (inputs|fields)|not (permitted|supported)|"
    "unexpected keyword|unrecognized|unknown (name|field|argument)|does not support|additional properties|"
    "max_completion_tokens"
)
_MENTIONED = re.compile(
    r"\b(max_completion_tokens|max_tokens|max_new_tokens|temperature|top_p|top_logprobs|logprobs|"
    r"frequency_penalty|presence_penalty)\b|[\"'`](seed|stop|n|echo)[\"'`]|"
    r"\b(seed|stop)[\"'`]? (?:is|are|was) not"
)
_CODE = re.compile("|".join(rf"\b{code}\b" for code in CODES))


class ServerError(NamedTuple):
    """What a server said instead of an answer."""

    status: int
    cause: Cause = Cause.OTHER
    settings: tuple[str, ...] = ()
    """Parameters that it refuses, of :data:`SETTINGS`."""
    mentioned: tuple[str, ...] = ()
    """These, and others that its texts mention."""
    code: str = ""
    """One of :data:`CODES`."""
    unsupported: bool = False
    """Whether it refuses a parameter whatever its value."""

    @property
    def text(self) -> str:
        """For people: the status and what is known of the cause."""
        parts = [f"HTTP {self.status}"]
        if self.cause is Cause.SETTING:
            parts.append(f"refuses {' and '.join(self.settings)}")
        elif self.cause is not Cause.OTHER:
            parts.append(self.cause)
        return ": ".join(parts) + (f" ({self.code})" if self.code else "")


def read_server_error(status: int, content: bytes | Mapping[str, Any]) -> ServerError:
    """What a response that is no answer says.

    Parameters
    ----------
    status
        HTTP status, or the one that a body names in spite of a status of 200.
    content
        Its body.
    """
    body = _json(content) if isinstance(content, bytes) else content
    text = " ".join(part for part in _parts(body) if isinstance(part, str))[:MAX_WORDS]
    mentioned = _mentioned(text)
    named = tuple(dict.fromkeys(_named_fields(body))) or _refused(mentioned)
    found = _CODE.search(text)
    return ServerError(
        status,
        _cause(status, text.lower(), named),
        named,
        tuple(dict.fromkeys((*named, *mentioned))),
        found.group() if found else "",
        unsupported=bool(_UNSUPPORTED.search(text.lower())),
    )


def read_error_in_body(body: Mapping[str, Any]) -> ServerError | None:
    """The error in a body with status 200, as some servers and gateways report them; None: none is known."""
    words = read_server_error(_status_in(body), body)
    return words if words.status != OK or words.cause is not Cause.OTHER else None


def may_pass(status: int) -> bool:
    """Whether a status says: not now."""
    return status in RETRIED_STATUS or (status >= 500 and status != NOT_IMPLEMENTED)  # noqa: PLR2004 - HTTP


def _status_in(body: Mapping[str, Any]) -> int:
    """The HTTP status that an error with status 200 names; 200 if it names none."""
    error = body.get("error")
    for place in (error, body):
        given = place.get("code") or place.get("status") if isinstance(place, Mapping) else None
        if str(given).isdecimal() and 400 <= int(str(given)) < 600:  # noqa: PLR2004 - HTTP's errors
            return int(str(given))
    return OK


def _cause(status: int, text: str, named: tuple[str, ...]) -> Cause:
    for cause, words in _CAUSES.items():
        if words.search(text):
            return cause
    by_status = {401: Cause.KEY, 402: Cause.QUOTA, 403: Cause.KEY, 413: Cause.CONTEXT}
    by_status |= {404: Cause.ROUTE, 405: Cause.ROUTE, 501: Cause.ROUTE}
    return by_status.get(status) or (Cause.SETTING if named else Cause.OTHER)


def _json(content: bytes) -> Any:
    """A body as JSON, or as the text that it is; a web page says nothing."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return "" if content.lstrip()[:1] == b"<" else content[:MAX_WORDS].decode("utf-8", "replace")


def _parts(value: Any, depth: int = 0) -> Iterator[str | Mapping[str, Any]]:
    """All texts and objects of a body, but for those that repeat the request."""
    items: Iterable[Any] = ()
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield value
        items = (item for key, item in value.items() if str(key) not in REPEATED)
    elif isinstance(value, list):
        items = value
    for item in items if depth < MAX_DEPTH else ():
        yield from _parts(item, depth + 1)


def _named_fields(body: Any) -> Iterator[str]:
    """Parameters that fields for them name: ``param`` of OpenAI, ``loc`` of FastAPI."""
    for part in _parts(body):
        if isinstance(part, Mapping):
            place = part.get("loc")
            given = [part.get("param"), *(place if isinstance(place, list) else [])]
            yield from (name for name in given if isinstance(name, str) and name in SETTINGS)


def _refused(mentioned: tuple[str, ...]) -> tuple[str, ...]:
    """The parameters of a text without the one that it recommends."""
    return tuple(name for name in mentioned if name != "max_completion_tokens") or mentioned


def _mentioned(text: str) -> tuple[str, ...]:
    """Parameters that a text names."""
    names = ("".join(groups) for groups in _MENTIONED.findall(text.lower()))
    return tuple(dict.fromkeys(names))
