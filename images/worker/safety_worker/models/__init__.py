"""Models as files: which of them make one, whether they are whole, and how one gets into the store."""
