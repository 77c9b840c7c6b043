/**
 * A user's whole life with the service, as plain rules on plain data: what each step is answered with, and what is stored
 * after it. All numbers are the contract's, written down once more. Times are seconds since the beginning.
 */
const [minute, hour, day] = [60, 3_600, 86_400]

/** Wrong passwords under one key, as counted at `from`, and until when it is locked. */
type Throttle = { failures: number; from: number; until: number }
/** Wrong codes of one class: in a row, until when those lock, and when each was tried. */
type Guard = { streak: number; until: number; failed: number[] }
/** What a text counts for, and whether the network lost it. */
export type Text = {
  at: number
  known: boolean
  phone: number
  state: TextState
  isLost: boolean
  challenge: Challenge
}
export type TextState = 'open' | 'finished' | 'refused' | 'unsure'
export type Challenge = {
  /** The device or place it belongs to, or the session that it raises. */
  owner: Device | Session | number
  known: boolean
  attempts: number
  sends: number
  sentAt: number
  expires: number
  ends: number
  isUsed: boolean
  isReplaced: boolean
}
export type Pending = { challenge: Challenge; remember: boolean }
export type Session = {
  device: Device | null
  generation: number
  rotatedAt: number
  idle: number
  expires: number
  provenAt: number
  failedProofs: number[]
  remember: boolean
  acr: string
  ended: boolean
}
export type Device = {
  expires: number
  trustedUntil: number
  failures: number
  throttle: Throttle
  usedAt: number
  gone: boolean
}
/** Where a login comes from: a place where nobody is known, or a client that shows a device's token there. */
export type Client = { place: number; device: Device | null }
export type Model = ReturnType<typeof newModel>

const newThrottle = (): Throttle => ({ failures: 0, from: 0, until: 0 })
const newGuard = (): Guard => ({ streak: 0, until: 0, failed: [] })

export const newModel = () => ({
  now: 0,
  disabled: false,
  phone: 0,
  strangers: newThrottle(),
  guards: { known: newGuard(), strangers: newGuard() },
  texts: [] as Text[],
  challenges: [] as Challenge[],
  pendings: [] as Pending[],
  sessions: [] as Session[],
  devices: [] as Device[],
})

export const isLive = (model: Model, session: Session): boolean =>
  !session.ended && session.expires > model.now && session.idle > model.now && !model.disabled

/** Who changes an account has proven a second factor in the last ten minutes. */
const isFresh = ({ now }: Model, { acr, provenAt }: Session): boolean => acr === 'aal2' && now - provenAt <= 10 * minute
const stale = '401 insufficient_user_authentication'

const guardOf = ({ guards }: Model, known: boolean): Guard => (known ? guards.known : guards.strangers)
const isSession = (owner: Challenge['owner']): owner is Session => typeof owner === 'object' && 'generation' in owner

const remembered = ({ now }: Model, { failures, from }: Throttle): number =>
  Math.max(0, failures - Math.floor((now - from) / hour))

/** Counts a wrong password before it is looked at; false while the counter is locked. */
function charge(model: Model, throttle: Throttle): boolean {
  const { now } = model
  if (throttle.until > now) return false
  const before = remembered(model, throttle)
  throttle.from = before === 0 ? now : throttle.from + (throttle.failures - before) * hour
  throttle.failures = before + 1
  throttle.until = before >= 4 ? now + Math.min(30 * 2 ** (before - 4), hour) : 0
  return true
}

function areCodesLocked({ now }: Model, { until, failed }: Guard): boolean {
  const [twentieth = -day, hundredth = -30 * day] = [failed.at(-20), failed.at(-100)]
  return until > now || twentieth + day > now || hundredth + 30 * day > now
}

