"""Maquette: photos of one object in, a clean 3D model and a 6D pose estimator out."""

__version__ = "0.1.0"
