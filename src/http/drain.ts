import type { Server } from 'node:http'
import type { Socket } from 'node:net'

/** Milliseconds that connections without a request stay open once the service drains. */
const graceMs = 2_000

/**
 * What becomes of open connections when `server` closes; versions of Node differ in it, so it is decided here (SEC-88).
 * Those with requests in flight go with the last answer. The others go at once, or while the service drains a little
 * later: what is asked on one meanwhile is answered, a health check with 503, rather than cut off.
 */
export function closeConnectionsGently(server: Server, isDraining: () => boolean): void {
  const inFlight = new Map<Socket, number>()
  let isOver = false
  const change = (socket: Socket, by: number): void => {
    if (socket.destroyed) return
    const count = (inFlight.get(socket) ?? 0) + by
    inFlight.set(socket, count)
    if (isOver && count === 0) socket.destroy()
  }
  server.on('connection', (socket) => {
    change(socket, 0)
    socket.once('close', () => inFlight.delete(socket))
  })
  server.on('request', ({ socket }, response) => {
    change(socket, 1)
    response.once('close', () => change(socket, -1))
  })

  const closeIdle = (): void => {
    isOver = true
    for (const socket of inFlight.keys()) change(socket, 0)
  }
  // Node calls this when the server stops listening.
  server.closeIdleConnections = () => {
    if (isDraining()) setTimeout(closeIdle, graceMs).unref()
    else closeIdle()
  }
}
