import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.unit.gateway.test_audit import trail

from safety_cli.audit import read_chains, show
from safety_cli.errors import CliError, UsageError
from safety_cli.kubectl import Kubectl
from safety_cli.main import main
from safety_gateway.audit import line_hash
from safety_gateway.rails import Verdict
from safety_records.audit import is_torn


def blocked(count: int) -> list[dict[str, Any]]:
    """Entries as the gateway writes them."""
    audit, lines = trail()
    for number in range(count):
        audit.blocked(
            Verdict(True, f"rail {number % 2}"), "text", direction="input", caller="a", request_id=""
        )
    return lines


def log(entries: list[dict[str, Any]], prefix: str = "") -> str:
    lines = [f"{prefix}{json.dumps({'audit': entry})}" for entry in entries]
    return "\n".join(["2026 INFO started", *lines, '{"audit": 1}', '{"audit": {"chain": 1}}', "{}", "["])


def faults(entries: list[dict[str, Any]]) -> list[str]:
    return [chain.fault for chain in read_chains(log(entries).splitlines())]


def test_a_whole_chain_is_whole_in_any_order_and_behind_a_collectors_prefix():
    entries = blocked(5)
    mixed = [*entries[2:], *entries[:3]]
    (chain,) = read_chains(log(mixed, "2026-11-30T12:00:00Z stdout F ").splitlines())
    assert (chain.fault, chain.lost, len(chain.entries)) == ("", 0, 5)


def test_lines_that_are_missing_changed_or_put_in_break_it():
    entries = blocked(5)
    assert faults([*entries[:2], *entries[3:]]) == ["lines are missing before 3"]
    assert faults([*entries[:2], entries[2] | {"caller": "b"}, *entries[3:]]) == ["line 2 was changed"]
    other = blocked(5)
    foreign = [entry | {"chain": entries[0]["chain"]} for entry in other]
    assert faults([*entries[:2], *foreign[2:]]) == ["line 2 was changed"]


def again(entry: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A line that somebody changed together with its hash."""
    changed = entry | changes
    return changed | {"hash": line_hash(changed)}


def test_a_line_that_was_changed_together_with_its_hash_shows_in_the_one_after_it():
    entries = blocked(5)
    changed = again(entries[2], caller="b")
    assert faults([*entries[:2], changed, *entries[3:]]) == ["line 3 does not follow the one before it"]
    assert faults([again(entries[0], previous="f" * 64)]) == ["line 0 does not follow the one before it"]


def test_a_line_that_is_no_entry_is_not_called_cut_off_where_it_has_its_end():
    (line,) = (json.dumps({"audit": entry}) for entry in blocked(1))
    assert is_torn(line[:50])
    assert not is_torn(f"{line[:50]}\n")
    assert not is_torn(line)


def test_two_lines_of_one_number_break_it_and_the_same_line_twice_does_not():
    entries = blocked(3)
    assert faults([*entries, again(entries[2], caller="b")]) == ["line 2 is there twice"]
    assert faults([*entries, entries[2]]) == [""]


def test_a_log_that_was_rotated_says_how_many_lines_it_lacks():
    (chain,) = read_chains(log(blocked(5)[2:]).splitlines())
    assert (chain.fault, chain.lost) == ("", 2)


def test_a_first_line_has_nothing_before_it():
    entries = blocked(2)
    assert faults(entries[:1]) == [""]
    forged = entries[1] | {"number": 0}
    assert faults([forged]) == ["line 0 was changed"]


@pytest.mark.parametrize("broken", [False, True])
def test_the_command_says_whether_the_trail_is_whole_and_what_was_blocked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: bool
):
    entries = blocked(5)
    path = tmp_path / "gateway.log"
    path.write_text(log(entries[: 2 if broken else 5] + entries[3:]), encoding="utf-8")
    assert main(["audit", "--file", str(path)]) == (1 if broken else 0)
    printed = capsys.readouterr().out
    assert ("BROKEN: lines are missing before 3" if broken else "whole: 5 blocked from") in printed
    assert "rail 0" in printed


def test_a_trail_without_lines_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "gateway.log"
    path.write_text("started\n", encoding="utf-8")
    assert main(["audit", "--file", str(path)]) == 0
    assert "Nothing was blocked" in capsys.readouterr().out


def test_a_folder_of_files_is_read_and_a_line_that_was_cut_off_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    lines = log(blocked(3)).splitlines()[1:4]
    (tmp_path / "a.jsonl").write_text("\n".join([*lines[:2], lines[2][:50]]), encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(log(blocked(2)) + "\n", encoding="utf-8")
    (tmp_path / "c.jsonl").write_text(log(blocked(1)).splitlines()[1], encoding="utf-8")
    assert main(["audit", "--file", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.replace("\n", "")
    assert printed.count("whole") == 3
    assert printed.count("its last line is cut off") == 1
    assert main(["audit", "--file", str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]) == 0
    assert capsys.readouterr().out.count("whole") == 2


def test_a_folder_without_files_is_told(tmp_path: Path):
    with pytest.raises(CliError, match="no file is in this folder"):
        show(Console(quiet=True), Kubectl(), "", files=[tmp_path])


class Pods(Kubectl):
    """A stand-in for kubectl with three pods: one started again, and one has not started."""

    def __init__(self, logs: dict[tuple[str, bool], str]) -> None:
        super().__init__()
        object.__setattr__(self, "logs", logs)

    def resource(self, plural: str, name: str) -> dict[str, Any]:
        return {"plural": plural, "name": name}

    def json(self, *_arguments: str) -> dict[str, Any]:
        pods = {"a": (0, "running"), "b": (1, "running"), "c": (0, "waiting")}
        return {
            "items": [
                {
                    "metadata": {"name": name},
                    "status": {
                        "containerStatuses": [
                            {"name": "guardrails", "restartCount": count, "state": {state: {}}}
                        ]
                    },
                }
                for name, (count, state) in pods.items()
            ]
        }

    def run(self, *arguments: str) -> str:
        logs: dict[tuple[str, bool], str] = self.logs  # type: ignore[attr-defined]
        return logs[arguments[1], "--previous" in arguments]


def test_the_logs_of_all_pods_are_read_and_those_before_a_restart():
    logs = {("a", False): log(blocked(1)), ("b", True): log(blocked(2)), ("b", False): log(blocked(3))}
    console = Console(record=True, width=200)
    assert show(console, Pods(logs), "assistant", files=()) == 0
    told = console.export_text()
    assert told.count("whole") == 3
    assert "pod c has not started" in told


def test_a_name_or_files_and_files_that_exist(tmp_path: Path):
    console = Console(quiet=True)
    with pytest.raises(UsageError):
        show(console, Kubectl(), "", files=())
    with pytest.raises(UsageError, match="give them with --file"):
        show(console, Kubectl(), "assistant", files=(), retention_days=30)
    with pytest.raises(CliError, match=r"none\.log"):
        show(console, Kubectl(), "", files=[tmp_path / "none.log"])
