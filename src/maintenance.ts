import { ringMaxAge } from './security/key-ring.ts'
import type { Services } from './services.ts'

const everyMs = ringMaxAge * 1_000

/**
 * Once a minute, on every replica: deletes what has run out, in small batches, keeps the signing keys fresh, and looks for
 * hashes of other kinds. Returns
 * what stops it. A failure is logged and tried again a minute later.
 */
export function startMaintenance({
  store,
  keyRing,
  loginFloor,
  log,
  config,
}: Pick<Services, 'store' | 'keyRing' | 'loginFloor' | 'log' | 'config'>): () => Promise<void> {
  let running: Promise<void> = Promise.resolve()
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
  const timer = setInterval(() => {
    running = running.then(run)
  }, everyMs)
  timer.unref()
  return async () => {
    clearInterval(timer)
    await running
  }
}
