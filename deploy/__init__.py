"""Files for deployment: the systemd unit, the Grafana dashboard."""
