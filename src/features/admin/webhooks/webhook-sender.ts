import type { Services } from '../../../services.ts'
import { type DeliveryServices, deliver } from './deliver.ts'

/** How soon a change is told: half of it on average. */
const everyMs = 2_000

/** Events that are looked through for one endpoint at a time. */
const batchSize = 1_000

/** Deliveries to one endpoint under way at a time, of one replica: a slow one keeps no other waiting, nor is it flooded. */
const laneWidth = 4

/** Milliseconds that tries under way get at a stop; they are made again elsewhere. */
const graceMs = 4_000

/** Makes the deliveries of all that can be read of the log by now; after each batch, the endpoints that have something to send. */
async function* makeDeliveries({ store }: Pick<Services, 'store'>): AsyncGenerator<string[]> {
  for (;;) {
    const { more, due } = await store.webhooks.makeDeliveries(batchSize)
    yield due
    if (!more) return
  }
}

/** Sends what is due to one endpoint, until nothing is or `isStopped`; how many tries were made. */
export async function sendDeliveries(
  services: DeliveryServices,
  webhookId: string,
  isStopped: () => boolean = () => false,
): Promise<number> {
  let tried = 0
  while (!isStopped()) {
    const { webhook, deliveries } = await services.store.webhooks.claim(webhookId, laneWidth)
    if (webhook === null || deliveries.length === 0) break
    const ended = await Promise.all(deliveries.map((delivery) => deliver(services, webhook, delivery)))
    tried += deliveries.length
    if (ended.includes(false)) break
  }
  return tried
}

/** Both, for every endpoint at once; how many tries were made. With several replicas each delivery is one's. */
export async function sendDueWebhooks(services: DeliveryServices): Promise<number> {
  let due: string[] = []
  for await (const found of makeDeliveries(services)) due = found
  const tried = await Promise.all(due.map((id) => sendDeliveries(services, id)))
  return tried.reduce((sum, count) => sum + count, 0)
}

/**
 * On every replica: looks into the log each two seconds, and sends to each endpoint in a lane of its own. A failure is logged
 * and tried again. Returns what stops it, once the tries under way are over or were broken off.
 */
export function startWebhookSender(services: DeliveryServices): () => Promise<void> {
  const { log, webhookPoster } = services
  const lanes = new Map<string, Promise<void>>()
  let looking: Promise<void> | undefined
  let isStopped = false
  const failed = (error: Error): void => log.warn({ name: error.name }, 'webhooks were not looked for')

  const open = (id: string): void => {
    if (lanes.has(id)) return
    const lane = sendDeliveries(services, id, () => isStopped).then(() => {}, failed)
    lanes.set(id, lane)
    void lane.finally(() => lanes.delete(id))
  }
  const look = async (): Promise<void> => {
    for await (const due of makeDeliveries(services)) {
      if (isStopped) return
      due.forEach(open)
    }
  }
  const wake = (): void => {
    if (isStopped) return
    looking ??= look()
      .catch(failed)
      .finally(() => {
        looking = undefined
      })
  }

  const timer = setInterval(wake, everyMs)
  timer.unref()
  return async () => {
    isStopped = true
    clearInterval(timer)
    const hurry = setTimeout(webhookPoster.close, graceMs)
    await looking
    await Promise.all(lanes.values())
    clearTimeout(hurry)
  }
}
