"""First-level support drafts of Northstar Bank."""
