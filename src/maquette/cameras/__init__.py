"""Stage: photos or video -> cameras, scale, object sphere."""
