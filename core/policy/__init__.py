"""The privacy policy as data: which version is in force at an instant, and the parameters that the code takes from it."""

from core.policy.versions import Parameters, in_force, listed_processors, pinned, publish_first_version

__all__ = ["Parameters", "in_force", "listed_processors", "pinned", "publish_first_version"]
