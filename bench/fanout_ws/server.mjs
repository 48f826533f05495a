/**
 * A reference of `bench.fanout`: Node with `ws`, as its own documentation broadcasts. The first line
 * on stdout is the port. POST /measure?rounds=&pause= (seconds) sends the body to all sockets so
 * many times, and answers with the CPU seconds, user and system, that this process took.
 *
 * The text is made into bytes once for all; compression is off, as is ws's default.
 */
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

import { WebSocket, WebSocketServer } from "ws";

const server = createServer(measure);
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on("connection", (socket) => socket.send("snapshot"));
server.listen({ port: 0, host: "127.0.0.1", backlog: 2048 }, () => console.log(server.address().port));

async function measure(request, response) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const message = Buffer.concat(chunks);
  const asked = new URL(request.url, "http://127.0.0.1").searchParams;
  const rounds = Number(asked.get("rounds"));
  const began = process.cpuUsage();
  for (let round = 0; round < rounds; round++) {
    for (const client of sockets.clients) {
      if (client.readyState === WebSocket.OPEN) client.send(message, { binary: false });
    }
    await sleep(1000 * Number(asked.get("pause")));
  }
  const { user, system } = process.cpuUsage(began);
  const deliveries = rounds * sockets.clients.size;
  response.end(JSON.stringify({ seconds: (user + system) / 1e6, deliveries }));
}
