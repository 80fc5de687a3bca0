"""TLS to etcd."""

import ssl

from rokuga.recorder.config import ClusterConfig


def tls_context(config: ClusterConfig) -> ssl.SSLContext | None:
    """Return the context of the configured certificates, None without one. Raises OSError, ssl.SSLError."""
    if config.ca_file is None and config.client_cert is None:
        return None
    context = ssl.create_default_context(cafile=config.ca_file)
    if config.client_cert is not None:
        context.load_cert_chain(config.client_cert, config.client_key)
    return context
