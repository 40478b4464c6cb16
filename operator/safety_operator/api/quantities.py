"""Kubernetes quantities such as 500m and 6Gi as numbers."""

import re
from decimal import Decimal, DecimalException

_QUANTITY = re.compile(r"([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i)?)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def amount(quantity: int | str) -> Decimal | None:
    """The value of a Kubernetes quantity such as 500m or 6Gi; None if it is none."""
    found = _QUANTITY.fullmatch(str(quantity))
    if found is None or found[1].count(".") > 1 or not any(map(str.isdigit, found[1])):
        return None
    number, exponent, suffix = Decimal(found[1]), found[2], found[3] or ""
    if exponent:
        try:
            return number.scaleb(int(exponent[1:]))
        except DecimalException:
            return None
    return number * 2 ** _BINARY[suffix] if suffix in _BINARY else number.scaleb(_DECIMAL[suffix])
