"""What several kinds refer to or state: models, judges, datasets."""
