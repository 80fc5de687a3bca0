"""The soak's rooms."""
