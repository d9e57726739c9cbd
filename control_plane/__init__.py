"""Keeps what people want and what machines there are, and streams desired state to node agents."""
