/**
 * Why the server, or the way to it, said no: a problem document (RFC 9457) as an error.
 *
 * `status` 0 with code `unreachable` means that no answer came, so the outcome is not known.
 */
export class Problem extends Error {
  constructor({ status = 0, code = "unreachable", detail = "No answer came.", ...fields } = {}) {
    super(detail);
    this.name = "Problem";
    this.status = status;
    this.code = code;
    this.fields = fields;
    this.retryAfter = 0; // seconds
  }

  /** True when the same request, with the same key, may simply be sent again. */
  get passes() {
    return this.status === 0 || this.status >= 500 || this.code === "idempotency_in_progress";
  }

  static async from(response) {
    const body = await response.json().catch(() => ({}));
    const problem = new Problem({ code: "internal_error", ...body, status: response.status });
    problem.retryAfter = Number(response.headers.get("Retry-After")) || 0;
    return problem;
  }
}
