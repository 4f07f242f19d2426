"""What is true of the world: one TOML file per thing, each value with unit, source and date."""
