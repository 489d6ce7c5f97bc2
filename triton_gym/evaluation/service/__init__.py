"""The way from a user's process to judges and back: queue, links, one machine or many."""
