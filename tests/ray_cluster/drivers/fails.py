"""A driver that ends as one does that finds its data wrong."""

import sys

sys.exit(42)
