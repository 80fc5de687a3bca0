"""A WebRTC publisher, for `devtools.publisher`: the sending end of a connection. The recorder does not use it."""
