"""The shared parts of the screens."""
