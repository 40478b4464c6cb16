"""``screening.json`` as a screen stage leaves it, with hostile texts."""

from typing import Any

HOSTILE = "</pre><script>alert(1)</script>\u202e{{ 7 * 7 }}"


def method_of(name: str, **changes: Any) -> dict[str, Any]:
    row = {"rank": 1, "score": 0.75, "source": HOSTILE, "file": "", "index": 3, "nearest": "harmful/2"}
    row |= {"list": True, "maths": False, "prompt": HOSTILE, "answer": HOSTILE}
    shares = {key: {"rows": 100, "list": 0.5, "maths": 0.25} for key in ("all", "top", "random")}
    return {
        "method": name,
        "scored": 990,
        "missing": {"too-long": 10},
        "top": [row | {"rank": rank} for rank in range(1, 101)],
        "histogram": {"edges": [-1.0, 0.0, 1.0], "counts": [900, 90]},
        "quantiles": {"0.0": -0.9, "0.5": -0.25, "1.0": 0.75},
        "shares": shares,
        **changes,
    }


OVERLAP = {"one": "gradient", "other": "representation", "top": 100, "common": 37, "byChance": 10.1}
SUMMARY = {
    "methods": [method_of("gradient"), method_of("representation")],
    "overlaps": [OVERLAP],
    "layer": None,
}
