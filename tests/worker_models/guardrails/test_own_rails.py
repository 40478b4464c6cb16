"""A user's own configuration with the real library."""

from pathlib import Path

import pytest
from tests.unit.worker.fake_model_server import FakeModelServer, Reply

from safety_gateway.own_rails import HISTORY, ColangRails, OwnConfigError, load_own_rails, try_own_rails
from safety_gateway.rails import Rails
from safety_gateway.settings import ModelServer, Settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

COLANG = """
define bot refuse secret
  "No secrets."

define subflow check secret
  if "secret" in $user_message
    bot refuse secret
    stop

define subflow check answer
  if "secret" in $bot_message
    bot refuse secret
    stop
"""
CONFIG = """
rails:
  input: {flows: [check secret]}
  output: {flows: [check answer]}
"""
SELF_CHECK = """
rails: {input: {flows: [self check input]}}
prompts:
- task: self_check_input
  content: 'Is this bad? {{ user_input }} Yes or No:'
"""


def load(folder: Path, url: str = "http://127.0.0.1:1/v1", **files: str) -> Rails:
    return load_own_rails(folder, write(folder, url, **files))


def write(folder: Path, url: str = "http://127.0.0.1:1/v1", **files: str) -> Settings:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    model = ModelServer(url=url, name="model", key_env="MAIN_KEY")
    return Settings(served_name="a", model=model, refusal="No.")


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIN_KEY", "key")


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


async def test_rails_in_colang_block_requests_and_answers_by_their_names(tmp_path):
    rails = load(tmp_path, config_yml=CONFIG, rails_co=COLANG)
    assert isinstance(rails, ColangRails)
    assert await rails.check_input(user("my secret")) == (True, "check secret", ())
    assert not (await rails.check_input(user("hello"))).blocked
    assert await rails.check_output(user("hello"), "a secret") == (True, "check answer", ())
    assert not (await rails.check_output(user("a secret"), "hello")).blocked


async def test_a_conversation_is_forgotten_also_after_a_check_that_failed(tmp_path, monkeypatch):
    rails = load(tmp_path, config_yml=CONFIG, rails_co=COLANG)
    assert isinstance(rails, ColangRails)
    check, kept = rails._rails.check_async, []

    async def fails_at_the_end(*args, **fields):
        await check(*args, **fields)
        kept.append(len(getattr(rails._rails, HISTORY)))
        raise RuntimeError

    monkeypatch.setattr(rails._rails, "check_async", fails_at_the_end)
    with pytest.raises(RuntimeError):
        await rails.check_input(user("my diagnosis"))
    assert kept == [1], "the library keeps conversations"
    assert not getattr(rails._rails, HISTORY)


async def test_rails_of_the_library_ask_the_model_that_is_served(tmp_path):
    def answer(prompt: str, _nth: int) -> Reply:
        return Reply("Yes" if "bomb" in prompt else "No")

    with FakeModelServer(answer, api_key="key") as model:
        rails = load(tmp_path, model.base_url, config_yml=SELF_CHECK)
        await rails.start()
        assert (await rails.check_input(user("a bomb"))).rail == "self check input"
        assert not (await rails.check_input(user("hi"))).blocked
        await rails.stop()


async def test_colang_whose_action_does_not_exist_lets_nothing_pass(tmp_path):
    colang = "define subflow check secret\n  $found = execute no_such_action\n"
    rails = load(tmp_path, config_yml="rails: {input: {flows: [check secret]}}", rails_co=colang)
    assert (await rails.check_input(user("hello"))).blocked


@pytest.mark.parametrize(
    "config", ["models: [{type: x, engine: openai, parameters: my-secret-key}]", "a: [my-secret-key"]
)
def test_no_word_of_a_configuration_is_told_with_its_fault(tmp_path, config):
    with pytest.raises(OwnConfigError, match="cannot load it") as error:
        load(tmp_path, config_yml=config)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config_py": "", "config_yml": CONFIG}, "config.py: only"),
        ({"config_yml": "models: [{type: main, engine: openai, model: gpt}]"}, "models of type main"),
        ({"config_yml": CONFIG, "rails_co": 'define user hi\n  "hi"\n' + COLANG}, "define user"),
        ({"config_yml": "colang_version: '1.0'"}, "neither rails.input"),
        ({"config_yml": "rails: {input: {flows: [no such flow]}}"}, "cannot"),
        ({"config_yml": "rails: ["}, "cannot load it"),
        ({"config_yml": f"{CONFIG}\nactions_server_url: http://x"}, "actions_server_url"),
    ],
)
def test_what_cannot_be_used_is_refused_at_start(tmp_path, files, words):
    with pytest.raises(OwnConfigError, match=words):
        load(tmp_path, **files)


@pytest.mark.parametrize("rail", ["check secret", "check answer"])
async def test_a_fault_that_shows_only_when_a_rail_is_carried_out_is_found_at_start(tmp_path, rail):
    name, subflow, body = COLANG.partition(f"define subflow {rail}")
    broken = name + subflow + body.replace("if ", "if broken(", 1)
    with pytest.raises(OwnConfigError, match="cannot carry it out"):
        await try_own_rails(tmp_path, write(tmp_path, config_yml=CONFIG, rails_co=broken))


@pytest.mark.parametrize("files", [{"config_yml": CONFIG, "rails_co": COLANG}, {"config_yml": SELF_CHECK}])
async def test_rails_whose_model_is_not_there_yet_may_start(tmp_path, files):
    await try_own_rails(tmp_path, write(tmp_path, **files))
