/** Connections the embedded database serves at once; they share one backend. */
export const embeddedConnections = 8

export type EmbeddedDatabase = { url: string; close(): Promise<void> }

/**
 * Postgres inside this process, for development and tests: the same wire protocol on a free loopback port, so that the
 * code above it knows one database only. The first start in `dataDir` makes the cluster, which takes some seconds.
 * Races are not real here: it has one backend.
 */
export async function startEmbedded(dataDir: string): Promise<EmbeddedDatabase> {
  const [{ PGlite }, { PGLiteSocketServer }] = await Promise.all([
    import('@electric-sql/pglite'),
    import('@electric-sql/pglite-socket'),
  ])
  // All buffers are cleared at every start. Postgres' usual 128 MiB of them take WebAssembly half a second.
  const startParams = [...PGlite.defaultStartParams, '-c', 'shared_buffers=16MB']
  const engine = await PGlite.create({ dataDir, startParams })
  const server = new PGLiteSocketServer({
    db: engine,
    port: 0,
    host: '127.0.0.1',
    maxConnections: 4 * embeddedConnections,
  })
  await server.start()
  return {
    url: `postgresql://postgres@${server.getServerConn()}/postgres?sslmode=disable`,
    close: async () => {
      await server.stop()
      await engine.close()
    },
  }
}
