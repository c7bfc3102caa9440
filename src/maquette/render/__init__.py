"""Meshes and cameras in, depth, mask, coordinates and shaded colour out."""
