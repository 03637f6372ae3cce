"""What we do, when, and who decided: stages over a database, driven by short durable flows."""
