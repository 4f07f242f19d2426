"""What is uncertain about a plan, and what measuring it is worth."""
