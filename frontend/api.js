import { Problem } from "./problem.js";

const PATIENCE = 25_000; // ms until an answer counts as lost
const FILE_PATIENCE = 180_000; // ms for all of a file, which may be long

/**
 * JSON over HTTP, and files. Resolves to the parsed body (null for 204); rejects with a Problem and
 * nothing else. A 401 is answered once by a fresh access token.
 */
export class Api {
  #session;

  constructor(session) {
    this.#session = session;
  }

  get(path) {
    return this.#send("GET", path);
  }

  /** A file as {blob, link}, `link` being what the server says about it in that header, or "". */
  async file(path, accept) {
    const response = await this.#ask("GET", path, { accept, patience: FILE_PATIENCE });
    const blob = await response.blob().catch(() => null);
    if (!blob) throw new Problem();
    return { blob, link: response.headers.get("Link") ?? "" };
  }

  post(path, body, { key } = {}) {
    return this.#send("POST", path, { body, key });
  }

  patch(path, body) {
    return this.#send("PATCH", path, { body });
  }

  delete(path) {
    return this.#send("DELETE", path);
  }

  /** Every item of a list, page after page, up to `limit`. Returns {items, next_cursor}. */
  async all(path, limit = 1000) {
    const items = [];
    let cursor = "";
    do {
      const page = await this.get(`${path}?limit=100${cursor && `&cursor=${cursor}`}`);
      items.push(...page.items);
      cursor = encodeURIComponent(page.next_cursor ?? "");
    } while (cursor && items.length < limit);
    return { items, next_cursor: cursor || null };
  }

  async #send(method, path, given) {
    const response = await this.#ask(method, path, given);
    return response.status === 204 ? null : readOrProblem(response);
  }

  async #ask(method, path, { body, key, accept, patience } = {}) {
    const token = await this.#session.token();
    const request = { method, headers: {}, patience };
    if (body !== undefined) {
      request.headers["Content-Type"] = "application/json";
      request.body = JSON.stringify(body);
    }
    if (key) request.headers["Idempotency-Key"] = key;
    if (accept) request.headers.Accept = accept;
    let response = await fetchOrProblem(path, request, token);
    if (response.status === 401 && token && (await this.#session.renew())) {
      response = await fetchOrProblem(path, request, await this.#session.token());
    }
    if (response.status === 403 && path.startsWith("/admin/")) this.#session.renew(); // another role
    if (!response.ok) throw await Problem.from(response);
    return response;
  }
}

/** fetch, with a Problem where the way is cut, or no answer has come after `patience` ms. */
export async function fetchOrProblem(path, { patience = PATIENCE, ...request }, token = null) {
  const headers = { ...request.headers, ...(token && { Authorization: `Bearer ${token}` }) };
  try {
    return await fetch(`/api${path}`, {
      ...request,
      headers,
      signal: AbortSignal.timeout(patience),
    });
  } catch {
    throw new Problem();
  }
}

async function readOrProblem(response) {
  try {
    return await response.json();
  } catch {
    throw new Problem();
  }
}
