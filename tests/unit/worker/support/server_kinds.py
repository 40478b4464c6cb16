"""How kinds of servers behave, as their users report it: the table that tests go through.

Bodies are those of issue trackers and documentation, shortened. docs/servers.md has the same for people.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.unit.worker.fake_model_server import Refuses, Words

LONG = "long " * 50 + "prompt"
"""A prompt that no server here has room for."""


def listing(*names: str) -> Words:
    return 200, {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}


def openai(message: str, code: Any = None, param: str | None = None, status: int = 400, **more: Any) -> Words:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return status, {"error": error | more}


def flat(message: str, status: int = 400, kind: str = "BadRequestError") -> Words:
    """Older vLLM, and SGLang."""
    return status, {"object": "error", "message": message, "type": kind, "param": None, "code": status}


def wrapped(message: str, status: int = 400, kind: str = "BadRequestError") -> Words:
    """LiteLLM's proxy."""
    said = f"litellm.{kind}: {message}. Received Model Group=model\nAvailable Model Group Fallbacks=None"
    return status, {"error": {"message": said, "type": None, "param": None, "code": str(status)}}


def nothing(_: dict[str, Any]) -> Words | None:
    return None


def when(test: Callable[[dict[str, Any]], bool], words: Words) -> Refuses:
    return lambda body: words if test(body) else None


MODEL = listing("model")


@dataclass(frozen=True)
class Kind:
    """A kind of server."""

    name: str
    lists: Words = MODEL
    too_long: Words | None = None
    """None: cuts the prompt and says nothing."""
    unknown: Words | None = None
    """What it says of a model that it does not have; None: it answers for any."""
    peculiar: Refuses = nothing
    """What it refuses besides."""

    def refuses(self, body: dict[str, Any]) -> Words | None:
        """What it says to a request instead of an answer."""
        if self.unknown is not None and body["model"] != "model":
            return self.unknown
        if self.too_long is not None and body.get("messages", [{}])[-1].get("content") == LONG:
            return self.too_long
        return self.peculiar(body)


UNSUPPORTED_MAX = openai(
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
    "instead.",
    "unsupported_parameter",
    "max_tokens",
)
FIXED_TEMPERATURE = openai(
    "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is "
    "supported.",
    "unsupported_value",
    "temperature",
)
BOTH = (
    'BedrockException - {"message":"The model returned the following errors: `temperature` and `top_p` '
    'cannot both be specified for this model. Please use only one."}'
)
AZURE_FILTER = openai(
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. Please "
    "modify your prompt and retry.",
    "content_filter",
    "prompt",
    type=None,
    status=400,
    innererror={
        "code": "ResponsibleAIPolicyViolation",
        "content_filter_result": {"violence": {"filtered": True, "severity": "medium"}},
    },
)

