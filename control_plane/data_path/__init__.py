"""Fills the gateway's ports from what the control plane knows, and hosts the gateway in its process."""
