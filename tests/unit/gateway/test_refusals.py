import pytest
from tests.unit.gateway.support import SETTINGS, Gateway

from safety_gateway.refusals import Refusals, read_languages
from safety_gateway.settings import RefusalText

TEXTS = (
    RefusalText(rail="topicControl", text="Only cooking."),
    RefusalText(rail="topicControl", language="de", text="Nur Kochen."),
    RefusalText(language="de", text="Nein."),
    RefusalText(language="pt-BR", text="Não."),
)
REFUSALS = Refusals("No.", TEXTS)
TOPIC, SAFETY = "topic safety check input", "content safety check output"


@pytest.mark.parametrize(
    ("rail", "header", "text"),
    [
        (SAFETY, None, "No."),
        (TOPIC, None, "Only cooking."),
        (SAFETY, "de", "Nein."),
        (TOPIC, "de", "Nur Kochen."),
        (SAFETY, "de-AT, en;q=0.8", "Nein."),
        (SAFETY, "fr, de;q=0.5, pt-br;q=0.7", "Não."),
        (SAFETY, "pt", "No."),
        (SAFETY, "de;q=0", "No."),
        (SAFETY, "*", "No."),
        (SAFETY, ";;,q=,de;q=x", "No."),
        ("a rail of somebody's own", "de", "Nein."),
        (TOPIC, "fr", "Only cooking."),
    ],
)
def test_the_refusal_is_the_rails_own_in_a_language_that_was_asked_for(rail, header, text):
    assert REFUSALS.choose(rail, read_languages(header)) == text


async def test_a_block_is_told_in_the_language_of_the_request_and_known_again_by_any_text():
    settings = SETTINGS.model_copy(update={"refusals": TEXTS})
    async with Gateway(settings).client() as client:
        body = {"model": "assistant", "messages": [{"role": "user", "content": "bomb"}]}
        answer = await client.post("/v1/chat/completions", json=body, headers={"Accept-Language": "de"})
        message = answer.json()["choices"][0]["message"]
        assert message["content"] == "Nein."
        body["messages"] += [message, {"role": "user", "content": "hi"}]
        again = await client.post("/v1/chat/completions", json=body)
        assert again.json()["choices"][0]["message"]["content"] == "Paris."
