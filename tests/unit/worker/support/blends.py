"""Documents of blends that tests render: one with hostile text everywhere, one of the blueprint's size."""

from typing import Any

from safety_records.blend import BlendReport
from safety_worker.blending.outcomes import build_steps

DIGEST = "sha256:" + "2" * 64


def blend(text: str = "text", **changes: Any) -> BlendReport:
    """A small blend with ``text`` wherever text comes from outside."""
    sources = [
        _source("red", "safety", {"not-sampled": 10, "unsafe": 3, "truncated": 1, "kept": 26}, text),
        _source("benign", "retain", {"invalid": 2, "kept": 18}, text),
    ]
    values: dict[str, Any] = {
        "namespace": "demo",
        "name": "blend",
        "format": "jsonl",
        "trainRows": 42,
        "validationRows": 2,
        "validationShare": 0.05,
        "splitSeed": 42,
        "lengths": {"total": 9000, "median": 190, "longest": 800, "limit": 1024},
        "agreement": "all",
        "judges": [{"name": "guard", "type": "aegis", "model": text}],
        "screening": {"method": "gradient", "scored": 18, "selected": 1, "unscored": 0, "cut": 0.5},
        "selection": {"method": "gradient", "topFraction": 0.05},
        "categories": [{"name": text, "asked": 30, "kept": 26}],
        "review": [
            {
                "source": "red",
                "file": text,
                "index": 7,
                "categories": [text],
                "prompt": text,
                "reason": "unsafe",
                "candidates": [{"answer": text, "reason": "unsafe"}, {"answer": "", "reason": "truncated"}],
            }
        ],
        "reviewTotal": 4,
        "examples": [{"source": "red", "prompt": text, "answer": text}],
        "warnings": [text],
        "rules": {
            "sample": text,
            "near": 0.8,
            "evaluationSets": [{"name": text, "prompts": 3, "digest": DIGEST}],
        },
        "lineage": {text: text, "model": DIGEST},
        "versions": {"safety-worker": "0.1.0"},
        **_flow(sources),
    }
    return BlendReport.model_validate({**values, **changes})


def large_blend(**changes: Any) -> BlendReport:
    """A blend of the blueprint's size: 2,000 of 31,294 safety rows are drawn, 4,000 rows retained."""
    sources = [
        _source("aegis", "safety", _fates(23_421, duplicate=344, drawn=500, unsafe=21)),
        _source("gretel", "safety", _fates(5_997, duplicate=3, drawn=500, unsafe=9, truncated=4)),
        _source("tasks", "safety", _fates(1_650, drawn=500, unsafe=37, unparsed=2)),
        _source("redteam", "safety", _fates(582, duplicate=9, contaminated=31, drawn=500, unsafe=14)),
        _source("nemotron", "retain", _fates(12_400, drawn=4_000, invalid=12, long=118, screened=190)),
    ]
    kept = sum(source["fates"]["kept"] for source in sources)
    validation = round(kept * 0.03)
    return blend(
        **{
            "trainRows": kept - validation,
            "validationRows": validation,
            "validationShare": 0.03,
            **_flow(sources),
            **changes,
        }
    )


def _fates(
    read: int,
    *,
    drawn: int,
    duplicate: int = 0,
    contaminated: int = 0,
    invalid: int = 0,
    unsafe: int = 0,
    truncated: int = 0,
    unparsed: int = 0,
    long: int = 0,
    screened: int = 0,
) -> dict[str, int]:
    known = {
        "invalid": invalid,
        "duplicate": duplicate,
        "contaminated": contaminated,
        "not-sampled": read - invalid - duplicate - contaminated - drawn,
        "truncated": truncated,
        "unsafe": unsafe,
        "unparsed": unparsed,
        "too-long": long,
        "screened": screened,
    }
    return {**{k: v for k, v in known.items() if v}, "kept": read - sum(known.values())}


def _source(name: str, part: str, fates: dict[str, int], text: str = "Data set (2025)") -> dict[str, Any]:
    about: dict[str, Any] = {"title": text, "origin": text, "licence": text, "digest": DIGEST}
    about |= {"rules": [text]}
    return {"name": name, "part": part, "read": sum(fates.values()), "fates": fates, **about}


def _flow(sources: list[dict[str, Any]]) -> dict[str, Any]:
    counts = {(s["name"], reason): rows for s in sources for reason, rows in s["fates"].items()}
    steps = build_steps(counts, {s["name"]: s["part"] for s in sources})
    return {"sources": sources, "steps": [step.model_dump(mode="json", by_alias=True) for step in steps]}