function triesLeft(model: Model, { attempts, known, owner }: Challenge): number {
  const guard = guardOf(model, known)
  if (areCodesLocked(model, guard)) return 0
  const { streak, failed } = guard
  const within = (times: number[], seconds: number) => times.filter((at) => at > model.now - seconds).length
  const ofOwner = isSession(owner) ? 5 - within(owner.failedProofs, day) : streak < 10 ? 10 - streak : 5 - (streak % 5)
  return Math.min(5 - attempts, ofOwner, 20 - within(failed, day), 100 - within(failed, 30 * day))
}

const isCooling = ({ state, isLost }: Text): boolean =>
  state === 'refused' || state === 'unsure' || (state === 'open' && !isLost)

/** Reserves a text: what its budgets refuse, or null. */
function refusalOfText(model: Model, challenge: Challenge): string | null {
  const { known } = challenge
  const recent = model.texts.filter(({ at }) => at > model.now - day)
  const open = recent.filter((text) => text.known === known && text.state === 'open')
  const inAll = recent.filter(({ phone, state }) => phone === model.phone && state !== 'refused')
  if (open.filter(({ at }) => at > model.now - hour).length >= 5 || open.length >= 10 || inAll.length >= 30) {
    return '429 sms_limit_reached'
  }
  if (recent.some((text) => text.known === known && isCooling(text) && text.at > model.now - minute)) {
    return '429 resend_too_soon'
  }
  model.texts.push({ at: model.now, known, phone: model.phone, state: 'open', isLost: false, challenge })
  return null
}

function noteSent({ now }: Model, challenge: Challenge): void {
  challenge.sends += 1
  challenge.sentAt = now
  challenge.expires = Math.min(now + 5 * minute, challenge.ends)
}

const isOver = (model: Model, { isUsed, isReplaced, ends }: Challenge): boolean =>
  isUsed || isReplaced || ends <= model.now || model.disabled

/** Joins the live challenge of its owner or opens one; of a class's logins the three youngest stay. */
function open(model: Model, owner: Challenge['owner'], known: boolean, remember: boolean): string {
  if (areCodesLocked(model, guardOf(model, known))) return '429 second_factor_locked'
  const { now, challenges } = model
  const last = challenges.findLast((one) => one.owner === owner && !one.isReplaced)
  let challenge = last !== undefined && !last.isUsed && last.attempts < 5 && last.expires > now ? last : undefined
  if (challenge === undefined) {
    const [expires, ends] = [now + 5 * minute, now + 10 * minute]
    challenge = { owner, known, attempts: 0, sends: 1, sentAt: now, expires, ends, isUsed: false, isReplaced: false }
    const refusal = refusalOfText(model, challenge)
    if (refusal !== null) return refusal
    if (last !== undefined) last.isReplaced = true
    challenges.push(challenge)
    const rivals = challenges.filter((one) => one.known === known && !isSession(one.owner) && !isOver(model, one))
    for (const one of rivals.slice(0, -3)) one.isReplaced = true
  } else if (challenge.sends < 3 && refusalOfText(model, challenge) === null) {
    noteSent(model, challenge)
  }
  model.pendings.push({ challenge, remember })
  return '200 2fa_required'
}

/** The device of a login that is finished: the one it came with, or a new one. */
function useDevice(model: Model, came: Device | null, trust: boolean, mayMake: boolean): Device | null {
  const { now, devices } = model
  let device = came !== null && !came.gone && came.expires > now ? came : null
  if (device === null) {
    if (!mayMake) return null
    device = { expires: 0, trustedUntil: 0, failures: 0, throttle: newThrottle(), usedAt: now, gone: false }
    devices.push(device)
  }
  device.expires = now + 90 * day
  if (trust) device.trustedUntil = now + 30 * day
  return device
}

function start({ sessions, now }: Model, acr: string, remember: boolean, device: Device | null): void {
  const [total, idle] = remember ? [30 * day, 14 * day] : [12 * hour, 12 * hour]
  const times = { rotatedAt: 0, idle: now + idle, expires: now + total, provenAt: now }
  sessions.push({ device, generation: 0, ...times, failedProofs: [], remember, acr, ended: false })
}

