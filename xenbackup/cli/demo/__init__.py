"""The demo: a simulated host with three guests, and the story of a night on it."""
