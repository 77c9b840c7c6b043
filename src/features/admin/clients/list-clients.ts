import type { Services } from '../../../services.ts'
import { isoTime } from '../../iso-time.ts'

const timeOrNull = (seconds: number | null): string | null => (seconds === null ? null : isoTime(seconds))

/** All clients, for operators, the oldest first: never a secret, but when each was made and runs out. */
export async function listClients({ store }: Pick<Services, 'store'>): Promise<{ clients: object[] }> {
  const clients = await store.clients.list()
  return {
    clients: clients.map(({ id, name, scopes, networks, secrets, ...times }) => ({
      ...{ id, name, scopes, networks },
      created_at: isoTime(times.created_at),
      expires_at: timeOrNull(times.expires_at),
      disabled_at: timeOrNull(times.disabled_at),
      last_used_at: timeOrNull(times.last_used_at),
      secrets: secrets.map(({ created_at, expires_at }) => ({
        created_at: isoTime(created_at),
        expires_at: timeOrNull(expires_at),
      })),
    })),
  }
}
