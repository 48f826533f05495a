"""The push side: Redis Pub/Sub -> listener -> mirror -> hub -> watchers.

It never calls the write side: the two meet in Redis, where each change is numbered and announced.
"""
