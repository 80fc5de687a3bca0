"""The publisher of our own: clips, packets, pace."""
