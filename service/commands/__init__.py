"""What the `triage` command can do, a file a command; loaded only when asked for."""
