"""Rowlock: a Redis-first, real-time seat-booking server."""
