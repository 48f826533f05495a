"""People who are kept out are not signed in by their provider either."""

from tests.auth_flow import audit_of, auth_for, browser_for, sign_in, stored
from tests.signin_refusals import NOTHING, failed_with


async def test_a_blocked_person_is_told_so(database):
    async with browser_for(auth_for(database)) as browser:
        await sign_in(browser, "bob@example.com")
        await database["users"].update_many({}, {"$set": {"blocked": True}})
        failed_with(await sign_in(browser, "bob@example.com"), "account_blocked")
    assert await stored(database) == {**NOTHING, "users": 1, "sessions": 1}
    assert await audit_of(database) == [
        ("auth.signed_in", "ok", None),
        ("auth.failed", "refused", "account_blocked"),
    ]


async def test_a_block_that_comes_during_the_sign_in_ends_it(database):
    auth = auth_for(database)

    class Blocking:
        """Blocks everybody at the moment their session is made."""

        def __getattr__(self, name):
            return getattr(auth.sessions, name)

        async def open(self, user, user_agent=""):
            await database["users"].update_many({}, {"$set": {"blocked": True}})
            return await auth.sessions.open(user, user_agent)

    auth.signin._sessions = Blocking()
    async with browser_for(auth) as browser:
        failed_with(await sign_in(browser), "account_blocked")
    assert await stored(database) == {**NOTHING, "users": 1}
