"""Stage: predictions and truth -> numbers."""
