"""Credentials of sources, from the one key of a Secret that a specification names.

``s3``
    An AWS shared credentials file (its ``[default]`` profile): aws_access_key_id, aws_secret_access_key, and
    where needed aws_session_token, region and endpoint_url.
    https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-files.html
``gs``
    The JSON of a service account.
``hf``, ``https``
    A token, sent as a bearer.

Without credentials the pod's environment counts (``AWS_*`` and the like, where ``spec.pod.env`` sets them),
and where it says nothing, either, a bucket is read as anybody can. What a Secret holds is never part of a
message.
"""

import configparser
import json
from collections.abc import Mapping
from typing import Any

from safety_worker.errors import InputError

S3_OPTIONS = {
    "aws_access_key_id": "key",
    "aws_secret_access_key": "secret",
    "aws_session_token": "token",
    "endpoint_url": "endpoint_url",
}
"""By key of a credentials file: the option of s3fs."""


SERVICE_ACCOUNT = frozenset({"client_email", "private_key", "token_uri"})
"""Fields of a service account's JSON without which nothing can be signed."""

VARIABLES = {
    "s3": ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    "gs": ("GOOGLE_APPLICATION_CREDENTIALS",),
}
"""By scheme: variables that lead a client to credentials; without any it would ask the node about them."""

ANONYMOUS: dict[str, dict[str, Any]] = {"s3": {"anon": True}, "gs": {"token": "anon"}}
"""By scheme: options of a client that has no credentials."""


def storage_options(scheme: str, secret: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Options of the fsspec file system of a scheme.

    Parameters
    ----------
    scheme
        ``s3``, ``gs`` or another.
    secret
        Value of the Secret's key; empty: none.
    environment
        Variables of the pod.

    Raises
    ------
    InputError
        If the secret has not the form that the scheme asks for.
    """
    if not secret:
        known = any(environment.get(name) for name in VARIABLES.get(scheme, ()))
        return {} if known else ANONYMOUS.get(scheme, {})
    match scheme:
        case "s3":
            return _s3_options(secret)
        case "gs":
            return {"token": _service_account(secret)}
        case _:
            raise InputError("InvalidCredentials", f"{scheme}:// takes no credentials: remove tokenSecretRef")


def _s3_options(secret: str) -> dict[str, Any]:
    parser = configparser.ConfigParser(default_section="", interpolation=None)
    problem = InputError(
        "InvalidCredentials",
        "tokenSecretRef of an s3:// source: the key has to hold an AWS credentials file: [default], then "
        "lines aws_access_key_id = ..., aws_secret_access_key = ..., and endpoint_url = https://... for a "
        "store of your own",
    )
    try:
        parser.read_string(secret)
        profile = parser["default"]
    except (configparser.Error, KeyError):
        raise problem from None  # the parser's words quote the file
    options: dict[str, Any] = {
        option: profile[key] for key, option in S3_OPTIONS.items() if profile.get(key, "").strip()
    }
    if not {"key", "secret"} <= options.keys():
        raise problem
    if profile.get("region"):
        options["client_kwargs"] = {"region_name": profile["region"]}
    return options


def _service_account(secret: str) -> dict[str, Any]:
    try:
        value = json.loads(secret)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not value.keys() >= SERVICE_ACCOUNT:
        raise InputError(
            "InvalidCredentials",
            "tokenSecretRef of a gs:// source: the key has to hold the JSON of a service account",
        )
    return value
