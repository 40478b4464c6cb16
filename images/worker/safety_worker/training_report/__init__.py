"""What a fine-tune leaves for people: page, model card, metrics as a table. The same for every backend."""
