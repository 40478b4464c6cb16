"""Names of children: valid as labels, whatever the owner is called and however long the role."""

import re

import pytest

from safety_operator.children.metadata import Owner, child_name, own_service_name

LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


@pytest.mark.parametrize("role", ["fetch", "fetch-screener", "fetch-judge-12", "egress-namespace"])
@pytest.mark.parametrize("name", ["a", "9-lives", "a" * 253, "a.b." * 60 + "c", "1" * 60])
def test_a_child_name_is_a_label_even_with_a_long_owner_and_a_long_role(name: str, role: str) -> None:
    child = child_name(Owner("SafetyBlend", name, "team", "uid"), role, "digest")
    assert LABEL.fullmatch(child)
    assert f"-{role}-" in child


def test_owners_that_are_cut_to_the_same_stem_have_children_of_other_names() -> None:
    one, other = (Owner("SafetyBlend", "a" * 60 + end, "team", "uid") for end in "bc")
    assert child_name(one, "fetch-screener", "digest") != child_name(other, "fetch-screener", "digest")


def test_a_service_has_its_owners_name_where_a_service_may_have_it() -> None:
    for name in ("a", "assistant", "a-1", "a" * 63):
        assert own_service_name(Owner("GuardedDeployment", name, "team", "uid"), "guardrails") == name
    for name in ("9-lives", "a.b", "a" * 64):
        made = own_service_name(Owner("GuardedDeployment", name, "team", "uid"), "guardrails")
        assert made != name
        assert LABEL.fullmatch(made)
