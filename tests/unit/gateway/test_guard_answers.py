import pytest

from safety_gateway.guard_answers import PARSERS, is_topic_verdict


@pytest.mark.parametrize(
    ("parser", "answer", "parsed"),
    [
        ("yes_or_no", "Yes", [False]),
        ("yes_or_no", " no.\n", [True]),
        ("yes_or_no", "<think>Is yes right? It is.</think>\n\nNo", [True]),
        ("yes_or_no", "reasoning that the template opened</think>Yes", [False]),
        ("llama_guard", "safe", [True]),
        ("llama_guard", "\n\nsafe\n", [True]),
        ("llama_guard", "unsafe\nS1,S9", [False, "S1", "S9"]),
        ("llama_guard", "unsafe", [False]),
        ("reasoning_request", "Prompt harm: unharmful\nResponse harm: None", [True]),
        ("reasoning_request", "<think>Prompt harm: unharmful</think>\nPrompt harm: harmful", [False]),
        ("reasoning_response", "Prompt harm: harmful\nResponse Harm: unharmful", [True]),
    ],
)
def test_an_answer_of_a_guards_own_form_is_its_verdict(parser, answer, parsed):
    assert list(PARSERS[parser](answer)) == parsed


@pytest.mark.parametrize(
    ("parser", "answer"),
    [
        *(("yes_or_no", answer) for answer in ("", "maybe", "No, but yes", "not safe", "<think>No")),
        *(("llama_guard", answer) for answer in ("", "not safe", "safe\nS1", "safe or unsafe", "[]")),
        *(
            ("reasoning_request", answer)
            for answer in (
                "",
                "unharmful",
                "Prompt harm: none",
                "<think>Prompt harm: unharmful",
                "Prompt harm: unharmful\nPrompt harm: harmful",
                "Response harm: unharmful",
            )
        ),
    ],
)
def test_any_other_answer_is_no_verdict_and_is_not_quoted(parser, answer):
    with pytest.raises(ValueError, match="another form"):
        PARSERS[parser](answer)


def test_a_topic_model_has_two_answers():
    assert is_topic_verdict("On-Topic\n")
    assert is_topic_verdict("off-topic")
    assert not any(map(is_topic_verdict, (None, "", "on-topic or off-topic", "I cannot tell")))
