"""Other implementations of the network, timed in turns with this one on the same weights and input."""
