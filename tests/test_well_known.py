"""/.well-known/jwks.json: with what is told there, anybody can verify an access token."""

import jwt
import pytest

from tests.running import IN_MODULE_LOOP, running, served
from tests.signing import KINDS, rung

pytestmark = IN_MODULE_LOOP

server = served()

ADDRESS = "/.well-known/jwks.json"


async def test_with_a_secret_the_list_is_empty(server):
    answer = await server.visitor.get(ADDRESS)
    assert (answer.status_code, answer.json()) == (200, {"keys": []})
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "public, max-age=300"


@pytest.mark.parametrize("kind", KINDS[1:])
async def test_with_a_private_key_others_can_verify(valkey, mongo, tmp_path, kind):
    ring = rung(kind, tmp_path)
    given = {
        name: getattr(ring.settings, name)
        for name in ("jwt_private_key_file", "jwt_previous_secrets", "jwt_previous_public_keys")
    }
    async with running(valkey, mongo, **given) as server:
        told = (await server.visitor.get(ADDRESS)).json()
        assert [key["kid"] for key in told["keys"]] == [k.id for k in ring.keys if k.jwk]
        token = server.bob.headers["Authorization"].removeprefix("Bearer ")
        header = jwt.get_unverified_header(token)
        assert header == {"alg": kind, "kid": told["keys"][0]["kid"], "typ": "at+jwt"}
        key = jwt.PyJWKSet.from_dict(told)[header["kid"]]
        assert jwt.decode(token, key, [kind], audience="rowlock-api")["role"] == "USER"
        assert (await server.bob.get("/api/me")).status_code == 200
