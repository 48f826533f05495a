const NAME = "rowlock.refresh";
const IN_FLIGHT = 1_500; // ms that an answer may need when nobody is left to hear it

/**
 * Runs `work`, which spends the refresh token, when no other tab does; a token spent twice ends the
 * session. A page that was reloaded while its request was under way leaves a mark behind: then the
 * new cookie gets the time to arrive first.
 */
export function inTurn(work) {
  // Web Locks exist on secure origins alone; elsewhere tabs may have to sign in again.
  return navigator.locks ? navigator.locks.request(NAME, () => marked(work)) : marked(work);
}

async function marked(work) {
  const age = Date.now() - (read() ?? 0);
  if (age >= 0 && age < IN_FLIGHT) {
    await new Promise((next) => setTimeout(next, IN_FLIGHT - age));
  }
  write(Date.now());
  try {
    return await work();
  } finally {
    write(null);
  }
}

function read() {
  try {
    return Number(localStorage.getItem(NAME));
  } catch {
    return null; // no storage, no mark
  }
}

function write(moment) {
  try {
    if (moment) localStorage.setItem(NAME, moment);
    else localStorage.removeItem(NAME);
  } catch {
    // no storage, no mark
  }
}
