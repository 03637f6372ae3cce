"""Tables and their queries, a noun a file. No store file imports another."""
