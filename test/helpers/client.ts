import type { AddressInfo } from 'node:net'
import { createDoorstep, type DoorstepOptions, memoryStorage, type TokenStorage } from '../../src/client/index.ts'
import type { Doorstep } from './doorstep.ts'

/** Lets the service listen; its address. */
export async function listen({ app }: Pick<Doorstep, 'app'>): Promise<string> {
  await app.listen({ host: '127.0.0.1', port: 0 })
  return `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
}

/** What was sent: method and path, the credential, and the body. */
export type Sent = { what: string; authorization: string | null; body: string }

/** `fetch` that writes down what it sends. `answer`, where it gives something, answers in place of the service. */
export function wiretap(
  answer: (sent: Sent) => Response | undefined | Promise<Response | undefined> = () => undefined,
) {
  const sent: Sent[] = []
  return {
    sent,
    times: (what: string): number => sent.filter((it) => it.what === what).length,
    fetch: async (request: Request): Promise<Response> => {
      const { method, url, headers } = request
      const body = await request.clone().text()
      const one = { what: `${method} ${new URL(url).pathname}`, authorization: headers.get('authorization'), body }
      sent.push(one)
      return (await answer(one)) ?? fetch(request)
    },
  }
}

/** A client with a storage that the test can look into. */
export function createClient(baseUrl: string, options: Partial<DoorstepOptions> = {}) {
  const storage: TokenStorage = options.storage ?? memoryStorage()
  const client = createDoorstep({ baseUrl, ...options, storage })
  const kept = async () => JSON.parse((await storage.get('doorstep.session')) ?? 'null')
  return {
    client,
    storage,
    kept,
    device: () => storage.get('doorstep.device'),
    /** Makes the access token as good as run out. */
    wear: async () => storage.set('doorstep.session', JSON.stringify({ ...(await kept()), renewAtMs: 0 })),
  }
}
