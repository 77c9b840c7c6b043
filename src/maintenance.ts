import type { Services } from './services.ts'

const everyMs = 60_000

/**
 * Deletes what has run out once a minute, in small batches; every replica may do so at the same time. Returns what
 * stops it. A failure is logged and tried again a minute later.
 */
export function startMaintenance({ store, log }: Pick<Services, 'store' | 'log'>): () => Promise<void> {
  let running: Promise<void> = Promise.resolve()
  const run = async (): Promise<void> => {
    try {
      log.debug(await store.purge.expired(), 'purged')
    } catch (error) {
      log.warn({ name: (error as Error).name }, 'purge failed')
    }
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
