const LANGUAGE = navigator.language?.startsWith("en") ? navigator.language : "en-GB";
const formatters = new Map();

/** {"currency": "EUR", "minor": 1250} as "€12.50"; the currency knows how many minor digits it has. */
export function money({ currency, minor }) {
  if (!formatters.has(currency)) {
    formatters.set(currency, new Intl.NumberFormat(LANGUAGE, { style: "currency", currency }));
  }
  const formatter = formatters.get(currency);
  return formatter.format(minor / 10 ** formatter.resolvedOptions().maximumFractionDigits);
}

/** The sum of amounts in one currency. */
export function total(amounts) {
  const minor = amounts.reduce((sum, amount) => sum + amount.minor, 0);
  return { currency: amounts[0].currency, minor };
}

/** The lowest amount of a record of prices. */
export function cheapest(prices) {
  return Object.values(prices).reduce((low, price) => (price.minor < low.minor ? price : low));
}
