"""The environment of a private daemon: free ports of the loopback interface, all files in one folder."""

from pathlib import Path


def loopback_environment(folder: Path, **settings: str) -> dict[str, str]:
    """Return its environment variables; `settings` are further configuration keys, or override these."""
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
