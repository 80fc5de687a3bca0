"""A soak test as a command: many publishers, a daemon that is killed, consumers that fail, and every file checked."""
