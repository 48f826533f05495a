const FIRST = 500; // ms
const LONGEST = 20_000; // ms

/**
 * Full jitter: anywhere between now and a ceiling that doubles with each failure, so that a crowd
 * that lost its server together does not come back together.
 */
export function pause(failures, random = Math.random) {
  return random() * Math.min(LONGEST, FIRST * 2 ** failures);
}
