"""The mirror of the tree."""
