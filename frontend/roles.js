/** What people may do here, and how that is called. */
export const ROLES = Object.freeze({
  USER: { name: "Customer", may: "book seats for themselves" },
  BOX_OFFICE: { name: "Box office", may: "see all bookings and lock seats for customers" },
  ADMIN: { name: "Administrator", may: "do everything in this house, roles included" },
});

export function isAdmin(user) {
  return user?.role === "ADMIN";
}

/** Whoever may stand at the counter. */
export function isClerk(user) {
  return user?.role === "BOX_OFFICE" || isAdmin(user);
}
