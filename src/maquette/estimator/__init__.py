"""Stage: asset -> correspondence and key networks, trained on views rendered online."""
