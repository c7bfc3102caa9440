"""Stage: masks -> decomposed fields (SDF foreground, radiance background)."""
