import type { Method } from './methods.ts'

/** Where a request comes from; travels with it for the records. `address` is the client's, an IPv6 one as its /64. */
export type Caller = { requestId: string; address: string; userAgent: string | null }

/**
 * The catalogue of recorded events (ASVS 16.3): each name, and how loud it is in the log. Those with `audit` are also
 * rows of `audit_events`; the others can be caused at will by anybody, so that a row each would be a way to fill the disk.
 */
export const eventCatalogue = {
  'login.failed': { level: 'info', audit: true },
  'login.locked': { level: 'warn', audit: false },
  'login.challenged': { level: 'info', audit: true },
  'login.succeeded': { level: 'info', audit: true },
  'code.failed': { level: 'info', audit: true },
  'password.failed': { level: 'info', audit: true },
  'code.refused': { level: 'warn', audit: false },
  'code.resent': { level: 'info', audit: true },
  'code.abandoned': { level: 'info', audit: true },
  'mailbox.proven': { level: 'info', audit: true },
  'factor.enrolment': { level: 'info', audit: true },
  'factor.added': { level: 'info', audit: true },
  'factor.replaced': { level: 'warn', audit: true },
  'factor.removed': { level: 'warn', audit: true },
  'factor.locked': { level: 'warn', audit: true },
  'passkey.counter_back': { level: 'warn', audit: true },
  'recovery_code.used': { level: 'warn', audit: true },
  'recovery_codes.renewed': { level: 'warn', audit: true },
  'sms.refused': { level: 'warn', audit: true },
  'mail.refused': { level: 'warn', audit: true },
  'sms.delivery': { level: 'info', audit: false },
  'mail.delivery': { level: 'info', audit: false },
  'sms.spend': { level: 'error', audit: true },
  'request.limited': { level: 'warn', audit: false },
  'address.unreadable': { level: 'warn', audit: false },
  'client.rejected': { level: 'warn', audit: false },
  'token.rejected': { level: 'info', audit: false },
  'refresh.reused': { level: 'error', audit: true },
  'session.ended': { level: 'info', audit: true },
  'device.changed': { level: 'info', audit: true },
  'device.removed': { level: 'info', audit: true },
  'user.created': { level: 'info', audit: true },
  'user.changed': { level: 'info', audit: true },
  'user.unlocked': { level: 'info', audit: true },
  'key.created': { level: 'info', audit: true },
} as const satisfies Record<string, { level: 'info' | 'warn' | 'error'; audit: boolean }>

export type EventType = keyof typeof eventCatalogue

/** Something that happened. Never holds a password, code, token, e-mail or phone number. */
export type Event = {
  type: EventType
  outcome: string
  caller?: Caller
  userId?: string
  factor?: 'password' | Method
  detail?: string
}

/** The columns of `audit_events`, as the SQL function record_event takes them. */
export function auditRow(event: Event): string {
  return JSON.stringify({
    type: event.type,
    outcome: event.outcome,
    factor: event.factor,
    address: event.caller?.address,
    request_id: event.caller?.requestId,
    user_agent: event.caller?.userAgent,
    detail: event.detail,
  })
}

export type Events = {
  /** Tells log and metrics. The audit row, if the event has one, was written together with the change it records. */
  announce(event: Event): void
  /** Writes the audit row, then announces. */
  record(event: Event): Promise<void>
}

type Log = Record<'info' | 'warn' | 'error', (fields: object, message: string) => void>

/** Binds the three listeners: `saveRow` for the audit table, the log, and a counter by type and outcome. */
export function createEvents(listeners: {
  saveRow: (event: Event) => Promise<void>
  log: Log
  count: (type: EventType, outcome: string) => void
}): Events {
  const announce = (event: Event): void => {
    listeners.count(event.type, event.outcome)
    const { caller, type, ...fields } = event
    listeners.log[eventCatalogue[type].level](
      {
        event: type,
        ...fields,
        ...(caller && { requestId: caller.requestId, address: caller.address }),
      },
      type,
    )
  }
  const record = async (event: Event): Promise<void> => {
    if (eventCatalogue[event.type].audit) await listeners.saveRow(event)
    announce(event)
  }
  return { announce, record }
}
