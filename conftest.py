"""Load the plug-in where entry points are not, as with PYTEST_DISABLE_PLUGIN_AUTOLOAD."""

pytest_plugins = ["vlm_parity.pytest_plugin.plugin"]
