/** Ways to the sign-in and back to where the person was. They never leave this site. */

const NO_PAGE = /^\/(sign-in|api|dev|docs|static)(\/|$)|^\/\//;

/** `next` as the path of a page of ours, without an old refusal; "/" for anything else. */
export function localPath(next) {
  const url = URL.parse(next ?? "/", location.origin);
  if (url?.origin !== location.origin || NO_PAGE.test(url.pathname)) return "/";
  url.searchParams.delete("auth_error");
  return url.pathname + url.search;
}

/** The page where one signs in, leading back to the page that is shown now. */
export function signInPath() {
  const isThere = location.pathname === "/sign-in";
  const next = isThere
    ? new URLSearchParams(location.search).get("next")
    : location.pathname + location.search;
  return `/sign-in?next=${encodeURIComponent(localPath(next))}`;
}

/** The way through the identity provider. */
export function providerPath(next) {
  return `/api/auth/google/login?next=${encodeURIComponent(localPath(next))}`;
}
