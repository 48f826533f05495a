"""A crowd at a running server: people who watch a seat map and people who buy. It knows the server
by its public interface alone, as browsers do."""
