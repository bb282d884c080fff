"""Files through the network: decoded once, computed frame by frame in bounded memory, encoded meanwhile."""
