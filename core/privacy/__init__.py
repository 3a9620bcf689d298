"""Behind privacy_actions.py: everything that changes or reveals a person's data."""
