"""Foreign file formats; foreign conventions (axes, units, pixel centres) stop here."""
