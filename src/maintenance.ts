import { ringMaxAge } from './security/key-ring.ts'
import type { Services } from './services.ts'

const everyMs = ringMaxAge * 1_000

/** How soon the floor under failed logins is there after an import. */
const hashesEveryMs = 5_000

/**
 * Once a minute, on every replica: deletes what has run out, in small batches, keeps the signing keys fresh, and tries
 * hashes of other kinds; whether any are left is looked for each five seconds. Returns what stops it. A failure is logged
 * and tried again at the next turn.
 */
export function startMaintenance({
  store,
  keyRing,
  loginFloor,
  log,
  config,
}: Pick<Services, 'store' | 'keyRing' | 'loginFloor' | 'log' | 'config'>): () => Promise<void> {
  const attempt = async (name: string, work: () => Promise<object>): Promise<void> => {
    try {
      log.debug({ work: name, ...(await work()) }, 'maintained')
    } catch (error) {
      log.warn({ work: name, name: (error as Error).name }, 'maintenance failed')
    }
  }
  const run = async (): Promise<void> => {
    await attempt('keys', keyRing.maintain)
    await attempt('hashes', loginFloor.look)
    await attempt('purge', () =>
      store.purge.expired({ eventDays: config.eventRetentionDays, notices: config.mail.provider !== 'none' }),
    )
  }
  const stops = [repeat(everyMs, run), repeat(hashesEveryMs, () => attempt('floor', loginFloor.notice))]
  return async () => {
    await Promise.all(stops.map((stop) => stop()))
  }
}

/** Does `work` again and again, never twice at once. Returns what stops it, once what is under way is over. */
function repeat(ms: number, work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined
  const timer = setInterval(() => {
    running ??= work().finally(() => {
      running = undefined
    })
  }, ms)
  timer.unref()
  return async () => {
    clearInterval(timer)
    await running
  }
}
