"""Write what ``measure_probes.py`` printed into ``planning/shared/garak_probes.json`` of the operator.

Usage: store_probes.py < MEASURED. The blueprint's lists stay as they are.
"""

import json
import sys
from pathlib import Path

TABLE = Path(__file__).parents[2] / "operator/safety_operator/planning/shared/garak_probes.json"


def main() -> None:
    """Merge and write, one probe a line, so that a difference can be read."""
    measured = json.load(sys.stdin)
    tiers = json.loads(TABLE.read_text(encoding="utf-8"))["tiers"]
    lists = [f'    "{name}": [\n{_lines(map(json.dumps, names))}\n    ]' for name, names in tiers.items()]
    probes = (f"{json.dumps(name)}: {json.dumps(row)}" for name, row in sorted(measured["probes"].items()))
    TABLE.write_text(
        f'{{\n  "garakVersion": {json.dumps(measured["garakVersion"])},\n'
        f'  "tiers": {{\n{",".join(lists)}\n  }},\n'.replace("],    ", "],\n    ")
        + f'  "probes": {{\n{_lines(probes, 4)}\n  }}\n}}\n',
        encoding="utf-8",
    )


def _lines(items: object, indent: int = 6) -> str:
    return ",\n".join(" " * indent + item for item in items)


if __name__ == "__main__":
    main()
