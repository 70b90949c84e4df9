"""Environments that scripts run in, and what is installed into them."""
