"""Ask the daemon of this machine whether it can work, as /readyz says: `python -m rokuga.cli.healthcheck`.

For the container's health check. It reads the same environment as the daemon, and loads little: it runs all the time.
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
    """Give whether the daemon is ready, and its answer or why there is none."""
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
    """Whatever answers on the loopback is ours; its certificate is for the name by which others call it."""
    if config.tls_certificate is None:
        return http.client.HTTPConnection("127.0.0.1", config.api_port, timeout=TIMEOUT_S)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", config.api_port, timeout=TIMEOUT_S, context=context)


def main() -> int:
    """Say what the daemon says; 0 if it is ready, 1 if it is not."""
    is_ready, answer = check(os.environ)
    print(answer)
    return 0 if is_ready else 1


if __name__ == "__main__":
    sys.exit(main())
