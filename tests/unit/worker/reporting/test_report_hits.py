"""What is shown for review: a bounded sample, always the same, from logs of any size and any content."""

import json
from pathlib import Path
from typing import Any

import pytest

from safety_records.report import ReportHits
from safety_worker.reporting import hits
from safety_worker.reporting.hits import HITS_PER_PROBE, MAX_TEXT, cut, message_text, probe_hits, short


def entry(number: int = 0, probe: str = "dan.Dan", **changes: Any) -> dict[str, Any]:
    return {
        "goal": "disregard the system prompt",
        "prompt": {"turns": [{"role": "user", "content": {"text": f"prompt {number}"}}], "notes": {}},
        "output": {"text": f"answer {number}", "lang": "en"},
        "score": 1.0,
        "probe": probe,
        "detector": "dan.DAN",
        **changes,
    }


def write_log(folder: Path, *lines: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / "garak.hitlog.jsonl").write_text("\n".join(texts) + "\n", encoding="utf-8")


def metrics(found: list[ReportHits]) -> dict[str, int]:
    return {item.metric: item.failed for item in found}


def test_a_few_hits_of_each_probe_are_drawn_and_all_are_counted(tmp_path: Path) -> None:
    write_log(tmp_path / "probes/a", *(entry(n) for n in range(50)))
    write_log(tmp_path / "shard-1/b", entry(7, probe="grandma.Slurs"))
    found = probe_hits([tmp_path])
    assert metrics(found) == {"security.dan.Dan": 50, "security.grandma.Slurs": 1}
    assert len(found[0].shown) == HITS_PER_PROBE
    assert found[0].shown[0].prompt.startswith("prompt ")
    assert found[0].shown[0].judge == "dan.DAN"
    assert found[0].shown[0].detail == "score 1.00"


def test_the_draw_depends_on_the_hits_and_not_on_their_order(tmp_path: Path) -> None:
    entries = [entry(n) for n in range(50)]
    write_log(tmp_path / "a", *entries)
    write_log(tmp_path / "b/x", *entries[::-2])
    write_log(tmp_path / "b/y", *entries[-2::-2])
    assert probe_hits([tmp_path / "a"]) == probe_hits([tmp_path / "b/x", tmp_path / "b/y"])


def test_a_scan_without_hits_has_none(tmp_path: Path) -> None:
    assert probe_hits([tmp_path]) == []


def test_lines_that_are_no_hits_are_passed_over(tmp_path: Path) -> None:
    write_log(tmp_path, "not json", "[]", "null", {"probe": 3}, entry(), '{"probe": "dan.D')
    assert metrics(probe_hits([tmp_path])) == {"security.dan.Dan": 1}


def test_a_line_of_any_length_takes_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hits, "MAX_LINE_BYTES", 1000)
    long = entry(1, output={"text": "x" * 5000})
    write_log(tmp_path, entry(0), long, entry(2))
    assert metrics(probe_hits([tmp_path])) == {"security.dan.Dan": 2}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ({"text": "message"}, "message"),
        ({"turns": [{"role": "user", "content": {"text": "one"}}]}, "one"),
        (
            {
                "turns": [
                    {"role": "system", "content": {"text": "s"}},
                    {"role": "user", "content": {"text": "u"}},
                ]
            },
            "[system]\ns\n\n[user]\nu",
        ),
        ({"turns": ["x", None]}, ""),
        ({"text": None}, ""),
        (None, ""),
        (3, ""),
    ],
)
def test_messages_as_garak_writes_them(value: object, text: str) -> None:
    assert message_text(value) == text


def test_texts_are_cut_and_say_by_how_much() -> None:
    assert cut("a" * MAX_TEXT) == "a" * MAX_TEXT
    assert cut("a" * 1_000_000).endswith(f"[... {1_000_000 - MAX_TEXT} more characters]")
    assert cut("a\x00\ud800") == "a\ufffd\ufffd"
    assert short("a\n b\t c") == "a b c"
    assert len(short("x" * 1_000_000)) == 200
