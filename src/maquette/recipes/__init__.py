"""Stages in a row: run, demo."""
