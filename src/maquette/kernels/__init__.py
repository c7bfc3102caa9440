"""Warp kernels, each beside its plain torch twin: the twin is documentation, oracle and fallback."""
