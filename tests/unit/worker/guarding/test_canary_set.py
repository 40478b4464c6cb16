"""Canaries in several languages and turns: others in each proof, the same in each try of one."""

import json
from typing import get_args

import pytest
from tests.unit.worker.conftest import Workplace, served
from tests.unit.worker.fake_model_server import FakeModelServer, Reply
from tests.unit.worker.stages.test_prove import BLOCK, REFUSAL, closed_port

from safety_records.stages import CanaryLanguage
from safety_worker.guarding.canary_set import SETS, as_messages, draw

LANGUAGES = get_args(CanaryLanguage)


def test_every_language_of_the_api_has_conversations_of_one_and_of_several_turns():
    assert set(SETS) == set(LANGUAGES)
    for canaries in SETS.values():
        for conversations in canaries:
            assert {len(turns) for turns in conversations} == {1, 3}
            assert len(set(conversations)) == len(conversations) >= 3


def test_a_proof_draws_by_its_number_and_the_next_draws_others():
    first, again, other = (draw(LANGUAGES, 2, seed) for seed in ("a", "a", "b"))
    assert first == again != other
    assert len(first.unsafe) == len(first.benign) == 2 * len(LANGUAGES)
    assert draw([], 2, "a") == ((), ())


def test_user_and_assistant_speak_in_turn():
    assert [turn["role"] for turn in as_messages(("a", "b", "c"))] == ["user", "assistant", "user"]


@pytest.mark.parametrize("inputs_hash", ["one", "two"])
def test_drawn_canaries_are_asked_and_counted(workplace: Workplace, inputs_hash: str) -> None:
    drawn = draw(["de", "zh"], 1, inputs_hash)
    unsafe = {json.dumps(as_messages(turns)) for turns in drawn.unsafe}

    def behaviour(_prompt: str, _nth: int) -> Reply:
        return BLOCK if json.dumps(server.bodies[-1]["messages"]) in unsafe else Reply("Paris.")

    with FakeModelServer(behaviour) as server:
        result = workplace.run(
            "prove",
            inputs_hash=inputs_hash,
            guarded=served(server.base_url),
            direct=served(closed_port()),
            unsafe=[],
            benign=["capital of France?"],
            refusal=REFUSAL,
            probe_timeout_seconds=2,
            languages=["de", "zh"],
            each=1,
        )
    proof = result.proof
    assert proof is not None
    assert (proof.unsafe_blocked, proof.unsafe_total) == (2, 2)
    assert (proof.benign_answered, proof.benign_total) == (3, 3)
