"""Benchmarks: what the copy engine costs beside the tools it stands in for."""
