"""The page of the built-in OpenID provider: no script, no inline style, every value escaped."""

from collections.abc import Iterable
from html import escape

_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in to Rowlock</title>
<link rel="stylesheet" href="/dev/oidc/style.css">
</head>
<body>
<main>
<p class="badge">Development sign-in</p>
{content}
</main>
</body>
</html>
"""


def consent_page(
    action: str, people: Iterable[tuple[str, str, bool]], email: str, refused: bool
) -> str:
    """Return the page that asks who signs in.

    Its forms post to `action`. `people` are (email, name, is administrator); `email` fills the
    form for somebody new, and `refused` says that what was typed there is no address.
    """
    action = escape(action)
    buttons = "".join(_person(*person) for person in people)
    problem = (
        '<p class="problem" id="problem" role="alert">That is not an email address.</p>'
        if refused
        else ""
    )
    described = ' aria-invalid="true" aria-describedby="problem"' if refused else ""
    return _DOCUMENT.format(
        content=f"""<h1>Who are you today?</h1>
<p class="lead">Rowlock runs without Google credentials, so this page stands in for Google.
Nobody is asked for a password.</p>
<form method="post" action="{action}" class="people">{buttons}</form>
<form method="post" action="{action}" class="somebody">
<h2>Somebody new</h2>
{problem}
<label>Name <input name="name" autocomplete="off" maxlength="100" placeholder="Grace"></label>
<label>Email <input name="email" type="email" required maxlength="200" autocomplete="off"
 value="{escape(email)}" placeholder="grace@example.com"{described}></label>
<button class="primary">Sign in</button>
</form>
<form method="post" action="{action}"><button class="quiet" name="deny" value="1">
Cancel and go back</button></form>"""
    )


def refusal_page() -> str:
    """Return the page for a request that cannot be sent back to where it came from."""
    return _DOCUMENT.format(
        content="""<h1>This sign-in cannot go on</h1>
<p class="lead">The address you came with does not belong to this server.
Go back and start again.</p>
<p><a class="primary" href="/">To the start page</a></p>"""
    )


def _person(email: str, name: str, is_admin: bool) -> str:
    note = '<span class="note">admin</span>' if is_admin else ""
    return f"""
<button name="email" value="{escape(email)}">
<span class="initial" aria-hidden="true">{escape(name[:1])}</span>
<span class="who"><strong>{escape(name)}</strong> <span>{escape(email)}</span></span>{note}
</button>"""