KINDS = (
    Kind(
        "vLLM",
        too_long=openai(
            "This model's maximum context length is 64 tokens. However, you requested 80 tokens (60 in the "
            "messages, 20 in the completion). Please reduce the length of the messages or completion.",
            400,
            type="BadRequestError",
        ),
        unknown=openai("The model `other` does not exist.", 404, "model", 404, type="NotFoundError"),
    ),
    Kind(
        "vLLM of 2024",
        too_long=flat(
            "This model's maximum context length is 64 tokens. However, you requested 80 tokens. Please "
            "reduce the length of the messages or completion."
        ),
        unknown=flat("The model `other` does not exist.", 404, "NotFoundError"),
    ),
    Kind(
        "NIM",
        too_long=(
            400,
            {
                "object": "error",
                "message": "Input prompt is too long: 80 tokens > 64",
                "detail": {},
                "code": 400,
            },
        ),
        unknown=(404, {"detail": "The model `other` does not exist."}),
    ),
    Kind(
        "TGI",
        lists=listing("meta-llama/Llama-3.1-8B-Instruct"),
        too_long=(
            422,
            {
                "error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 64. Given: "
                "60 `inputs` tokens and 20 `max_new_tokens`",
                "error_type": "validation",
            },
        ),
        peculiar=when(
            lambda body: body.get("top_p") == 1,
            (
                422,
                {
                    "error": "Input validation error: `top_p` must be > 0.0 and < 1.0",
                    "error_type": "validation",
                },
            ),
        ),
    ),
    Kind("TGI without a list", lists=(404, ""), too_long=(413, "Payload Too Large")),
    Kind(
        "SGLang",
        too_long=flat(
            "Requested token count exceeds the model's maximum context length of 64 tokens. You requested a "
            "total of 80 tokens: 60 tokens from the input messages and 20 tokens for the completion."
        ),
    ),
    Kind(
        "Ollama",
        lists=listing("model:latest", "llama3:8b"),
        unknown=(
            404,
            {
                "error": {
                    "message": 'model "other" not found, try pulling it first',
                    "type": "api_error",
                    "param": None,
                    "code": None,
                }
            },
        ),
    ),
    Kind(
        "LiteLLM",
        lists=listing("openai/*", "mod*"),
        too_long=wrapped(
            "ContextWindowExceededError: OpenAIException - This model's maximum context length is 64 tokens",
            kind="ContextWindowExceededError",
        ),
        unknown=(400, {"error": {"message": "/chat/completions: Invalid model name passed in model=other"}}),
    ),
    Kind(
        "LiteLLM before Claude on Bedrock",
        too_long=wrapped('BedrockException: {"message":"prompt is too long: 80 tokens > 64 maximum"}'),
        peculiar=when(lambda body: "top_p" in body and "temperature" in body, wrapped(BOTH)),
    ),
    Kind(
        "OpenAI",
        lists=(
            403,
            {"error": {"message": "You have insufficient permissions. Missing scopes: api.model.read"}},
        ),
        too_long=openai(
            "This model's maximum context length is 64 tokens.", "context_length_exceeded", "messages"
        ),
        unknown=openai(
            "The model `other` does not exist or you do not have access to it.", "model_not_found", status=404
        ),
    ),
    Kind(
        "Azure OpenAI",
        lists=(404, {"error": {"code": "404", "message": "Resource not found"}}),
        too_long=openai(
            "This model's maximum context length is 64 tokens.", "context_length_exceeded", "messages"
        ),
        unknown=openai(
            "The API deployment for this resource does not exist.", "DeploymentNotFound", status=404
        ),
    ),
    Kind(
        "OpenAI-like gateway that wants max_completion_tokens",
        lists=(405, {"detail": "Method Not Allowed"}),
        too_long=openai("Your input exceeds the context window of this model.", "context_length_exceeded"),
        peculiar=when(lambda body: "max_tokens" in body, UNSUPPORTED_MAX),
    ),
    Kind(
        "llama.cpp",
        lists=listing("/models/some.gguf"),
        too_long=openai("the request exceeds the available context size (64 tokens)", 400),
    ),
    Kind(
        "Mistral",
        too_long=(
            400,
            {
                "object": "error",
                "message": "Prompt contains 80 tokens, too large for model with 64 maximum context length",
                "code": "3051",
            },
        ),
        unknown=(
            400,
            {"object": "error", "message": "Invalid model: other", "type": "invalid_model", "code": "1500"},
        ),
    ),
    Kind(
        "OpenRouter",
        lists=(500, "<html>Internal Server Error</html>"),
        too_long=(
            200,
            {"error": {"message": "This endpoint's maximum context length is 64 tokens.", "code": 400}},
        ),
        unknown=(400, {"error": {"message": "other is not a valid model ID", "code": 400}}),
    ),
    Kind(
        "Together",
        lists=(200, [{"id": "page-one-of-many"}]),
        too_long=(
            422,
            {"error": {"message": "Input validation error: `inputs` must have less than 64 tokens"}},
        ),
        unknown=(404, {"error": {"message": "Unable to access model other.", "code": "model_not_available"}}),
    ),
    Kind(
        "vLLM behind a gateway without that route", lists=(307, ""), too_long=(413, "<html>Too large</html>")
    ),
)
