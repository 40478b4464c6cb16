"""The list of arguments by which the operator refuses overrides, against the real TRL."""

from dataclasses import fields

from safety_records.trl_arguments import ARGUMENTS, ELSEWHERE, OWNED


def test_the_list_is_that_of_the_library() -> None:
    from trl import SFTConfig  # noqa: PLC0415 - only images have it

    assert {field.name for field in fields(SFTConfig) if field.init} == ARGUMENTS
    assert OWNED | ELSEWHERE.keys() <= ARGUMENTS
