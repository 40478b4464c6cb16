"""How much memory a GPU has: as the spec says, or by the node selector of its pods.

The operator reads no nodes (it has no right to), so labels that NVIDIA's GPU feature discovery gives to nodes
count only where pods are bound to them.
"""

import re
from collections.abc import Mapping

from safety_operator.api.quantities import amount

MEMORY_LABEL = "nvidia.com/gpu.memory"
"""Node label: MiB of a GPU."""
PRODUCT_LABEL = "nvidia.com/gpu.product"
"""Node label: name of a GPU, such as NVIDIA-H100-80GB-HBM3."""

PRODUCTS = {
    "GH200-480GB": 95,  # 480 GB are the processor's
    "GH200-144G-HBM3e": 140,
    "H200": 140,
    "H100-NVL": 93,
    "B200": 178,
    "L40S": 45,
    "L40": 45,
    "A40": 45,
    "L4": 22,
    "A10": 22,
    "A10G": 22,
    "T4": 15,
}
"""GiB of products whose name has no size, or another one."""

_SIZE = re.compile(r"(\d+)gb", re.IGNORECASE)


def gpu_memory(given: str | None, node_selector: Mapping[str, str]) -> int | None:
    """Bytes of a GPU; None where nothing says so."""
    value = amount(given) if given else None
    if value is not None:
        return int(value)
    label = node_selector.get(MEMORY_LABEL, "")
    if label.isdecimal():
        return int(label) * 2**20
    return _by_product(node_selector.get(PRODUCT_LABEL, ""))


def _by_product(name: str) -> int | None:
    """Bytes by a product's name; of a part of a GPU (MIG) the last size is its own."""
    known = (size for product, size in PRODUCTS.items() if re.search(rf"(^|-){product}(-|$)", name))
    size = next(known, None) if "-MIG-" not in name else None
    sizes = _SIZE.findall(name)
    if size is None and sizes:
        size = int(sizes[-1])
    return size * 2**30 if size else None
