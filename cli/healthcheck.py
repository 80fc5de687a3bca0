"""Query /readyz of the daemon on this machine: `python -m rokuga.cli.healthcheck`, for the container's health check.

It reads the same environment as the daemon, and imports little, since it runs every few seconds.
"""

import http.client
import os
import ssl
import sys
from collections.abc import Mapping
from typing import Final

from rokuga.api.config.loader import ConfigError, DaemonConfig, load_config

TIMEOUT_S: Final = 5.0


def check(environment: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether the daemon is ready, and the response body or the reason why there is none."""
    try:
        config, _ = load_config(None, environment)
    except ConfigError as error:
        return False, str(error)
    connection = _connection(config)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status == http.HTTPStatus.OK, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return False, f"the API on port {config.api_port} does not answer: {error!r}"
    finally:
        connection.close()


def _connection(config: DaemonConfig) -> http.client.HTTPConnection:
    """Open a connection over loopback, without a check of the certificate, which is for the public name."""
    if config.tls_certificate is None:
        return http.client.HTTPConnection("127.0.0.1", config.api_port, timeout=TIMEOUT_S)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", config.api_port, timeout=TIMEOUT_S, context=context)


def main() -> int:
    """Print the response; return 0 if the daemon is ready, 1 otherwise."""
    is_ready, text = check(os.environ)
    print(text)
    return 0 if is_ready else 1


if __name__ == "__main__":
    sys.exit(main())
