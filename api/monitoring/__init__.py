"""What monitors read: probes, metrics, the process itself."""
