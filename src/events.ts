import type { Method } from './methods.ts'

/**
 * Where a request comes from; travels with it for the records. `address` is the client's, an IPv6 one as its /64; `client`:
 * the backend that calls, otherwise it is a person.
 */
export type Caller = { requestId: string; address: string; userAgent: string | null; client?: string }

/**
 * The catalogue of recorded events (ASVS 16.3): each name, and how loud it is in the log. Those with `audit` are also
 * rows of `audit_events`; the others can be caused at will by anybody, so that a row each would be a way to fill the disk.
 */
export const eventCatalogue = {
  'login.failed': { level: 'info', audit: true },
  'login.locked': { level: 'warn', audit: false },
  'login.challenged': { level: 'info', audit: true },
  'session.started': { level: 'info', audit: true },
  'session.raised': { level: 'info', audit: true },
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
  'password.changed': { level: 'warn', audit: true },
  'email.change': { level: 'info', audit: true },
  'email.changed': { level: 'warn', audit: true },
  'account.secured': { level: 'error', audit: true },
  'user.exported': { level: 'info', audit: true },
  'user.deletion_requested': { level: 'warn', audit: true },
  'user.deleted': { level: 'warn', audit: true },
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
  'refresh.repeated': { level: 'warn', audit: true },
  'session.ended': { level: 'info', audit: true },
  'device.added': { level: 'info', audit: true },
  'device.trusted': { level: 'info', audit: true },
  'device.changed': { level: 'info', audit: true },
  'device.removed': { level: 'info', audit: true },
  'user.created': { level: 'info', audit: true },
  'user.changed': { level: 'info', audit: true },
  'user.disabled': { level: 'info', audit: true },
  'user.enabled': { level: 'info', audit: true },
  'user.read': { level: 'info', audit: true },
  'user.searched': { level: 'info', audit: true },
  'password.reset_forced': { level: 'info', audit: true },
  'client.created': { level: 'info', audit: true },
  'client.rotated': { level: 'info', audit: true },
  'client.disabled': { level: 'info', audit: true },
  'client.refused': { level: 'info', audit: true },
  'user.unlocked': { level: 'info', audit: true },
  'key.created': { level: 'info', audit: true },
  'events.read': { level: 'info', audit: true },
  'webhook.created': { level: 'warn', audit: true },
  'webhook.read': { level: 'info', audit: true },
  'webhook.changed': { level: 'warn', audit: true },
  'webhook.disabled': { level: 'error', audit: true },
  'webhook.deleted': { level: 'warn', audit: true },
  'webhook.secret_rotated': { level: 'warn', audit: true },
  'webhook.redelivered': { level: 'info', audit: true },
  'webhook.delivery': { level: 'info', audit: false },
} as const satisfies Record<string, { level: 'info' | 'warn' | 'error'; audit: boolean }>

export type EventType = keyof typeof eventCatalogue

/**
 * What backends are told by webhooks: the changes of an account and of what it is signed in with, and what an operator has
 * to hear. All else is read at `GET /admin/events`.
 */
export const pushedTypes = [
  ...([
    'user.created',
    'user.changed',
    'user.disabled',
    'user.enabled',
    'user.deletion_requested',
    'user.deleted',
  ] as const),
  ...(['email.changed', 'password.changed', 'password.reset_forced'] as const),
  ...(['factor.added', 'factor.replaced', 'factor.removed', 'factor.locked', 'recovery_code.used'] as const),
  ...(['session.started', 'session.ended', 'refresh.reused'] as const),
  ...(['device.added', 'device.trusted', 'device.removed'] as const),
  ...(['account.secured', 'sms.spend', 'webhook.disabled'] as const),
] as const satisfies EventType[]

/** Something that happened. Never holds a password, code, token, e-mail or phone number. */
export type Event = {
  type: EventType
  outcome: string
  caller?: Caller
  userId?: string
  factor?: 'password' | Method
  detail?: string
  /** At a command line. Otherwise whoever calls has done it, or, where nobody does, the service itself. */
  byOperator?: true
}

/** The columns of `audit_events`, as the SQL function record_event takes them. */
export function auditRow(event: Event): string {
  const { caller, byOperator } = event
  const actor = byOperator
    ? 'operator'
    : caller === undefined
      ? 'system'
      : caller.client === undefined
        ? 'user'
        : 'client'
  return JSON.stringify({
    type: event.type,
    outcome: event.outcome,
    factor: event.factor,
    address: caller?.address,
    request_id: caller?.requestId,
    user_agent: caller?.userAgent,
    detail: event.detail,
    actor_type: actor,
    actor_id: caller?.client,
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
    const { caller, type, byOperator, ...fields } = event
    // What an operator has typed alarms nobody: it is no line between the answers of a command.
    listeners.log[byOperator ? 'info' : eventCatalogue[type].level](
      {
        event: type,
        ...fields,
        ...(caller && { requestId: caller.requestId, address: caller.address, client: caller.client }),
        ...(byOperator && { byOperator }),
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
