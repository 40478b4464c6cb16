"""The blueprint's lists, families, mistakes, and shards of nearly equal length."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safety_operator.planning.shared.garak_probes import (
    PROBE_COST,
    load_catalogue,
    num_prompts,
    select_probes,
    shard_probes,
)

CATALOGUE = load_catalogue()
NAMES = sorted(CATALOGUE.probes)
LOCK = Path(__file__).parents[4] / "images/worker/requirements.txt"


def test_the_blueprints_lists_have_31_and_44_probes_that_garak_knows():
    tiers = CATALOGUE.tiers
    assert {name: len(probes) for name, probes in tiers.items()} == {"tier1": 31, "tier2": 44}
    assert not set(tiers["tier1"]) & set(tiers["tier2"])
    for probes in tiers.values():
        assert len(set(probes)) == len(probes)
        assert set(probes) <= set(CATALOGUE.probes)
        assert all(CATALOGUE.probes[name].active for name in probes)


def test_probes_of_the_old_family_xss_have_their_present_names():
    assert [name for name in CATALOGUE.tiers["tier1"] if name.startswith("web_injection.")] == [
        "web_injection.ColabAIDataLeakage",
        "web_injection.MarkdownImageExfil",
        "web_injection.PlaygroundMarkdownExfil",  # xss.MdExfil20230929
        "web_injection.StringAssemblyDataExfil",
    ]
    assert not any(name.startswith("xss.") for name in CATALOGUE.probes)


def test_the_table_was_measured_with_the_garak_of_the_worker_image():
    pinned = re.search(r"^garak==(.+)$", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    assert CATALOGUE.garak_version == pinned[1]


def test_lists_families_and_probes_mix_and_each_counts_once():
    found = select_probes(["dan.Dan_11_0", "tier1", "grandma", "dan.Dan_11_0"]).probes
    assert found[0] == "dan.Dan_11_0"
    assert len(found) == len(set(found))
    assert set(found) == {
        "dan.Dan_11_0",
        *CATALOGUE.tiers["tier1"],
        *(name for name in NAMES if name.startswith("grandma.") and CATALOGUE.probes[name].active),
    }


def test_a_family_is_its_active_probes():
    found = select_probes(["dan"]).probes
    assert "dan.DanInTheWild" in found
    assert "dan.DanInTheWildFull" not in found


def test_what_is_excluded_is_left_out():
    found = select_probes(["tier1", "tier2"], ["packagehallucination", "tier2", "dan.DanInTheWild"]).probes
    assert set(found) == {
        name
        for name in CATALOGUE.tiers["tier1"]
        if not name.startswith("packagehallucination.") and name != "dan.DanInTheWild"
    }


@pytest.mark.parametrize(
    ("include", "exclude", "words"),
    [
        (["dan.Dan_11_1"], [], "probes[0]: garak 0.17.1 has no dan.Dan_11_1. Did you mean dan.Dan_11_0?"),
        (["tier1", "tier3"], [], "probes[1]: garak 0.17.1 has no tier3. Did you mean tier"),
        (["xss"], [], "has no xss."),
        (["tier1"], ["nothing.Like_it_at_all"], "spec.security.garak.exclude[0]: garak"),
        (["dan"], ["dan"], "nothing is left"),
        (["test"], [], "is inactive in garak 0.17.1. Name them one by one, such as test."),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_remedy(include, exclude, words):
    found = select_probes(include, exclude)
    assert found.probes == ()
    assert words in found.mistake


def test_prompts_follow_the_cap_where_the_probe_does():
    assert num_prompts("dan.DanInTheWild", 16) == 16
    assert num_prompts("dan.DanInTheWild", 100_000) == 666
    assert num_prompts("dan.Ablation_Dan_11_0", 16) == 127
    assert num_prompts("atkgen.Tox", 16) == 16


def cost(part, cap=256):
    return sum(num_prompts(name, cap) + PROBE_COST for name in part)


def test_both_lists_fall_into_four_shards_of_the_same_length():
    probes = CATALOGUE.tiers["tier1"] + CATALOGUE.tiers["tier2"]
    costs = [cost(part) for part in shard_probes(probes, 4, cap=256, generations=1)]
    assert max(costs) - min(costs) < 0.01 * sum(costs)


def test_one_shard_keeps_the_order_of_the_spec():
    assert shard_probes(["goodside.Tag", "dan.DanInTheWild"], 1, cap=256, generations=1) == (
        ("goodside.Tag", "dan.DanInTheWild"),
    )


@given(
    st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=80),
    st.integers(1, 32),
    st.integers(1, 1000),
    st.integers(1, 5),
)
def test_shards_hold_every_probe_once_and_are_balanced(probes, shards, cap, generations):
    parts = shard_probes(probes, shards, cap=cap, generations=generations)
    assert sorted(name for part in parts for name in part) == sorted(probes)
    assert len(parts) == min(shards, len(probes))
    assert all(parts)
    weights = {name: num_prompts(name, cap) * generations + PROBE_COST for name in probes}
    loads = [sum(weights[name] for name in part) for part in parts]
    best = max(sum(loads) / len(parts), *weights.values())
    assert max(loads) <= (4 / 3) * best + max(weights.values()) / 3
    assert parts == shard_probes(reversed(probes), shards, cap=cap, generations=generations) or shards == 1
