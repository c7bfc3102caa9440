"""Stage: fields -> the object's mesh, colours, exports, rendered masks and views."""