/** Whether a token makes its bearer known. */
export const isKnown = ({ now }: Model, device: Device | null): device is Device =>
  device !== null && !device.gone && device.expires > now

export function login(model: Model, { place, device: shown }: Client, isRight: boolean, remember: boolean): string {
  const device = isKnown(model, shown) ? shown : null
  const throttle = device?.throttle ?? model.strangers
  if (!charge(model, throttle)) return '429 login_locked'
  if (device !== null) device.failures += 1
  if (!isRight || model.disabled) {
    if (device !== null && device.failures >= 20) device.gone = true
    return '401 invalid_credentials'
  }
  // A stranger gets back the own charge; a device starts anew.
  throttle.failures = device === null ? throttle.failures - 1 : 0
  throttle.until = 0
  if (device === null) return open(model, place, false, remember)
  device.failures = 0
  if (device.trustedUntil <= model.now) return open(model, device, true, remember)
  start(model, 'aal1', remember, useDevice(model, device, false, false))
  return '200 authenticated'
}

export const stepUp = (model: Model, session: Session): string =>
  isLive(model, session) ? open(model, session, true, false) : '401 invalid_token'

/** Why a challenge takes no answer, or null. */
function refusalOfTry(model: Model, challenge: Challenge): string | null {
  if (isOver(model, challenge)) return '401 invalid_token'
  if (areCodesLocked(model, guardOf(model, challenge.known))) return '429 second_factor_locked'
  return challenge.attempts >= 5 ? '429 code_attempts_exhausted' : null
}

export function code(model: Model, { challenge, remember }: Pending, isRight: boolean, trust: boolean): string {
  const { now } = model
  const { owner, known } = challenge
  const session = isSession(owner) ? owner : null
  if (session !== null && !isLive(model, session)) return '401 invalid_token'
  const refusal = refusalOfTry(model, challenge)
  if (refusal !== null) return refusal
  if (challenge.expires <= now) return '410 code_expired'
  const guard = guardOf(model, known)
  challenge.attempts += 1
  if (!isRight) {
    guard.failed = [...guard.failed.filter((at) => at > now - 30 * day), now]
    if (session === null) {
      guard.streak += 1
      const doublings = (guard.streak - 10) / 5
      if (doublings >= 0 && Number.isInteger(doublings)) guard.until = now + Math.min(15 * minute * 2 ** doublings, day)
    } else {
      session.failedProofs = [...session.failedProofs.filter((at) => at > now - day), now]
      if (session.failedProofs.length >= 5) session.ended = true
    }
    return `422 invalid_code ${triesLeft(model, challenge)}`
  }
  challenge.isUsed = true
  if (guard.streak > 0) Object.assign(guard, { streak: 0, until: 0 })
  for (const text of model.texts) {
    if (text.challenge === challenge && ['open', 'unsure'].includes(text.state)) text.state = 'finished'
  }
  const came = session !== null ? session.device : typeof owner === 'number' ? null : (owner as Device)
  const device = useDevice(model, came, trust, session === null)
  if (session === null) start(model, 'aal2', remember, device)
  else Object.assign(session, { acr: 'aal2', provenAt: now, failedProofs: [] })
  return '200 authenticated'
}

export function resend(model: Model, { challenge }: Pending): string {
  const refusal = refusalOfTry(model, challenge)
  if (refusal !== null) return refusal
  if (challenge.sends >= 3) return '429 sms_limit_reached'
  const refused = refusalOfText(model, challenge)
  if (refused === null) noteSent(model, challenge)
  return refused ?? '200'
}

/** The provider's word about the newest text of a login: refused it, failed at it, or lost it on its way. */
export function report(model: Model, { challenge }: Pending, word: 'refused' | 'unsure' | 'lost'): void {
  const text = model.texts.findLast((one) => one.challenge === challenge)
  if (text === undefined || text.isLost || text.state === 'refused' || text.state === 'unsure') return
  text.isLost = true
  if (word !== 'lost' && text.state === 'open') text.state = word
}

