"""Who calls: sign-in, access tokens, refresh families, guards."""
