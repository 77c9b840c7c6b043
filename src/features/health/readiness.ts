import type { Services } from '../../services.ts'

/** How long one look at the database serves all who ask. */
const cacheMs = 1_000

export type Readiness = {
  status: 'ready' | 'not_ready'
  database: 'ok' | 'not_migrated' | 'read_only' | 'unreachable'
  sms: 'ok' | 'unavailable'
  sms_budget: 'ok' | 'low' | 'exhausted' | 'unknown'
  /** `disabled`: an endpoint was given up, and hears of nothing until somebody enables it. */
  webhooks: 'ok' | 'disabled' | 'unknown'
}

type Found = Pick<Readiness, 'database' | 'sms_budget' | 'webhooks'>

export type ReadinessParts = Pick<Services, 'store' | 'sms' | 'clock' | 'config'> & { isDraining: () => boolean }

/** Looks whether logins can be served, at most once a second whoever asks. */
export function createReadiness(parts: ReadinessParts): () => Promise<Readiness> {
  const { store, sms, clock, config, isDraining } = parts
  let looked: { atMs: number; found: Promise<Found> } | null = null

  const look = async (): Promise<Found> => {
    try {
      if (!(await store.health.isMigrated()))
        return { database: 'not_migrated', sms_budget: 'unknown', webhooks: 'unknown' }
      if (!(await store.health.isWritable()))
        return { database: 'read_only', sms_budget: 'unknown', webhooks: 'unknown' }
      const used = await store.messages.used()
      const share = Math.max(
        used.hour / config.sms.globalHour,
        used.day / config.sms.globalDay,
        used.spent / config.sms.spendDay,
      )
      const webhooks = (await store.webhooks.anyGivenUp()) ? 'disabled' : 'ok'
      return { database: 'ok', sms_budget: share >= 1 ? 'exhausted' : share >= 0.8 ? 'low' : 'ok', webhooks }
    } catch {
      return { database: 'unreachable', sms_budget: 'unknown', webhooks: 'unknown' }
    }
  }

  return async () => {
    const now = clock.nowMs()
    if (looked === null || now - looked.atMs >= cacheMs || now < looked.atMs) looked = { atMs: now, found: look() }
    const found = await looked.found
    const isReady = found.database === 'ok' && !isDraining()
    const canSend = config.sms.provider === 'none' || sms.isAvailable()
    return { status: isReady ? 'ready' : 'not_ready', ...found, sms: canSend ? 'ok' : 'unavailable' }
  }
}
