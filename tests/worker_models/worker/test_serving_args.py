"""Flags that the operator owns, against vLLM's own parser."""

import warnings

from safety_operator.api.serving_args import MULTIPLIERS, OWNED

with warnings.catch_warnings():
    # vLLM uses what torch calls deprecated.
    warnings.simplefilter("ignore")
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

DESTINATIONS = {
    option: action.dest
    for action in make_arg_parser(FlexibleArgumentParser())._actions
    for option in action.option_strings
}
"""By flag: what it sets."""
FLAGS = {flag for owned in OWNED for flag in owned.flags}
OWNED_DESTINATIONS = {DESTINATIONS[flag] for flag in FLAGS if flag in DESTINATIONS}


def beginnings(flag: str) -> list[str]:
    """The flag itself, and what vLLM takes for it: a beginning that no other flag has."""
    shortest = 3 if flag.startswith("--") else 2
    cut = [flag[:length] for length in range(shortest, len(flag))]
    alone = {DESTINATIONS[flag]}
    return [flag, *(text for text in cut if text not in DESTINATIONS and meant(text) == alone)]


def meant(beginning: str) -> set[str]:
    """What all flags with that beginning set."""
    return {where for option, where in DESTINATIONS.items() if option.startswith(beginning)}


def begins_owned(text: str) -> bool:
    """What the schema's rules refuse, whatever the dashes (tests/unit/api)."""
    return any(flag.startswith(text) for flag in FLAGS)


def test_every_spelling_that_vllm_takes_for_an_owned_flag_is_refused():
    owned = [
        flag
        for flag, where in DESTINATIONS.items()
        if where in OWNED_DESTINATIONS and not flag.startswith("--no-")
    ]
    assert len(owned) > 15
    for flag in owned:
        for text in beginnings(flag):
            assert begins_owned(text), text


def test_no_other_flag_of_vllm_is_refused():
    others = [flag for flag, where in DESTINATIONS.items() if where not in OWNED_DESTINATIONS]
    assert len(others) > 300
    assert [flag for flag in others if begins_owned(flag)] == []


def test_flags_that_multiply_gpus_are_vllms():
    for names in MULTIPLIERS:
        assert len({DESTINATIONS[name] for name in names}) == 1, names
