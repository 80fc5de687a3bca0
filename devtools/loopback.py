"""The environment of a daemon that is nobody's but the caller's: free ports of the loopback, files in one folder."""

from pathlib import Path


def loopback_environment(folder: Path, **settings: str) -> dict[str, str]:
    """Give the variables that configure it, beside those that it inherits.

    `settings` are more keys of the configuration, or other values for these, by their names.
    """
    keys = {
        "archive_dir": str(folder / "archive"),
        "data_dir": str(folder / "data"),
        "api_port": "0",
        "signaling_port": "0",
        "signaling_host": "127.0.0.1",
        "media_port": "0",
        "media_address": "127.0.0.1",
        **settings,
    }
    return {f"ROKUGA_{key.upper()}": value for key, value in keys.items()}
