"""Four of our tables as Django sees them."""
