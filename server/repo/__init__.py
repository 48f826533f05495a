"""Where data lives: the seat store (Redis) and one file per MongoDB collection."""
