"""Stage: cameras -> coarse masks and label maps, without labels."""
