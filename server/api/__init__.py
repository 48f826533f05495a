"""The HTTP edge: one file per noun; each parses, calls one service method, renders."""
