"""garak's configuration: the traps of its generator are closed."""

from pathlib import Path

import pytest

from safety_records.eval_stages import ScanStage
from safety_records.stage_base import ServedModel
from safety_worker.errors import InputError
from safety_worker.scanning.configuration import OFFLINE, build_configuration, garak_environment
from safety_worker.scanning.probes import check_probe_name


@pytest.fixture
def spec() -> ScanStage:
    return ScanStage(
        namespace="n", kind="SafetyEval", name="base", inputs_hash="h", root="file:///a", out="o",
        target=ServedModel(base_url="http://target:8000/v1", model="model"),
        probes=("dan.DanInTheWild",), prompt_cap=16, parallelism=8, max_tokens=99, seed=7,
        probe_timeout_seconds=60,
    )  # fmt: skip


def test_no_stop_strings_are_sent(spec: ScanStage) -> None:
    configuration = build_configuration(spec, "dan.DanInTheWild", Path("/tmp/x"))
    generator = configuration["plugins"]["generators"]["openai"]["OpenAICompatible"]
    assert generator["stop"] == []
    assert "stop" in generator["suppressed_params"]
    assert generator["uri"] == "http://target:8000/v1"
    assert generator["max_tokens"] == 99
    assert generator["temperature"] == 0
    assert (generator["skip_seq_start"], generator["skip_seq_end"]) == ("", "</think>")


def test_only_the_one_probe_is_selected(spec: ScanStage) -> None:
    run = build_configuration(spec, "dan.DanInTheWild", Path("/tmp/x"))["run"]
    assert run["spec"] == {"include": ["probes.dan.DanInTheWild"]}
    assert (run["seed"], run["generations"], run["soft_probe_prompt_cap"]) == (7, 1, 16)


@pytest.mark.parametrize(("key", "sent"), [("", "none"), ("secret", "secret")])
def test_a_key_is_always_set_and_everything_is_written_to_scratch(key: str, sent: str) -> None:
    environment = garak_environment({"HOME": "/root", "PATH": "/bin"}, Path("/scratch"), key)
    assert environment["OPENAICOMPATIBLE_API_KEY"] == sent
    assert environment["PATH"] == "/bin"
    assert environment["HF_HUB_OFFLINE"] == environment["HF_DATASETS_OFFLINE"] == "1"
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        assert environment[name].startswith("/scratch/")


@pytest.mark.parametrize("name", ["dan.DanInTheWild", "ansiescape.AnsiRaw", "suffix.GCG_2"])
def test_names_of_probes(name: str) -> None:
    assert check_probe_name(name) == name


@pytest.mark.parametrize("name", ["", "dan", "probes.dan.X", "../x.Y", "dan.X,dan.Y", "dan.*", "dan.X\n"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="InvalidProbe"):
        check_probe_name(name)


def test_a_filled_cache_is_read_offline(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    environment = garak_environment({}, tmp_path / "scratch", "", downloads=True, cache=cache)
    assert {environment[name] for name in OFFLINE} == {"1"}
    assert environment["HF_HUB_CACHE"] == str(cache / "hub")
    assert environment["HF_DATASETS_CACHE"] == str(tmp_path / "scratch/datasets")
    assert environment["NLTK_DATA"] == str(cache / "nltk_data")
