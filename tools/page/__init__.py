"""Fetches what the page is built on."""
