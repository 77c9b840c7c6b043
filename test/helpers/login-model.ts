/**
 * A user's whole life with the service, as plain rules on plain data: what each step is answered with, and what is stored
 * after it. All numbers are the contract's, written down once more. Times are seconds since the beginning.
 */
const [minute, hour, day] = [60, 3_600, 86_400]

export type Challenge = {
  attempts: number
  sends: number
  sentAt: number
  expires: number
  ends: number
  over: boolean
}
export type Pending = { challenge: Challenge; raises: Session | null; remember: boolean }
export type Session = {
  generation: number
  rotatedAt: number
  idle: number
  expires: number
  remember: boolean
  acr: string
  ended: boolean
}
export type Device = { expires: number; failures: number[]; gone: boolean }
export type Model = ReturnType<typeof newModel>
type Purpose = 'login' | 'stepUp'

export const newModel = () => ({
  now: 0,
  disabled: false,
  /** Wrong passwords in a row, and until when the e-mail is locked. */
  throttle: { failures: 0, until: 0 },
  /** Wrong codes in a row, and until when the second factor is locked. */
  streak: { count: 0, until: 0 },
  /** When wrong codes were tried, and when texts were sent that led to nothing yet. */
  failed: [] as number[],
  texts: [] as number[],
  live: { login: null, stepUp: null } as Record<Purpose, Challenge | null>,
  pendings: [] as Pending[],
  sessions: [] as Session[],
  devices: [] as Device[],
})

export const isLive = (model: Model, session: Session): boolean =>
  !session.ended && session.expires > model.now && session.idle > model.now

function isFactorLocked({ streak, failed, now }: Model): boolean {
  const twentieth = failed.at(-20)
  return streak.until > now || (twentieth !== undefined && twentieth + day > now)
}

function triesLeft(model: Model): number {
  if (isFactorLocked(model)) return 0
  const { streak, failed, now } = model
  const ofStreak = streak.count < 10 ? 10 - streak.count : 5 - (streak.count % 5)
  return Math.min(ofStreak, 20 - failed.filter((at) => at > now - day).length)
}

/** Reserves a text: what its budgets refuse, or null. */
function refusalOfText(model: Model): string | null {
  const within = (seconds: number) => model.texts.filter((at) => at > model.now - seconds).length
  if (within(hour) >= 5 || within(day) >= 10) return '429 sms_limit_reached'
  if (within(minute) > 0) return '429 resend_too_soon'
  model.texts.push(model.now)
  return null
}

function noteSent({ now }: Model, challenge: Challenge): void {
  challenge.sends += 1
  challenge.sentAt = now
  challenge.expires = Math.min(now + 5 * minute, challenge.ends)
}

function open(model: Model, purpose: Purpose, pending: Omit<Pending, 'challenge'>): string {
  if (isFactorLocked(model)) return '429 second_factor_locked'
  const { now, live } = model
  const last = live[purpose]
  let challenge = last !== null && !last.over && last.attempts < 5 && last.expires > now ? last : null
  if (challenge === null) {
    const refusal = refusalOfText(model)
    if (refusal !== null) return refusal
    if (last !== null) last.over = true
    challenge = { attempts: 0, sends: 1, sentAt: now, expires: now + 5 * minute, ends: now + 10 * minute, over: false }
    live[purpose] = challenge
  } else if (challenge.sends < 3 && challenge.sentAt + minute <= now && refusalOfText(model) === null) {
    noteSent(model, challenge)
  }
  model.pendings.push({ ...pending, challenge })
  return '200 2fa_required'
}

function start({ sessions, now }: Model, acr: string, remember: boolean): void {
  const [total, idle] = remember ? [30 * day, 14 * day] : [12 * hour, 12 * hour]
  sessions.push({ generation: 0, rotatedAt: 0, idle: now + idle, expires: now + total, remember, acr, ended: false })
}

