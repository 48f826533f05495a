/**
 * What this tab keeps across a reload or a trip to the sign-in page. Private windows may refuse
 * storage; then there is simply nothing kept.
 */
const PREFIX = "rowlock.";

export function keep(name, value) {
  attempt(() => sessionStorage.setItem(PREFIX + name, JSON.stringify(value)));
}

/** The kept value, or null. */
export function kept(name) {
  return attempt(() => JSON.parse(sessionStorage.getItem(PREFIX + name)));
}

export function forget(name) {
  attempt(() => sessionStorage.removeItem(PREFIX + name));
}

function attempt(work) {
  try {
    return work();
  } catch {
    return null;
  }
}
