"""``main(["--config", FILE])``: one probe."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from urllib.request import urlopen

import yaml

DATA = Path(__file__).parents[2] / "data"


def write_log(word: str) -> None:
    with Path(os.environ["FAKE_GARAK_LOG"]).open("a", encoding="utf-8") as log:
        log.write(word + "\n")


write_log("imported")
if Path(os.environ["FAKE_GARAK_LOG"]).with_name("broken").exists():
    raise RuntimeError("garak is broken")


def main(arguments: list[str]) -> None:
    configuration = yaml.safe_load(Path(arguments[1]).read_text(encoding="utf-8"))
    (selector,) = configuration["run"]["spec"]["include"]
    probe = selector.removeprefix("probes.")
    reporting = configuration["reporting"]
    report = Path(reporting["report_dir"]) / f"{reporting['report_prefix']}.report.jsonl"
    write_log(probe)
    if probe == "fake.Asks":
        (generator,) = configuration["plugins"]["generators"]["openai"].values()
        urlopen(f"{generator['uri']}/models", timeout=20).close()
    tries = Path(os.environ["FAKE_GARAK_LOG"]).read_text(encoding="utf-8").split().count(probe)
    run_probe(probe, report, tries)


def recorded(name: str, probe: str, renamed: str = "") -> str:
    text = (DATA / f"{name}.report.jsonl").read_text(encoding="utf-8")
    return text.replace(renamed, probe) if renamed else text


def run_probe(probe: str, report: Path, tries: int) -> None:
    misbehave(probe)
    if probe == "dan.DanInTheWild":
        text = recorded("two-probes", probe)
    elif probe == "fake.ProbeNotLoaded":
        sys.stdout.write("failed to load probe probes.fake.ProbeNotLoaded\n")
        text = recorded("probe-not-loaded", probe)
    elif probe == "fake.EndsEarly":
        text = json.dumps({"entry_type": "init", "garak_version": "0.17.1"}) + "\n"
    elif probe == "fake.Hangs" or (probe == "fake.WorksTheSecondTime" and tries == 1):
        text = recorded("killed", probe)
    else:
        text = recorded("two-probes", probe, "dan.DanInTheWild")
    if probe != "fake.DetectorNotLoaded":
        report.write_text(text, encoding="utf-8")
    if probe == "fake.Hangs":
        os.fork()  # a worker of its own, which hangs as well
        time.sleep(600)


def misbehave(probe: str) -> None:
    if probe == "fake.Warns":
        with Path(os.environ["GARAK_LOG_FILE"]).open("a", encoding="utf-8") as log:
            log.write("2026-11-30 01:00:00,000  DEBUG  Translation error, says a model\n")
            log.write("2026-11-30 01:00:00,001  ERROR  Bad request: secret prompt\nHTTP 400 from it\n")
    if probe == "fake.DetectorNotLoaded":
        sys.stdout.write("\x1b[93m detector load failed: misleading.MustContradictNLI, skipping >>\x1b[0m")
    elif probe == "fake.Dies":
        sys.stdout.write("Traceback (most recent call last):\n  secret text\nRuntimeError: secret model text")
        sys.exit(1)
    elif probe == "fake.Raises":
        raise RuntimeError("secret model text")
    elif probe == "fake.Crashes":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif probe == "fake.KillsTheLauncher":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
