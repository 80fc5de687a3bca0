"""Events to HTTP: each event is delivered to each destination, in order, at least once."""
