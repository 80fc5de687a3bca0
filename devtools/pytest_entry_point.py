"""The entry point that pytest loads: it registers the plugin under its module's name.

pytest registers a module once per name. With the plugin itself as the entry point, a `conftest.py` that names it in
`pytest_plugins` would register it a second time, which pytest refuses.
"""

pytest_plugins = ["rokuga.devtools.pytest_plugin"]
