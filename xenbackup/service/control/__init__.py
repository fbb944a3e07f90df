"""The control socket: how other processes ask the daemon, and what they may ask."""
