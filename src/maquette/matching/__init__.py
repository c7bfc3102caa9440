"""Correspondences -> hypotheses -> scores -> refined pose; pure."""
