import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/**
 * Listens in on what is sent to the database at `url`: every statement and every parameter, which is all that the log of
 * a server with `log_statement = all` could hold.
 */
export async function startWireTap(url: string) {
  const target = new URL(url)
  const heard: Buffer[] = []
  const sockets = new Set<Socket>()
  const listener = createServer((client) => {
    const server = connect(Number(target.port), target.hostname)
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(socket)
      socket.on('error', () => other.destroy())
      socket.on('close', () => {
        sockets.delete(socket)
        other.destroy()
      })
    }
    client.on('data', (bytes) => heard.push(bytes))
    client.pipe(server).pipe(client)
  })
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve))
  const tapped = new URL(url)
  tapped.port = String((listener.address() as AddressInfo).port)
  return {
    url: tapped.toString(),
    heard: (): Buffer => Buffer.concat(heard),
    close: async (): Promise<void> => {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => listener.close(resolve))
    },
  }
}
