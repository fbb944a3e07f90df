"""The host's tools as a port: typed calls become argument lists, text becomes values."""
