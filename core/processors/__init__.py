"""The third parties of clause 5, one file each."""
