"""Why a server answers nothing at all, in words for people that say what to do.

Used by the client, and by the stages that hand a server to a tool of others.
"""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from safety_records.stage_base import ServedModel
from safety_worker.errors import InfrastructureError, InputError, WorkerError
from safety_worker.generation.error_words import Cause, ServerError

FATAL = frozenset({Cause.KEY, Cause.MODEL, Cause.ROUTE, Cause.QUOTA})
"""Causes that hold for every request."""

SHOWN_NAMES = 5

REMEDIES = {
    "temperature": "set temperature to one that it takes, as a rule 1, or ask another model; judges are "
    "always asked at 0",
    "top_p": "set topP to 1",
    "seed": "random answers could not be repeated without one; at temperature 0 none is sent",
    "max_tokens": "lower maxTokens",
    "max_completion_tokens": "lower maxTokens",
    "max_new_tokens": "lower maxTokens",
}
"""What to do about a parameter that is refused, the first of them that fits."""


class Refused(NamedTuple):
    """What was asked where."""

    server: ServedModel
    route: str
    listed: Sequence[str] = ()
    """Models that the server lists."""


def refuses_all(asked: Refused, words: ServerError, response: httpx.Response | None = None) -> WorkerError:
    """The error of a server that refuses whatever it is asked.

    Parameters
    ----------
    asked
        The server and the route.
    words
        What it answered.
    response
        A redirect, where it is one.
    """
    server, url = asked.server, asked.server.base_url.rstrip("/")
    if response is not None and response.is_redirect:
        return InputError("EndpointRedirects", f"{url} {_redirects(response)}: set url to where it leads")
    match words.cause:
        case Cause.UNREADABLE:
            return InfrastructureError(
                "ModelServerFailing",
                f"{url} gives answers without choices or text, breaks them off, or streams",
            )
        case Cause.KEY:
            code = f" ({words.code})" if words.code else ""
            return InputError(
                "Unauthorized",
                f"{url} answers HTTP {words.status}{code}: check apiKeySecretRef of the endpoint",
            )
        case Cause.MODEL:
            lists = f", it serves {some(asked.listed)}" if asked.listed else ""
            return InputError(
                "ModelNotServed", f"{url} answers {words.text}, not for {server.model!r}{lists}: check model"
            )
        case Cause.ROUTE:
            return InputError(
                "EndpointNotFound",
                f"{url}{asked.route} answers HTTP {words.status}: check url and model; url is what comes "
                f"before {asked.route}, as a rule up to and including /v1",
            )
    return InputError("RequestRefused", f"{url} refuses every request, {words.text}: {remedy(words)}")


def remedy(words: ServerError) -> str:
    """What to do about a refusal that holds for every request."""
    match words.cause:
        case Cause.CONTEXT:
            return "maxTokens leaves no room for a prompt in its context"
        case Cause.NO_CHAT:
            return "give the server a chat template, or name a chat model"
        case Cause.QUOTA:
            return "raise the account's limit"
        case Cause.FILTERED:
            return "its content filter withholds a greeting too: check the filter's settings"
    found = (REMEDIES[name] for name in words.settings if name in REMEDIES)
    return next(found, "maxTokens may exceed its context; its log should say more")


def some(names: Sequence[str]) -> str:
    """The first names of a list."""
    return ", ".join(names[:SHOWN_NAMES]) + (", ..." if len(names) > SHOWN_NAMES else "")


def _redirects(response: httpx.Response) -> str:
    """Where a redirect leads, without its path and query, which may hold anything."""
    to = urlsplit(response.headers.get("Location", ""))
    where = f" to {to.scheme}://{to.hostname}" if to.scheme and to.hostname else ""
    return f"answers HTTP {response.status_code}, a redirect{where}"
