"""Headers of every response of both ports that restrict what browsers do with it.

https://owasp.org/www-project-secure-headers/
"""

from typing import Final

PROTECTIVE_HEADERS: Final = (
    ("x-content-type-options", "nosniff"),  # browsers do not guess the type of a body
    ("x-frame-options", "DENY"),  # no page may embed ours (RFC 7034)
    ("referrer-policy", "no-referrer"),  # the ids in our URLs are not sent to other sites
)