export function login(model: Model, isRight: boolean, remember: boolean, token: Device | null): string {
  const { now, throttle } = model
  const device = token !== null && !token.gone && token.expires > now ? token : null
  if (device !== null) {
    device.failures = device.failures.filter((at) => at > now - 15 * minute)
    if (device.failures.length >= 10) return '429 login_locked'
    device.failures.push(now)
  } else {
    if (throttle.until > now) return '429 login_locked'
    throttle.failures += 1
    if (throttle.failures >= 5) throttle.until = now + Math.min(30 * 2 ** (throttle.failures - 5), hour)
  }
  if (!isRight || model.disabled) return '401 invalid_credentials'
  if (device === null) {
    model.throttle = { failures: 0, until: 0 }
    return open(model, 'login', { raises: null, remember })
  }
  device.failures = []
  start(model, 'aal1', remember)
  return '200 authenticated'
}

export function stepUp(model: Model, session: Session): string {
  return isLive(model, session) ? open(model, 'stepUp', { raises: session, remember: false }) : '401 invalid_token'
}

const isOver = (model: Model, { over, ends }: Challenge): boolean => over || ends <= model.now

export function code(model: Model, { challenge, raises, remember }: Pending, isRight: boolean, trust: boolean): string {
  const { now, streak } = model
  if (isOver(model, challenge)) return '401 invalid_token'
  if (isFactorLocked(model)) return '429 second_factor_locked'
  if (challenge.attempts >= 5) return '429 code_attempts_exhausted'
  if (challenge.expires <= now) return '410 code_expired'
  challenge.attempts += 1
  streak.count += 1
  model.failed = [...model.failed.filter((at) => at > now - 30 * day), now]
  if (streak.count >= 10 && streak.count % 5 === 0) {
    streak.until = now + Math.min(15 * minute * 2 ** ((streak.count - 10) / 5), day)
  }
  if (!isRight) return `422 invalid_code ${Math.min(5 - challenge.attempts, triesLeft(model))}`
  // A right code is no failure, also when the session that it would raise is gone.
  model.failed.pop()
  if (raises !== null && !isLive(model, raises)) return '401 invalid_token'
  challenge.over = true
  model.streak = { count: 0, until: 0 }
  model.texts = []
  if (raises !== null) raises.acr = 'aal2'
  else start(model, 'aal2', remember)
  if (trust) model.devices.push({ expires: now + 30 * day, failures: [], gone: false })
  return '200 authenticated'
}

export function resend(model: Model, { challenge }: Pending): string {
  if (isOver(model, challenge)) return '401 invalid_token'
  if (isFactorLocked(model)) return '429 second_factor_locked'
  if (challenge.attempts >= 5) return '429 code_attempts_exhausted'
  if (challenge.sends >= 3) return '429 sms_limit_reached'
  if (challenge.sentAt + minute > model.now) return '429 resend_too_soon'
  const refusal = refusalOfText(model)
  if (refusal === null) noteSent(model, challenge)
  return refusal ?? '200'
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
  for (const one of model.sessions) {
    const isMeant = scope === 'all' || (scope === 'local') === (one === session)
    if (isMeant && one.expires > model.now) one.ended = true
  }
  return '204'
}

/** The account is changed, disabled or enabled: whatever was begun before ends. */
export function change(model: Model, disabled = model.disabled): void {
  model.disabled = disabled
  for (const challenge of Object.values(model.live)) if (challenge !== null) challenge.over = true
  for (const session of model.sessions) session.ended = true
  for (const device of model.devices) device.gone = true
}

/** What must be stored now. */
export const storedOf = ({ sessions, devices, streak, failed, throttle, texts, now }: Model) => ({
  sessions: sessions.map(({ generation, acr, ended }) => `${generation} ${acr} ${ended ? 'ended' : 'not ended'}`),
  devices: devices.filter(({ gone }) => !gone).map(({ failures }) => failures.length),
  streak: streak.count,
  failed: failed.length,
  throttle: throttle.failures,
  texts: texts.filter((at) => at > now - day).length,
})
