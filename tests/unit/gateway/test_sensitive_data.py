import time

import pytest

from safety_gateway.sensitive_data import DETECTORS, RAIL, SensitiveDataRail, find_kinds
from safety_gateway.settings import SensitiveData

KEY = "sk-" + "a1B2" * 8
FOUND = {
    "EMAIL_ADDRESS": ["write to jane.doe+x@mail.example.org, please", "müller@example.de"],
    "CREDIT_CARD": ["4111 1111 1111 1111", "card 5500-0000-0000-0004.", "378282246310005"],
    "IBAN_CODE": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432"],
    "US_SSN": ["my number is 219-09-9999"],
    "PHONE_NUMBER": ["call +49 30 901820", "+1 (202) 555-0143"],
    "IP_ADDRESS": ["at 192.168.10.255:80"],
    "SECRET_KEY": [KEY, "-----BEGIN RSA PRIVATE KEY-----\nMII", "AKIAIOSFODNN7EXAMPLE"],
}
NOT_FOUND = {
    "EMAIL_ADDRESS": ["@name", "a@b", "x @ example.org"],
    "CREDIT_CARD": ["4111 1111 1111 1112", "0000 0000 0000 0000", "12345678901234567890123"],
    "IBAN_CODE": ["DE89 3704 0044 0532 0130 01", "AB12"],
    "US_SSN": ["000-12-3456", "1219-09-9999", "219-09-99991"],
    "PHONE_NUMBER": ["1 + 1", "+5", "in 2026"],
    "IP_ADDRESS": ["version 1.2.3", "1.2.3.4.5", "300.1.1.1"],
    "SECRET_KEY": ["sk-short", "a private key", "eyJ"],
}


@pytest.mark.parametrize("kind", DETECTORS)
def test_each_kind_is_found_and_what_only_looks_like_it_is_not(kind):
    for text in FOUND[kind]:
        assert find_kinds([text], [kind]) == (kind,), text
    for text in NOT_FOUND[kind]:
        assert find_kinds([text], [kind]) == (), text


async def test_every_text_of_a_conversation_is_read_whoever_is_said_to_have_spoken():
    rail = SensitiveDataRail(SensitiveData(input=("US_SSN", "CREDIT_CARD")))
    mail = {"role": "user", "content": "a@example.org"}
    number = {"role": "system", "content": "219-09-9999"}
    assert await rail.check_input([number, mail]) == (True, RAIL, ("US_SSN",))
    assert not (await rail.check_input([mail])).blocked
    assert not (await rail.check_output([number], "219-09-9999")).blocked, "answers are not asked about"


def test_a_kind_without_a_detector_ends_the_start():
    with pytest.raises(ValueError, match="PERSON"):
        SensitiveDataRail(SensitiveData(input=("PERSON",)))


def seconds_for(piece):
    """Time of the processor for a text of that piece again and again, the least of three."""
    text = (piece * 131_072)[:131_072]
    times = []
    for _ in range(3):
        begun = time.process_time()
        find_kinds([text], DETECTORS)
        times.append(time.process_time() - begun)
    return min(times)


@pytest.mark.parametrize("piece", ["-eyJ", "eyJ", "-sk-", "-----BEGIN A ", "1 ", "a.b@", "AA11 "])
def test_no_text_takes_much_longer_than_words_do(piece):
    assert seconds_for(piece) < 4 * seconds_for("word ")
