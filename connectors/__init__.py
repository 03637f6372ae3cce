"""Our doors to the world: one outside system a file, each behind a Protocol of `connectors.ports`."""
