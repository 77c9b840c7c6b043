import type pg from 'pg'

/** A connection with statements on their way over it; behind the one of a line `apart` none is sent. */
type Line = { client: Promise<pg.PoolClient>; onTheirWay: number; failed: boolean; apart: boolean }

/**
 * Sends statements over connections of `pool` (made with `pipeline: true`), up to `depth` of them one behind another
 * over one connection without waiting for the answers in between; each is a transaction of its own. A few backends that
 * always have something to do cost much less, on both sides, than many that are woken for each statement. A connection
 * is taken when those at work are full, and given back when nothing is on its way over it. After any failure it gets
 * nothing more to do and is closed.
 */
export function createPipeline(pool: pg.Pool, depth: number) {
  const lines: Line[] = []

  const take = (apart: boolean): Line => {
    const open = apart ? undefined : lines.find((line) => !line.apart && line.onTheirWay < depth)
    if (open !== undefined) return open
    const line = { client: pool.connect(), onTheirWay: 0, failed: false, apart }
    lines.push(line)
    return line
  }
  const leave = (line: Line): void => {
    const at = lines.indexOf(line)
    if (at >= 0) lines.splice(at, 1)
  }

  /**
   * The rows of one statement. One that takes long goes `apart` from the others while a connection is left, so that
   * none waits behind it. Throws what Postgres says against it, or that no connection was to be had in time.
   */
  return async <Row extends pg.QueryResultRow>(statement: pg.QueryConfig, { apart = false } = {}): Promise<Row[]> => {
    const line = take(apart && (pool.idleCount > 0 || pool.totalCount < pool.options.max))
    line.onTheirWay += 1
    let client: pg.PoolClient | undefined
    try {
      client = await line.client
      const { rows } = await client.query<Row>(statement)
      return rows
    } catch (error) {
      line.failed = true
      leave(line)
      throw error
    } finally {
      line.onTheirWay -= 1
      if (line.onTheirWay === 0) {
        leave(line)
        client?.release(line.failed)
      }
    }
  }
}
