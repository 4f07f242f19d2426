"""What could be had: deployments and their evaluation, markets by the hour, options to answer questions."""
