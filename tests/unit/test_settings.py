"""Settings from the environment."""

import pytest

from safety_operator.errors import ApiError, ConflictError, InvalidError, NotFoundError, SettingsError
from safety_operator.settings import Settings, find_unknown


def test_an_empty_environment_gives_the_defaults():
    settings = Settings.from_environment({"SAFETY_NAMESPACES": "", "PATH": "/bin"})
    assert settings.namespaces == ()
    assert settings.for_planning().artifacts_claim == "safety-artifacts"


def test_lists_are_separated_by_commas():
    settings = Settings.from_environment({"SAFETY_NAMESPACES": "a, b,", "SAFETY_IMAGE_PULL_SECRETS": "x"})
    assert settings.namespaces == ("a", "b")
    assert settings.for_planning().images.pull_secrets == ("x",)


def test_a_wrong_value_is_named():
    with pytest.raises(SettingsError, match="SAFETY_WORKERS"):
        Settings.from_environment({"SAFETY_WORKERS": "many"})


def test_a_variable_that_is_no_setting_is_found():
    assert find_unknown({"SAFETY_WORKERS": "3", "SAFETY_WORKRES": "3", "PATH": "/bin"}) == ["SAFETY_WORKRES"]


def test_options_of_pods_are_json_and_nothing_said_is_the_clusters_choice():
    settings = Settings.from_environment({"SAFETY_PODS": '{"nodeSelector": {"pool": "a"}}'})
    assert settings.for_planning().pods.node_selector == {"pool": "a"}
    assert settings.for_planning().pods.security_context is None
    context = Settings.from_environment({}).for_planning().pods.security_context
    assert context is not None
    assert context.run_as_user == 1000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "SAFETY_PODS"),
        ('{"rolls": {}}', "SAFETY_PODS at rolls"),
        ('{"roles": {"worker": {"resources": {"requests": {"cpu": []}}}}}', "SAFETY_PODS at roles.worker"),
    ],
)
def test_wrong_options_of_pods_are_named(text, words):
    with pytest.raises(SettingsError, match=words):
        Settings.from_environment({"SAFETY_PODS": text})


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (404, NotFoundError, False),
        (409, ConflictError, True),
        (422, InvalidError, False),
        (503, ApiError, True),
    ],
)
def test_each_error_says_whether_trying_again_can_help(status, kind, retryable):
    error = ApiError.of(status, "Reason", "message", request="get /x")
    assert type(error) is kind
    assert error.retryable is retryable
    assert "message" in str(error)
