"""Monitoring: probes, metrics, notifications to systemd, memory."""
