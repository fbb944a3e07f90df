"""Due times against an oracle that walks through time minute by minute."""
