"""Behind queries.py: every read, by topic."""