export function refresh(model: Model, session: Session, generation: number): string {
  const { now } = model
  if (!isLive(model, session)) return '401 invalid_token'
  if (generation === session.generation) {
    session.generation += 1
    session.rotatedAt = now
    if (session.remember) session.idle = now + 14 * day
    return '200 authenticated'
  }
  if (generation === session.generation - 1 && session.rotatedAt > now - 30) return '200 authenticated'
  session.ended = true
  return '401 refresh_token_reused'
}

export function logout(model: Model, session: Session, scope: 'local' | 'others' | 'all'): string {
  if (!isLive(model, session)) return '401 invalid_token'
  if (scope !== 'local' && !isFresh(model, session)) return stale
  for (const one of model.sessions) {
    const isMeant = scope === 'all' || (scope === 'local') === (one === session)
    if (isMeant && one.expires > model.now) one.ended = true
  }
  return '204'
}

/** Forgets a device, or with `trust` ends its trust only. */
export function dropDevice(model: Model, session: Session, device: Device, what: 'trust' | 'device'): string {
  if (!isLive(model, session)) return '401 invalid_token'
  if (what === 'trust') {
    if (!isKnown(model, device)) return '404 not_found'
    device.trustedUntil = 0
    return '200'
  }
  if (session.device !== device && !isFresh(model, session)) return stale
  if (device.gone) return '404 not_found'
  device.gone = true
  for (const one of model.sessions) if (one.device === device) one.ended = true
  return '204'
}

/** The account is changed, disabled or enabled: whatever was begun before ends. */
export function change(model: Model, changed: { disabled?: boolean; phone?: number; password?: true } = {}): void {
  model.disabled = changed.disabled ?? model.disabled
  model.phone = changed.phone ?? model.phone
  for (const challenge of model.challenges) if (!challenge.isUsed) challenge.isReplaced = true
  for (const session of model.sessions) session.ended = true
  for (const device of model.devices) device.trustedUntil = 0
  if (changed.phone !== undefined || changed.password) unlock(model, true)
}

/** Ends the locks and the streaks; with `all` also what is counted of codes and texts. */
export function unlock(model: Model, all: boolean): void {
  model.strangers = newThrottle()
  for (const device of model.devices) if (!device.gone) Object.assign(device, { failures: 0, throttle: newThrottle() })
  for (const guard of Object.values(model.guards)) Object.assign(guard, { streak: 0, until: 0 })
  if (!all) return
  model.guards = { known: newGuard(), strangers: newGuard() }
  for (const text of model.texts) text.state = 'finished'
}

const word = (session: Session): string =>
  `${session.generation} ${session.acr} ${session.ended ? 'ended' : 'not ended'} ${session.failedProofs.length}`

/** What must be stored now. */
export function storedOf(model: Model) {
  const { sessions, devices, guards, texts, now } = model
  const kinds = texts
    .filter(({ at }) => at > now - day)
    .map(({ known, state }) => `${known ? 'known' : 'strangers'} ${state}`)
  return {
    sessions: sessions.map(word),
    devices: devices
      .filter(({ gone }) => !gone)
      .map((device) => {
        const trust = device.trustedUntil > now ? 'trusted' : 'not trusted'
        return `${device.failures} ${remembered(model, device.throttle)} ${trust}`
      }),
    guards: [guards.known, guards.strangers].map(({ streak, failed }) => `${streak} ${failed.length}`),
    throttle: remembered(model, model.strangers),
    waiting: [true, false].map(
      (known) =>
        model.challenges.filter((one) => one.known === known && !isSession(one.owner) && !isOver(model, one)).length,
    ),
    texts: kinds.sort(),
  }
}
