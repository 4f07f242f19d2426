"""The strategies, one file each; the folder is the registry."""
