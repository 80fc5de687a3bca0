"""What is used beside a daemon: a publisher, a demo, a sink, simulations, soaks, a pytest plugin."""
