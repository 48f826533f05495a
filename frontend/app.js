import { Account, NO_ACCOUNT } from "./account.js";
import { Api } from "./api.js";
import { Catalogue } from "./catalogue.js";
import { Checkout } from "./checkout.js";
import { Counter } from "./counter.js";
import { Hall } from "./hall.js";
import { Holding } from "./holding.js";
import { EMPTY_LEDGER, Ledger } from "./ledger.js";
import { Lock } from "./lock.js";
import { Router } from "./router.js";
import { Session } from "./session.js";
import { Store } from "./store.js";
import { Tabs } from "./tabs.js";
import { Toasts } from "./toasts.js";
import { Wishes } from "./wishes.js";

/** The parts of the page, each handed what it needs. Elements take what they use from here. */

export const store = new Store({
  route: { page: null, id: null, query: {} },
  session: { status: "unknown", user: null }, // unknown | in | out
  catalogue: { status: "loading" },
  account: NO_ACCOUNT,
  bookings: EMPTY_LEDGER,
  people: EMPTY_LEDGER,
  allBookings: EMPTY_LEDGER,
  audit: EMPTY_LEDGER,
  hall: null, // the showtime on the page: {id, status, showtime, prices, seats, index, …}
  map: null, // {epoch, seq, states}
  views: [], // what each seat shows, in layout order
  connection: { status: "idle", reason: "" },
  lock: null, // my lock, with its `deadline` on performance.now()
  pending: new Map(), // seat -> {shows, waiting}: what I asked for
  checkout: null, // {phase: booking | ready | paying | confirmed | ended, booking, note, deadline}
  owned: new Set(), // seats that I have paid for
  lapse: null, // {why, seats}: a lock that was lost
  pause: null, // {reason, deadline, span}: until when I may lock nothing
  counter: null, // {seats, done}: what a clerk chooses for a customer
  offer: null, // the seat that a signed-out person clicked
  toasts: [],
  announcement: "",
});

const tabs = new Tabs();
export const session = new Session(store, tabs);
export const api = new Api(session);
export const toasts = new Toasts(store);
export const router = new Router(store);
export const catalogue = new Catalogue(store, api);
export const hall = new Hall(store, api);
const wishes = new Wishes(store);
export const holding = new Holding(store, api, toasts, tabs);
export const counter = new Counter(store, api);
export const lock = new Lock(store, api, holding, wishes, toasts, tabs, counter);
export const checkout = new Checkout(store, api, holding, wishes, toasts, tabs);
export const account = new Account(store, api);
export const bookings = new Ledger(store, api, "bookings", "/bookings");
export const people = new Ledger(store, api, "people", "/admin/users");
export const allBookings = new Ledger(store, api, "allBookings", "/admin/bookings");
export const audit = new Ledger(store, api, "audit", "/admin/audit");
