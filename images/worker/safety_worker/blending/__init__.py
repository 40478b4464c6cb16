"""Making a blend: which rows and answers become training data, and the documents that say so."""
