"""The daemon: what happens by itself, and what it tells."""
