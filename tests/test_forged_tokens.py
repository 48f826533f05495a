"""No forged access token is accepted, whatever the kind of key that signs the sound ones."""

import time

import pytest

from server.auth.tokens import AccessTokens
from server.errors import Unauthenticated
from server.models import Identity
from server.repo.users import User
from tests.auth_flow import (
    access_token,
    auth_for,
    browser_for,
    provider_for,
    settings_for,
    sign_in,
)
from tests.forger import Forger
from tests.forgeries import corpus
from tests.signing import (
    KINDS,
    OLD_ED_KEY,
    OLD_RSA_KEY,
    PREVIOUS_SECRET,
    compact,
    hmac_with,
    rung,
    signer_of,
)

ADA = User(id="usr_ada", email="ada@example.com", name="Ada", role="ADMIN")
SESSION = "0" * 64
WHO = Identity("usr_ada", "ADMIN", SESSION)
ENOUGH = 120


@pytest.fixture(scope="module", params=KINDS)
def ring(request, tmp_path_factory):
    return rung(request.param, tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def access(ring):
    return AccessTokens(ring.settings, ring.keys)


@pytest.fixture(scope="module")
def forger(ring, access):
    return Forger(ring, access.mint(ADA, SESSION)[0])


def accepted(access, token):
    try:
        access.verify(token)
    except Unauthenticated:
        return False
    return True


def test_the_sound_token_put_together_by_hand_is_accepted(ring, access, forger):
    """So that the forgeries, which are made in the same way, fail for their own reason."""
    assert forger.header["alg"] == ring.kind
    assert access.verify(forger.sound) == WHO
    assert access.verify(compact(forger.header, forger.claims | {"jti": "x"}, ring.sign)) == WHO


def test_no_forgery_is_accepted(access, forger):
    forgeries = corpus(forger)
    assert len(forgeries) >= ENOUGH
    remembered = len(access._verified)
    assert [name for name, token in forgeries.items() if accepted(access, token)] == []
    assert len(access._verified) == remembered
    assert access.verify(forger.sound) == WHO


async def test_no_forgery_opens_a_route(database, ring, forger):
    """Those that a header can carry; blanks around a token are none of the token's."""
    sent = [
        t for t in corpus(forger).values() if t.isascii() and t.isprintable() and t == t.strip()
    ]
    assert len(sent) >= ENOUGH
    async with browser_for(auth_for(database, ring.settings)) as browser:
        await sign_in(browser)
        sound = {"Authorization": f"Bearer {await access_token(browser)}"}
        assert (await browser.get("/api/me", headers=sound)).status_code == 200
        for token in sent:
            answer = await browser.get("/api/me", headers={"Authorization": f"Bearer {token}"})
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), token
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_no_part_of_a_sound_token_is_one(access, forger):
    assert not any(accepted(access, forger.sound[:end]) for end in range(len(forger.sound)))


def test_a_change_of_any_character_is_refused(access, forger):
    for place, was in enumerate(forger.sound):
        other = "A" if was != "A" else "B"
        changed = forger.sound[:place] + other + forger.sound[place + 1 :]
        assert not accepted(access, changed), place


def test_each_key_serves_under_its_own_id_and_algorithm_alone(ring, access, forger):
    """Of all ways to mix id, algorithm and key, those three are good that belong together."""
    previous = {key.algorithm: key.id for key in list(ring.keys)[1:]}
    signers = {
        "HS256": hmac_with(PREVIOUS_SECRET),
        "EdDSA": signer_of(OLD_ED_KEY),
        "RS256": signer_of(OLD_RSA_KEY),
    }
    good = {
        (key.id, algorithm, signer)
        for key in ring.keys
        for algorithm in KINDS
        for signer, sign in signers.items()
        if accepted(
            access,
            compact({"alg": algorithm, "kid": key.id, "typ": "at+jwt"}, forger.claims, sign),
        )
    }
    assert good == {(previous[kind], kind, kind) for kind in KINDS}


def test_an_id_token_of_the_provider_is_refused(access, forger):
    provider = provider_for(settings_for())
    now = int(time.time())
    for claims in (forger.claims, {"aud": "rowlock-development", "sub": "x", "exp": now + 300}):
        assert not accepted(access, provider.sign(claims))
