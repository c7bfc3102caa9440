"""Captures we make ourselves: a room, an object, photos of it, with their truth."""
