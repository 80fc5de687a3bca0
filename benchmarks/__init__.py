"""What it costs, measured end to end."""
