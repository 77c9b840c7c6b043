import { auditRow, type Event } from '../events.ts'
import type { Database } from './client.ts'

/** The device of a login: made when it is finished, unless it came with one. `life` and `trust_life` in seconds. */
export type NewDevice = {
  id: string
  token_hash: string
  name: string | null
  address: string
  user_agent: string | null
  life: number
  trust: boolean
  trust_life: number
}

/** What became of it: whether it was made, and until when (seconds since 1970) the login's device is trusted. */
export type DeviceState = { made: boolean; trusted_until: number | null }

/** A known device in its owner's list; moments in seconds since 1970. */
export type DeviceSummary = {
  id: string
  name: string | null
  created_at: number
  last_used_at: number
  trusted_until: number | null
  address: string | null
  user_agent: string | null
}

export function createDevices(db: Database) {
  return {
    /** The devices a user is known by, the one used last first. */
    list: async (userId: string): Promise<DeviceSummary[]> => await db.decide('list_devices', userId),

    /** Names a device anew, ends its trust; what of it has changed, null if the user has no such device. */
    change: async (
      userId: string,
      id: string,
      change: { name: string | null; endsTrust: boolean },
      event: Event,
    ): Promise<'trust ended' | 'named' | 'nothing' | null> => {
      return await db.decide('change_device', userId, id, change.name, change.endsTrust, auditRow(event))
    },

    /** Forgets a device and ends its sessions; false if the user has no such device. */
    forget: async (userId: string, id: string, event: Event): Promise<boolean> => {
      return await db.decide('forget_device', userId, id, auditRow(event))
    },
  }
}
