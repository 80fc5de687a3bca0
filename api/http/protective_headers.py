"""What every answer of both ports says to browsers, whoever makes it: an application, a guard, or the server itself.

https://owasp.org/www-project-secure-headers/
"""

from typing import Final

PROTECTIVE_HEADERS: Final = (
    ("x-content-type-options", "nosniff"),  # a body is what its type says
    ("x-frame-options", "DENY"),  # no page of others shows one of ours inside of it (RFC 7034)
    ("referrer-policy", "no-referrer"),  # the ids in our URLs stay here
)
