"""Stage: photo and networks -> the object's pose."""
