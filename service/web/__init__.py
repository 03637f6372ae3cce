"""Webhooks in, JSON for programs, pages for people."""
