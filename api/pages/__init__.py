"""The browser page, as it is sent: no build step, nothing from the network."""
