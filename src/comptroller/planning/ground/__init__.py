"""What planning speaks of: its nouns, the plan's documents, and where work is done."""
