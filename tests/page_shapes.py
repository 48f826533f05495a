"""Requests as pages send them: what the headers say of where one comes from, and what it brings.

`{ours}` and `{port}` stand for the origin and the port of the server.
"""

LISTED = "https://shop.example"
"""What stands in CORS_ORIGINS."""

PAGES = {
    "another site": [("Origin", "https://evil.test")],
    "another site, same host in its path": [("Origin", "https://evil.test/{ours}")],
    "a sandbox": [("Origin", "null")],
    "a sandbox that claims to be ours": [("Origin", "null"), ("Sec-Fetch-Site", "same-origin")],
    "an empty origin": [("Origin", "")],
    "another port": [("Origin", "http://127.0.0.1:1")],
    "no port": [("Origin", "http://127.0.0.1")],
    "a port that goes on": [("Origin", "{ours}0")],
    "another loopback name": [("Origin", "http://127.0.0.2:{port}")],
    "the same address as a number": [("Origin", "http://2130706433:{port}")],
    "the same address as IPv6": [("Origin", "http://[::ffff:127.0.0.1]:{port}")],
    "a name that begins like ours": [("Origin", "{ours}.evil.test")],
    "a name that ends like ours": [("Origin", "http://evil.127.0.0.1:{port}")],
    "our name as user": [("Origin", "{ours}@evil.test")],
    "a user at our name": [("Origin", "http://evil@127.0.0.1:{port}")],
    "a backslash": [("Origin", "{ours}\\@evil.test")],
    "a trailing dot": [("Origin", "http://localhost.:{port}")],
    "a trailing slash": [("Origin", "{ours}/")],
    "a fragment": [("Origin", "https://evil.test#{ours}")],
    "capitals": [("Origin", "HTTP://LOCALHOST:{port}")],
    "an encoded colon": [("Origin", "http://127.0.0.1%3A{port}")],
    "a list": [("Origin", "{ours}, https://evil.test")],
    "a list with a space": [("Origin", "{ours} https://evil.test")],
    "twice, ours first": [("Origin", "{ours}"), ("Origin", "https://evil.test")],
    "twice, ours last": [("Origin", "https://evil.test"), ("Origin", "{ours}")],
    "a file": [("Origin", "file://")],
    "an extension": [("Origin", "chrome-extension://abcdefghijklmnop")],
    "another scheme": [("Origin", "ftp://127.0.0.1:{port}")],
    "a listed name by http": [("Origin", "http://shop.example")],
    "below a listed name": [("Origin", "https://www.shop.example")],
    "a listed name, another port": [("Origin", "https://shop.example:8443")],
    "a listed name with a dot": [("Origin", "https://shop.example.")],
    "cross-site, origin kept back": [("Sec-Fetch-Site", "cross-site")],
    "same-site, origin kept back": [("Sec-Fetch-Site", "same-site")],
    "a word to come": [("Sec-Fetch-Site", "surprise")],
    "a word to come, origin ours": [("Origin", "{ours}"), ("Sec-Fetch-Site", "surprise")],
    "capitals in the word": [("Sec-Fetch-Site", "Same-Origin")],
    "an empty word": [("Sec-Fetch-Site", "")],
    "two words": [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
    "origin ours, word not": [("Origin", "{ours}"), ("Sec-Fetch-Site", "cross-site")],
    "word ours, origin not": [("Origin", "https://evil.test"), ("Sec-Fetch-Site", "same-origin")],
    "typed in, origin not ours": [("Origin", "https://evil.test"), ("Sec-Fetch-Site", "none")],
}
"""What browsers, and those who look for a gap, say of where a request comes from."""

FORMS = {
    "a form": "application/x-www-form-urlencoded",
    "a form with files": "multipart/form-data; boundary=x",
    "plain text": "text/plain",
    "plain text in UTF-8": "text/plain;charset=UTF-8",
    "plain text that names JSON": "text/plain; application/json",
    "plain text with JSON as parameter": "text/plain; x=application/json",
    "JSON and plain text": "application/json, text/plain",
    "nearly JSON": "application/jsonp",
    "a kind of JSON": "application/problem+json",
    "JSON as text": "text/json",
    "bytes": "application/octet-stream",
    "XML": "application/xml",
    "nothing": "",
    "a slash": "/",
    "a wildcard": "*/*",
}

HONEST = {
    "no browser": [],
    "our page": [("Origin", "{ours}"), ("Sec-Fetch-Site", "same-origin")],
    "our page in an old browser": [("Origin", "{ours}")],
    "our page under the configured name": [("Origin", "http://localhost:{port}")],
    "our page that keeps its origin back": [("Sec-Fetch-Site", "same-origin")],
    "a person": [("Sec-Fetch-Site", "none")],
    "a listed page of the same site": [("Origin", LISTED), ("Sec-Fetch-Site", "same-site")],
}
