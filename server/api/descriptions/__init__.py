"""What the routes mean to those who call them: one file for each file of routes."""
