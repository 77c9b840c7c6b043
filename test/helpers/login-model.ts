/**
 * A user's whole life with the service, as plain rules on plain data: what each step is answered with, and what is stored
 * after it. All numbers are the contract's, written down once more. Times are seconds since the beginning.
 */
const [minute, hour, day] = [60, 3_600, 86_400]

/** What can finish a login here, best first. */
export const methods = ['totp', 'sms', 'email', 'recovery_code'] as const
export type Method = (typeof methods)[number]
type Sending = 'sms' | 'email'

const isSending = (method: Method | null): method is Sending => method === 'sms' || method === 'email'
/** Refused while codes are locked, and counted when they are wrong. */
const isGuarded = (method: Method): boolean => method !== 'recovery_code'

/** Wrong passwords under one key, as counted at `from`, and until when it is locked. */
type Throttle = { failures: number; from: number; until: number }
/** Wrong codes of one class: in a row, until when those lock, and when each was tried. */
type Guard = { streak: number; until: number; failed: number[] }
/** A text or a mail with a code: what it counts for, and whether it was lost on its way. */
export type Message = { at: number; known: boolean; state: MessageState; isLost: boolean; challenge: Challenge }
export type Text = Message & { phone: number }
export type MessageState = 'open' | 'finished' | 'refused' | 'unsure'
export type Purpose = 'login' | 'step_up' | 'must_enrol' | 'enrol'
export type Challenge = {
  purpose: Purpose
  /** The device or place it belongs to, the session that it was begun in, or the login that an enrolment is to finish. */
  owner: Device | Session | Challenge | number
  /** The one that waits for this enrolment. */
  parent: Challenge | null
  known: boolean
  device: Device | null
  /** What it goes on with, and with what it has gone on so far. */
  method: Method | null
  begun: Method[]
  provesMailbox: boolean
  attempts: number
  /** The codes that it has sent. */
  codes: Partial<Record<Sending, { sends: number; sentAt: number; expires: number }>>
  /** The phone that an enrolment is to prove. */
  phone: number | null
  begunAt: number
  ends: number
  isUsed: boolean
  isReplaced: boolean
}
/** `session`: that is raised in the end, where one is. */
export type Pending = { challenge: Challenge; remember: boolean; session: Session | null }
export type Session = {
  device: Device | null
  generation: number
  rotatedAt: number
  idle: number
  expires: number
  provenAt: number
  failedProofs: number[]
  remember: boolean
  mailboxProven: boolean
  acr: string
  ended: boolean
}
export type Device = {
  expires: number
  trustedUntil: number
  failures: number
  throttle: Throttle
  usedAt: number
  isUsedAgain: boolean
  gone: boolean
}
/** What an account begins with; `phone`: which one, `totp`: the last step of the authenticator app that was used. */
export type Account = {
  twoFactor: 'required' | 'optional' | 'off'
  phone: number | null
  totp: number | null
  recoveryCodes: number
  mailbox: boolean
}
/** What a session has changed, and what was there before: it can be taken back for a while. `id`: of the factor. */
export type Change = { at: number } & (
  | { kind: 'factor_added'; method: FactorMethod; id: number }
  | { kind: 'factor_removed'; method: FactorMethod; id: number; was: number }
  | { kind: 'recovery_codes'; count: number; setId: number; madeAt: number }
  | { kind: 'email_changed'; email: number; mailbox: boolean }
  | { kind: 'deletion'; isDisabled: boolean }
)
type FactorMethod = 'sms' | 'totp'
/** A mailed link; `since`: from when on a not-me link takes changes back. */
export type LinkKind = 'set_password' | 'confirm_email' | 'not_me'
export type Link = { kind: LinkKind; email: number; at: number; expires: number; isOver: boolean; since: number }
/** A mail with a link that anybody can ask for, if it was sent. */
type LinkMail = { at: number; email: number; known: boolean; network: number }
/** A notice that carries a not-me link, to the mailbox `email`; `isLast`: also to one that is the account's no more. */
type Notice = { at: number; email: number; isLast: boolean }
/** Where a login comes from: a place where nobody is known, or a client that shows a device's token there. */
export type Client = { place: number; device: Device | null }
export type Model = ReturnType<typeof newModel>

const newThrottle = (): Throttle => ({ failures: 0, from: 0, until: 0 })
const newGuard = (): Guard => ({ streak: 0, until: 0, failed: [] })

export const newModel = (account: Account) => ({
  now: 0,
  disabled: false,
  /** When a user who leaves will be erased. */
  erasesAt: null as number | null,
  account: { ...account },
  /** Which of the user's mailboxes is the account's, and the wrong passwords of strangers under each. */
  email: 0,
  throttles: [newThrottle(), newThrottle(), newThrottle()] as [Throttle, Throttle, Throttle],
  password: 'set' as 'set' | 'reset_required',
  /** The password was set by a link, and nothing but the mailbox was proven since. */
  isMailNoProof: false,
  /** Which factors and recovery codes these are; every new one has a number of its own. */
  ids: { sms: 0, totp: 0, codes: 0 },
  codesMadeAt: -1,
  nextId: 1,
  changes: [] as Change[],
  links: [] as Link[],
  linkMails: [] as LinkMail[],
  emailChanges: [] as number[],
  notices: [] as Notice[],
  /** When everything was taken back, and from when on. */
  secured: [] as { since: number; at: number }[],
  guards: { known: newGuard(), strangers: newGuard() },
  texts: [] as Text[],
  mails: [] as Message[],
  challenges: [] as Challenge[],
  pendings: [] as Pending[],
  sessions: [] as Session[],
  devices: [] as Device[],
})

export const isLive = (model: Model, session: Session): boolean =>
  !session.ended && session.expires > model.now && session.idle > model.now && !model.disabled

const hasFactor = ({ account }: Model): boolean => account.phone !== null || account.totp !== null

/** Who changes an account has proven the best it has in the last ten minutes. */
const isFresh = (model: Model, { acr, provenAt }: Session): boolean =>
  (acr === 'aal2' || !hasFactor(model)) && model.now - provenAt <= 10 * minute
const stale = '401 insufficient_user_authentication'

const strangersOf = ({ throttles, email }: Model): Throttle => throttles[email] ?? throttles[0]
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

/** What finishes a login of this account, or proves a session anew. */
function methodsOf({ account, isMailNoProof }: Model, purpose: Purpose): Method[] {
  const has: Record<Method, boolean> = {
    totp: account.totp !== null,
    sms: account.phone !== null,
    email: account.mailbox && !isMailNoProof && purpose === 'login',
    recovery_code: account.recoveryCodes > 0,
  }
  return has.totp || has.sms ? methods.filter((method) => has[method]) : []
}

/** What can finish a challenge while nothing is locked. */
function allMethods(model: Model, { purpose, provesMailbox, method }: Challenge): string[] {
  if (purpose === 'enrol') return method === null ? [] : [method]
  if (purpose === 'must_enrol') return ['passkey', 'totp', 'sms']
  return provesMailbox ? ['email'] : methodsOf(model, purpose)
}

/** The methods that are shown with a challenge. */
function methodsShown(model: Model, challenge: Challenge): string[] {
  const { purpose, known } = challenge
  const isLocked = ['login', 'step_up'].includes(purpose) && areCodesLocked(model, guardOf(model, known))
  return allMethods(model, challenge).filter((it) => !isLocked || it === 'recovery_code')
}

/** The tries that are left of a challenge by a method. */
function triesLeft(model: Model, { attempts, known, purpose, owner }: Challenge, method: Method): number {
  const within = (times: number[], seconds: number) => times.filter((at) => at > model.now - seconds).length
  const left = [5 - attempts]
  if (purpose === 'step_up' && isSession(owner)) left.push(5 - within(owner.failedProofs, day))
  if (purpose !== 'enrol' && isGuarded(method)) {
    const guard = guardOf(model, known)
    if (areCodesLocked(model, guard)) return Math.min(0, ...left)
    const { streak, failed } = guard
    if (purpose === 'login') left.push(streak < 10 ? 10 - streak : 5 - (streak % 5))
    left.push(20 - within(failed, day), 100 - within(failed, 30 * day))
  }
  return Math.min(...left)
}

const isCooling = ({ state, isLost }: Message): boolean =>
  state === 'refused' || state === 'unsure' || (state === 'open' && !isLost)

/** What the budgets of a class refuse; codes by text and by mail have the same numbers, each for themselves. */
function refusalOf({ now }: Model, messages: Message[], known: boolean): 'limit' | 'cooldown' | null {
  const recent = messages.filter((one) => one.known === known && one.at > now - day)
  const open = recent.filter(({ state }) => state === 'open')
  if (open.filter(({ at }) => at > now - hour).length >= 5 || open.length >= 10) return 'limit'
  return recent.some((one) => isCooling(one) && one.at > now - minute) ? 'cooldown' : null
}

/** Reserves a text or a mail: what its budgets refuse, or null. */
function refusalOfMessage(model: Model, challenge: Challenge, method: Sending): string | null {
  const { now, texts, mails, account } = model
  // A number that is not confirmed is nobody's who is known.
  const known = challenge.known && challenge.purpose !== 'enrol'
  const message = { at: now, known, state: 'open' as const, isLost: false, challenge }
  if (method === 'email') {
    const refusal = refusalOf(model, mails, known)
    if (refusal === null) mails.push(message)
    return refusal && (refusal === 'limit' ? '429 mail_limit_reached' : '429 resend_too_soon')
  }
  const phone = challenge.phone ?? account.phone ?? 0
  const inAll = texts.filter((text) => text.phone === phone && text.state !== 'refused' && text.at > now - day)
  const refusal = inAll.length >= 30 ? 'limit' : refusalOf(model, texts, known)
  if (refusal === null) texts.push({ ...message, phone })
  return refusal && (refusal === 'limit' ? '429 sms_limit_reached' : '429 resend_too_soon')
}

/** Whether three texts of a day went to numbers that are not confirmed: no further one does. */
function isDoneWithNewNumbers({ now, texts }: Model): boolean {
  const toNew = texts.filter(
    ({ challenge, known, state }) => challenge.purpose === 'enrol' && !known && state !== 'refused',
  )
  return toNew.filter(({ at }) => at > now - day).length >= 3
}

function noteSent({ now }: Model, challenge: Challenge, method: Sending): void {
  const { sends = 0 } = challenge.codes[method] ?? {}
  const expires = method === 'email' ? challenge.ends : Math.min(now + 5 * minute, challenge.ends)
  challenge.codes[method] = { sends: sends + 1, sentAt: now, expires }
}

const isDone = (model: Model, { isUsed, isReplaced, ends }: Challenge): boolean =>
  isUsed || isReplaced || ends <= model.now || model.disabled

const sessionOf = ({ owner }: Challenge): Session | null => (isSession(owner) ? owner : null)

/** Whether its token is worth nothing any more: what a session has begun ends with it. */
function isOver(model: Model, challenge: Challenge): boolean {
  const session = sessionOf(challenge)
  return isDone(model, challenge) || (session !== null && !isLive(model, session))
}

const isCodeOver = ({ now }: Model, { codes }: Challenge, method: Method | null): boolean =>
  isSending(method) && (codes[method]?.expires ?? Number.POSITIVE_INFINITY) <= now

const hasSent = ({ codes }: Challenge): boolean => Object.keys(codes).length > 0

/** Of a class's logins with a code that was sent the three youngest stay, and in any case the one that sends now. */
function endCrowdedOut(model: Model, sender: Challenge): void {
  if (sender.purpose !== 'login') return
  const rivals = model.challenges.filter(
    (one) =>
      one !== sender && one.purpose === 'login' && one.known === sender.known && hasSent(one) && !isDone(model, one),
  )
  for (const one of rivals.slice(0, Math.max(0, rivals.length - 2))) one.isReplaced = true
}

function goOnWith(challenge: Challenge, method: Method): void {
  challenge.method = method
  if (!challenge.begun.includes(method)) challenge.begun.push(method)
}

type NewChallenge = Pick<Challenge, 'purpose' | 'owner' | 'known' | 'device'> & Partial<Pick<Challenge, 'parent'>>
const newChallenge = (model: Model, given: NewChallenge): Challenge => ({
  ...{ parent: null, ...given, method: null, begun: [], provesMailbox: false, attempts: 0, codes: {}, phone: null },
  ...{ begunAt: model.now, ends: model.now + 10 * minute, isUsed: false, isReplaced: false },
})

/** What a challenge goes on with: what it was at, or the first of the candidates that can; otherwise what the first says. */
function nextStep(
  model: Model,
  challenge: Challenge,
  candidates: Method[],
): { method: Method; sent: boolean } | string {
  const joined = challenge.method
  const inOrder = candidates.toSorted((a, b) => Number(b === joined) - Number(a === joined))
  const locked = areCodesLocked(model, guardOf(model, challenge.known))
  let refusal: string | null = null
  for (const method of inOrder) {
    if (locked && isGuarded(method)) refusal ??= '429 second_factor_locked'
    else if (!isSending(method)) {
      // Recovery codes are no way out of a wait of a minute.
      if (refusal !== '429 resend_too_soon' || method !== 'recovery_code') return { method, sent: false }
    } else if (method === joined && (challenge.codes[method]?.sends ?? 0) >= 3) return { method, sent: false }
    else {
      const refused = refusalOfMessage(model, challenge, method)
      if (refused === null) return { method, sent: true }
      if (method === joined) return { method, sent: false }
      refusal ??= refused
    }
  }
  return refusal ?? 'nothing to go on with'
}

type Asked = Pick<Challenge, 'purpose' | 'owner' | 'known' | 'device' | 'provesMailbox'> & {
  candidates: Method[]
  remember: boolean
}

/** Whether another login of the same client goes on with a challenge. */
const mayBeJoined = (model: Model, last: Challenge, { candidates, provesMailbox }: Asked): boolean =>
  !isOver(model, last) &&
  last.attempts < 5 &&
  last.provesMailbox === provesMailbox &&
  !isCodeOver(model, last, last.method) &&
  last.method !== null &&
  candidates.includes(last.method)

/** Joins the live challenge of its owner, or opens one. */
function open(model: Model, asked: Asked): string {
  const { owner, purpose, known, device, provesMailbox } = asked
  const last = model.challenges.findLast((one) => one.owner === owner && one.purpose === purpose && !one.isReplaced)
  const joined = last !== undefined && mayBeJoined(model, last, asked) ? last : null
  const challenge = joined ?? { ...newChallenge(model, { purpose, owner, known, device }), provesMailbox }
  const step = nextStep(model, challenge, asked.candidates)
  if (typeof step === 'string') return step
  if (joined === null) {
    if (last !== undefined) last.isReplaced = true
    model.challenges.push(challenge)
  }
  goOnWith(challenge, step.method)
  if (step.sent && isSending(step.method)) {
    noteSent(model, challenge, step.method)
    endCrowdedOut(model, challenge)
  }
  model.pendings.push({ challenge, remember: asked.remember, session: isSession(owner) ? owner : null })
  return '200 2fa_required'
}

/** Devices that an account may have; those never used again go first, then those not used longest. */
const mostDevices = 20

function makeRoom(devices: Device[]): void {
  const youngest = (a: Device, b: Device): number =>
    Number(b.isUsedAgain) - Number(a.isUsedAgain) || b.usedAt - a.usedAt
  const old = devices.filter(({ gone }) => !gone).sort(youngest)
  for (const device of old.slice(mostDevices - 1)) device.gone = true
}

/** The device of a login that is finished: the one it came with, or a new one. */
function useDevice(model: Model, came: Device | null, trust: boolean, mayMake: boolean): Device | null {
  const { now, devices } = model
  let device = came !== null && !came.gone && came.expires > now ? came : null
  if (device === null) {
    if (!mayMake) return null
    makeRoom(devices)
    device = {
      ...{ expires: 0, trustedUntil: 0, failures: 0, throttle: newThrottle() },
      ...{ usedAt: now, isUsedAgain: false, gone: false },
    }
    devices.push(device)
  } else {
    Object.assign(device, { usedAt: now, isUsedAgain: true })
  }
  device.expires = now + 90 * day
  if (trust) device.trustedUntil = now + 30 * day
  return device
}

/** `mailboxProven`: it begins with a mailed link. */
function start(
  { sessions, now }: Model,
  acr: string,
  remember: boolean,
  device: Device | null,
  mailboxProven = false,
): void {
  const [total, idle] = remember ? [30 * day, 14 * day] : [12 * hour, 12 * hour]
  const times = { rotatedAt: 0, idle: now + idle, expires: now + total, provenAt: now }
  sessions.push({ device, generation: 0, ...times, failedProofs: [], remember, mailboxProven, acr, ended: false })
}

/** Whether a token makes its bearer known. */
export const isKnown = ({ now }: Model, device: Device | null): device is Device =>
  device !== null && !device.gone && device.expires > now

export function login(model: Model, { place, device: shown }: Client, isRight: boolean, remember: boolean): string {
  const device = isKnown(model, shown) ? shown : null
  const throttle = device?.throttle ?? strangersOf(model)
  if (!charge(model, throttle)) return '429 login_locked'
  if (device !== null) device.failures += 1
  if (!isRight || model.disabled) {
    if (device !== null && device.failures >= 20) device.gone = true
    return '401 invalid_credentials'
  }
  if (model.password === 'reset_required') {
    // The right password opens nothing, and is counted as nothing.
    Object.assign(throttle, { failures: Math.max(0, throttle.failures - 1), until: 0 })
    if (device !== null) device.failures = Math.max(0, device.failures - 1)
    return '403 password_reset_required'
  }
  // A stranger gets back the own charge; a device starts anew.
  throttle.failures = device === null ? throttle.failures - 1 : 0
  throttle.until = 0
  if (device !== null) device.failures = 0

  const { twoFactor } = model.account
  const isAsked = hasFactor(model) && twoFactor !== 'off'
  const isEnough = isAsked ? device !== null && device.trustedUntil > model.now : twoFactor !== 'required'
  if (isEnough) {
    start(model, 'aal1', remember, useDevice(model, device, false, true))
    return '200 authenticated'
  }
  return open(model, {
    ...{ purpose: 'login', owner: device ?? place, known: device !== null, device, remember },
    // Whoever has to set up the first factor proves the mailbox first.
    ...{ provesMailbox: !isAsked, candidates: isAsked ? methodsOf(model, 'login') : ['email'] },
  })
}

const ofSession = (session: Session) => ({
  ...{ purpose: 'step_up' as const, owner: session, known: true, device: session.device, remember: false },
})

/** `method`: as named; `isRight`: of the password, which an account without a factor proves itself with. */
export function stepUp(model: Model, session: Session, method: Method | null, isRight: boolean): string {
  if (!isLive(model, session)) return '401 invalid_token'
  const all = methodsOf(model, 'step_up')
  if (method !== null && !all.includes(method)) return '400 invalid_request'
  if (all.length > 0) {
    return open(model, { ...ofSession(session), provesMailbox: false, candidates: method === null ? all : [method] })
  }
  if (isRight) {
    Object.assign(session, { acr: 'aal1', provenAt: model.now })
    return '200 authenticated'
  }
  const { guards, now } = model
  guards.known.failed = withFailure(guards.known.failed, now)
  failProof(model, session)
  return '422 invalid_password'
}

const withFailure = (failed: number[], now: number): number[] => [...failed.filter((at) => at > now - 30 * day), now]

/** The fifth failed proof of a session within a day ends it. */
function failProof({ now }: Model, session: Session): void {
  session.failedProofs = [...session.failedProofs.filter((at) => at > now - day), now]
  if (session.failedProofs.length >= 5) session.ended = true
}

/** Why a challenge takes no answer by a method, or null. */
function refusalOfTry(model: Model, challenge: Challenge, method: Method | null): string | null {
  if (isOver(model, challenge)) return '401 invalid_token'
  const isRefused = challenge.purpose !== 'enrol' && method !== null && isGuarded(method)
  if (isRefused && areCodesLocked(model, guardOf(model, challenge.known))) return '429 second_factor_locked'
  return challenge.attempts >= 5 ? '429 code_attempts_exhausted' : null
}

/** Whether an answer by this method is heard: one that was begun, or that can be had at any time. */
function mayAnswerBy({ account }: Model, { purpose, provesMailbox, method, begun }: Challenge, by: Method): boolean {
  if (purpose === 'enrol' || provesMailbox) return by === method
  if (begun.includes(by)) return true
  return (by === 'totp' && account.totp !== null) || (by === 'recovery_code' && account.recoveryCodes > 0)
}

/**
 * What is answered with. `method`: as named; `isReadable`: whether it has the form of a code of that method; `isRight`: as
 * whoever typed it believes; `step`: whose code of an authenticator app it is.
 */
export type Answer = { method: Method | null; isReadable: boolean; isRight: boolean; step: number; trust: boolean }

export function answer(model: Model, pending: Pending, given: Answer): string {
  const { challenge, session } = pending
  const { purpose, known } = challenge
  if (purpose === 'must_enrol') return '401 invalid_token'
  if (session !== null && !isLive(model, session)) return '401 invalid_token'
  const isAlive = !isOver(model, challenge)
  const method = given.method ?? challenge.method
  if (method === null) throw new Error('an answer to nothing')
  if (isAlive && !mayAnswerBy(model, challenge, method)) return '400 invalid_request'
  const refusal = refusalOfTry(model, challenge, method)
  if (refusal !== null) return refusal
  if (isCodeOver(model, challenge, method)) return '410 code_expired'
  if (!given.isReadable) return '400 invalid_request'

  challenge.attempts += 1
  if (!isRightAnswer(model, challenge, method, given)) {
    const guard = guardOf(model, known)
    if (purpose !== 'enrol' && isGuarded(method)) {
      guard.failed = withFailure(guard.failed, model.now)
      if (session === null) lengthen(model, guard)
    }
    if (purpose === 'step_up' && session !== null) failProof(model, session)
    return `422 invalid_code ${triesLeft(model, challenge, method)}`
  }
  const isFirst = purpose === 'enrol' && !hasFactor(model)
  if (purpose === 'enrol') addFactor(model, challenge, session, method, given)
  useUp(model, challenge)
  return challenge.provesMailbox ? letEnrol(model, pending) : complete(model, pending, method, given.trust, isFirst)
}

/** Ten wrong codes in a row lock, and every further five. */
function lengthen({ now }: Model, guard: Guard): void {
  guard.streak += 1
  const doublings = (guard.streak - 10) / 5
  if (doublings >= 0 && Number.isInteger(doublings)) guard.until = now + Math.min(15 * minute * 2 ** doublings, day)
}

/** Whether it is right, and what it can be right for once only is used up. */
function isRightAnswer({ account }: Model, { purpose }: Challenge, method: Method, { isRight, step }: Answer): boolean {
  if (!isRight) return false
  if (method === 'recovery_code') account.recoveryCodes -= 1
  if (method !== 'totp' || purpose === 'enrol') return true
  if (account.totp === null || step <= account.totp) return false
  account.totp = step
  return true
}

/** A new factor counts: one of its method is replaced, and with that everything ends but the session that did it. */
function addFactor(
  model: Model,
  challenge: Challenge,
  session: Session | null,
  method: Method,
  { step }: Answer,
): void {
  const { account, texts, now } = model
  const replaces = method === 'totp' ? account.totp !== null : account.phone !== null
  const which = method === 'totp' ? ('totp' as const) : ('sms' as const)
  if (!hasFactor(model)) putRecoveryCodes(model)
  const was = method === 'totp' ? account.totp : account.phone
  if (was !== null) model.changes.push({ at: now, kind: 'factor_removed', method: which, id: model.ids[which], was })
  model.ids[which] = model.nextId++
  model.changes.push({ at: now, kind: 'factor_added', method: which, id: model.ids[which] })
  tell(model)
  endBegun(model, session, replaces)
  if (method === 'totp') account.totp = step
  else {
    const old = account.phone
    account.phone = challenge.phone
    // The old number is told.
    if (old !== null && old !== account.phone)
      texts.push({ at: now, known: true, phone: old, state: 'finished', isLost: false, challenge })
  }
}

function putRecoveryCodes(model: Model): void {
  model.account.recoveryCodes = 10
  model.ids.codes = model.nextId++
  model.codesMadeAt = model.now
}

/** The recovery codes go, and can be had back. */
function dropRecoveryCodes({ account, changes, ids, codesMadeAt, now }: Model): void {
  const { recoveryCodes: count } = account
  if (count > 0) changes.push({ at: now, kind: 'recovery_codes', count, setId: ids.codes, madeAt: codesMadeAt })
  account.recoveryCodes = 0
}

/** A notice of this moment to the account's mailbox, or to the one that it had. */
function tell({ notices, now, email }: Model, old: number | null = null): void {
  notices.push({ at: now, email: old ?? email, isLast: old !== null })
}

/** What was begun ends; with `all` also other sessions and the trust in devices. */
function endBegun(model: Model, session: Session | null, all: boolean): void {
  for (const challenge of model.challenges) if (!challenge.isUsed) challenge.isReplaced = true
  if (!all) return
  for (const one of model.sessions) if (one !== session) one.ended = true
  for (const device of model.devices) device.trustedUntil = 0
}

function useUp(model: Model, challenge: Challenge): void {
  challenge.isUsed = true
  const { parent, known, purpose } = challenge
  if (parent !== null) parent.isUsed = true
  const guard = guardOf(model, known)
  if (purpose !== 'enrol' && guard.streak > 0) Object.assign(guard, { streak: 0, until: 0 })
  for (const message of [...model.texts, ...model.mails]) {
    if (message.challenge === challenge && ['open', 'unsure'].includes(message.state)) message.state = 'finished'
  }
}

/** The mailbox is proven: the first factor can be set up. */
function letEnrol(model: Model, { challenge, remember, session }: Pending): string {
  const { owner, known, device } = challenge
  model.account.mailbox = true
  const asking = sessionOf(challenge)
  if (asking !== null) asking.mailboxProven = true
  for (const one of model.challenges) if (one.purpose === 'must_enrol' && one.owner === owner) one.isReplaced = true
  const waiting = newChallenge(model, { purpose: 'must_enrol', owner, known, device })
  model.challenges.push(waiting)
  model.pendings.push({ challenge: waiting, remember, session })
  return '200 2fa_enrolment_required'
}

function complete(model: Model, pending: Pending, method: Method, trust: boolean, isFirst: boolean): string {
  const { challenge, remember, session } = pending
  const mayTrust = method === 'totp' || method === 'sms'
  const device = useDevice(model, session?.device ?? challenge.device, trust && mayTrust, session === null)
  const acr = method === 'email' ? 'aal1' : 'aal2'
  if (method !== 'email') model.isMailNoProof = false
  if (session === null) start(model, acr, remember, device)
  else Object.assign(session, { acr, provenAt: model.now })
  const left = method === 'recovery_code' ? `, ${model.account.recoveryCodes} recovery codes left` : ''
  return `200 authenticated${isFirst ? ', 10 recovery codes' : left}`
}

export function resend(model: Model, { challenge }: Pending): string {
  if (challenge.purpose === 'must_enrol' || isOver(model, challenge)) return '401 invalid_token'
  const { method } = challenge
  return isSending(method) ? send(model, challenge, method) : '400 invalid_request'
}

/** Sends a code, or the same one again; `200` or what refuses it. */
function send(model: Model, challenge: Challenge, method: Sending): string {
  const refusal = refusalOfTry(model, challenge, method)
  if (refusal !== null) return refusal
  if (challenge.purpose === 'enrol' && isDoneWithNewNumbers(model)) return '429 sms_limit_reached'
  if ((challenge.codes[method]?.sends ?? 0) >= 3) return `429 ${method === 'sms' ? 'sms' : 'mail'}_limit_reached`
  const refused = refusalOfMessage(model, challenge, method)
  if (refused !== null) return refused
  noteSent(model, challenge, method)
  endCrowdedOut(model, challenge)
  return '200'
}

export function switchTo(model: Model, { challenge }: Pending, method: Method): string {
  const { purpose } = challenge
  if (purpose === 'must_enrol' || isOver(model, challenge)) return '401 invalid_token'
  if (purpose === 'enrol' || !allMethods(model, challenge).includes(method)) return '400 invalid_request'
  const refusal = refusalOfTry(model, challenge, method)
  if (refusal !== null) return refusal
  const told = isSending(method) ? send(model, challenge, method) : '200'
  // Where nothing may go out, one goes back to a code that is good still.
  const goesBack =
    isSending(method) && method !== challenge.method && challenge.codes[method] && !isCodeOver(model, challenge, method)
  if (told !== '200' && !goesBack) return told
  goOnWith(challenge, method)
  return '200'
}

/** How a challenge stands, as its holder is told: what it goes on with, what can finish it, the tries that are left. */
export function status(model: Model, { challenge }: Pending): string {
  if (isOver(model, challenge)) return '401 invalid_token'
  const { method } = challenge
  const shown = method === null ? 'nothing' : `${method} with ${triesLeft(model, challenge, method)}`
  return `200 ${shown} of ${methodsShown(model, challenge)}`
}

/** Who sets up a factor: somebody who is signed in, or in a login that has to. */
export type Enroller = Session | Pending

/** `phone`: of the new factor, otherwise it is an authenticator app. */
export function enrol(model: Model, who: Enroller, phone: number | null): string {
  const isSignedIn = 'generation' in who
  if (isSignedIn) {
    if (!isLive(model, who)) return '401 invalid_token'
    if (!isFresh(model, who)) return stale
    if (!hasFactor(model) && !who.mailboxProven)
      return open(model, { ...ofSession(who), provesMailbox: true, candidates: ['email'] })
  } else if (who.challenge.purpose !== 'must_enrol' || isOver(model, who.challenge)) return '401 invalid_token'

  const { now, challenges } = model
  const begun = challenges.filter(({ purpose, begunAt }) => purpose === 'enrol' && begunAt > now - day)
  if (begun.length >= 10) return '429 rate_limited'
  if (phone !== null && isDoneWithNewNumbers(model)) return '429 sms_limit_reached'

  const given = isSignedIn
    ? { owner: who, parent: null, known: true, device: who.device }
    : {
        ...{ owner: sessionOf(who.challenge) ?? who.challenge, parent: who.challenge },
        ...{ known: who.challenge.known, device: who.challenge.device },
      }
  const method = phone === null ? ('totp' as const) : ('sms' as const)
  const challenge = { ...newChallenge(model, { ...given, purpose: 'enrol' }), method, begun: [method], phone }
  if (phone !== null) {
    const refused = refusalOfMessage(model, challenge, 'sms')
    if (refused !== null) return refused
    noteSent(model, challenge, 'sms')
  }
  // One at a time in a session or login.
  for (const one of challenges) if (one.purpose === 'enrol' && one.owner === given.owner) one.isReplaced = true
  challenges.push(challenge)
  const carried = isSignedIn ? { remember: false, session: who } : { remember: who.remember, session: who.session }
  model.pendings.push({ challenge, ...carried })
  return '200 2fa_required'
}

export function renewRecoveryCodes(model: Model, session: Session): string {
  if (!isLive(model, session)) return '401 invalid_token'
  if (!isFresh(model, session)) return stale
  if (!hasFactor(model)) return '409 conflict'
  dropRecoveryCodes(model)
  putRecoveryCodes(model)
  tell(model)
  return '200 recovery_codes, 10 recovery codes'
}

/** Takes a factor away; with the last the recovery codes go. */
export function removeFactor(model: Model, session: Session, method: 'totp' | 'sms'): string {
  const { account } = model
  const field = method === 'totp' ? 'totp' : 'phone'
  if (!isLive(model, session)) return '401 invalid_token'
  if (!isFresh(model, session)) return stale
  if (account[field] === null) return '404 not_found'
  const isLast = account.totp === null || account.phone === null
  if (isLast && account.twoFactor === 'required') return '409 last_factor'
  model.changes.push({ at: model.now, kind: 'factor_removed', method, id: model.ids[method], was: account[field] })
  account[field] = null
  if (isLast) dropRecoveryCodes(model)
  endBegun(model, session, true)
  tell(model)
  return '204'
}

/** An operator takes all factors away, and what was counted of codes with them. */
export function resetFactors(model: Model): void {
  Object.assign(model.account, { phone: null, totp: null, recoveryCodes: 0 })
  // What an operator decides of factors stays.
  model.changes = model.changes.filter(({ kind }) => kind === 'email_changed' || kind === 'deletion')
  endBegun(model, null, true)
  endLinks(model)
  forgetCodes(model)
  tell(model)
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

/** An operator changes, disables or enables the account: whatever was begun before ends, and that is not taken back. */
export function change(model: Model, changed: { disabled?: boolean; phone?: number; password?: true } = {}): void {
  model.disabled = changed.disabled ?? model.disabled
  if (changed.disabled) for (const it of model.changes) if (it.kind === 'deletion') it.isDisabled = true
  if (changed.disabled === false) {
    model.erasesAt = null
    model.changes = model.changes.filter(({ kind }) => kind !== 'deletion')
  }
  model.account.phone = changed.phone ?? model.account.phone
  if (changed.phone !== undefined) {
    model.ids.sms = model.nextId++
    model.changes = model.changes.filter((it) => it.kind !== 'factor_removed' || it.method !== 'sms')
  }
  if (changed.password) model.password = 'set'
  endBegun(model, null, true)
  endLinks(model)
  if (changed.phone !== undefined || changed.password) unlock(model, true)
}

/** Ends the locks and the streaks; with `all` also what is counted of codes and texts. */
export function unlock(model: Model, all: boolean): void {
  endPasswordLocks(model)
  for (const guard of Object.values(model.guards)) Object.assign(guard, { streak: 0, until: 0 })
  if (all) forgetCodes(model)
}

function endPasswordLocks(model: Model): void {
  model.throttles[model.email] = newThrottle()
  for (const device of model.devices) if (!device.gone) Object.assign(device, { failures: 0, throttle: newThrottle() })
}

function forgetCodes(model: Model): void {
  model.guards = { known: newGuard(), strangers: newGuard() }
  for (const text of model.texts) text.state = 'finished'
  for (const mail of model.mails) mail.state = 'finished'
}

/** The links end that set a password or confirm an address; a not-me link does not. */
function endLinks({ links }: Model): void {
  for (const link of links) if (link.kind !== 'not_me') link.isOver = true
}

const isGood = ({ now }: Model, { isOver, expires }: Link): boolean => !isOver && expires > now

function addLink(model: Model, kind: LinkKind, email: number, life: number, since = 0): void {
  const { links, now } = model
  links.push({ kind, email, at: now, expires: now + life, isOver: false, since })
}

/** What a mail says that anybody has asked for, to the account's mailbox, or null: its budgets are spent. */
function linkMail(model: Model, topic: 'forgot' | 'register', network: number, shown: Device | null): string | null {
  const { now, email, linkMails } = model
  const known = isKnown(model, shown)
  const sent = linkMails.filter((it) => it.email === email && it.known === known && it.at > now - day)
  const isSpent =
    sent.some(({ at }) => at > now - minute) ||
    sent.filter(({ at }) => at > now - hour).length >= 3 ||
    sent.length >= 10 ||
    (!known && sent.filter((it) => it.network === network).length >= 3)
  if (isSpent) return null
  linkMails.push({ at: now, email, known, network })
  if (model.disabled) return 'closed'
  addLink(model, 'set_password', email, hour)
  return topic === 'register' ? 'have_account' : 'forgot'
}

/** Anybody asks for a link to the account's mailbox: the answer is the same, whatever is sent. */
export const askForLink = (...given: Parameters<typeof linkMail>): string => `202 mail_sent: ${linkMail(...given)}`

/** A new password by a mailed link, from a client. */
export function setPassword(model: Model, link: Link, { place, device: shown }: Client, remember: boolean): string {
  if (link.kind !== 'set_password' || !isGood(model, link) || link.email !== model.email || model.disabled) {
    return '410 link_expired'
  }
  model.password = 'set'
  model.account.mailbox = true
  model.isMailNoProof = true
  endPasswordLocks(model)
  endBegun(model, null, true)
  endLinks(model)
  tell(model)
  const told = goOnAfterPassword(model, { place, device: isKnown(model, shown) ? shown : null }, remember)
  return told.startsWith('200') ? told : '200 password_set'
}

/** As a login after a right password, of which nothing but the mailbox is proven: no device skips the second factor. */
function goOnAfterPassword(model: Model, { place, device }: Client, remember: boolean): string {
  const { twoFactor } = model.account
  const asked = { owner: device ?? place, known: device !== null, device, remember, provesMailbox: false }
  if (hasFactor(model) && twoFactor !== 'off') {
    return open(model, { ...asked, purpose: 'login', candidates: methodsOf(model, 'login') })
  }
  if (twoFactor !== 'required') {
    start(model, 'aal1', remember, useDevice(model, device, false, true), true)
    return '200 authenticated'
  }
  const waiting = newChallenge(model, { ...asked, purpose: 'must_enrol' })
  model.challenges.push(waiting)
  model.pendings.push({ challenge: waiting, remember, session: null })
  return '200 2fa_enrolment_required'
}

/** Of a session that shows the old one, right or wrong. */
export function changePassword(model: Model, session: Session, isRight: boolean): string {
  if (!isLive(model, session)) return '401 invalid_token'
  if (!isFresh(model, session)) return stale
  if (!isRight) {
    model.guards.known.failed = withFailure(model.guards.known.failed, model.now)
    failProof(model, session)
    return '422 invalid_password'
  }
  model.password = 'set'
  endPasswordLocks(model)
  if (session.acr === 'aal2') forgetCodes(model)
  endBegun(model, null, true)
  endLinks(model)
  model.sessions.push({ ...session, generation: 0, rotatedAt: 0, failedProofs: [], ended: false })
  tell(model)
  return '200 authenticated'
}

/** An operator has a link mailed; `force`: the old password is useless from now on. What the mail says. */
export function resetPassword(model: Model, force: boolean): string {
  if (force) {
    model.password = 'reset_required'
    endBegun(model, null, true)
    endLinks(model)
  }
  return mailLink(model, force ? 'reset_forced' : 'reset')
}

/** A mail that no budget counts. */
function mailLink(model: Model, topic: string): string {
  if (model.disabled) return 'closed'
  addLink(model, 'set_password', model.email, hour)
  return topic
}

/** A session asks for another mailbox. */
export function askForEmail(model: Model, session: Session, email: number): string {
  if (!isLive(model, session)) return '401 invalid_token'
  if (!isFresh(model, session)) return stale
  const { emailChanges, now } = model
  if (emailChanges.filter((at) => at > now - day).length >= 3) return '429 mail_limit_reached'
  emailChanges.push(now)
  for (const link of model.links) if (link.kind === 'confirm_email') link.isOver = true
  tell(model)
  if (email === model.email) return '202 mail_sent: email_taken'
  addLink(model, 'confirm_email', email, day)
  return '202 mail_sent: confirm_email'
}

export function confirmEmail(model: Model, session: Session, link: Link): string {
  if (!isLive(model, session)) return '401 invalid_token'
  if (link.kind !== 'confirm_email' || !isGood(model, link)) return '410 link_expired'
  const { email: old, account, now } = model
  model.changes.push({ at: now, kind: 'email_changed', email: old, mailbox: account.mailbox })
  model.email = link.email
  account.mailbox = true
  endBegun(model, session, true)
  endLinks(model)
  tell(model, old)
  return '200'
}

/** A user leaves, and is erased in seven days. */
export function leaveForGood(model: Model, session: Session): string {
  if (!isLive(model, session)) return '401 invalid_token'
  if (!isFresh(model, session)) return stale
  model.disabled = true
  model.erasesAt = model.now + 7 * day
  model.changes.push({ at: model.now, kind: 'deletion', isDisabled: false })
  endBegun(model, null, true)
  endLinks(model)
  tell(model)
  return '202'
}

/** The newest notice is mailed, with a link where its mailbox is to have one: whether it has. */
export function mailNotice(model: Model): boolean {
  const notice = model.notices.at(-1)
  if (notice === undefined) throw new Error('nothing to tell')
  // Not to a mailbox that is the account's no more, unless it was left after the notice; nor of what was taken back since.
  const wasLeft = model.changes.some(
    (it) => it.kind === 'email_changed' && it.email === notice.email && it.at >= notice.at,
  )
  if (!notice.isLast && notice.email !== model.email && !wasLeft) return false
  if (model.secured.some(({ since, at }) => since <= notice.at && at >= notice.at)) return false
  const { now, erasesAt } = model
  addLink(model, 'not_me', notice.email, Math.max(7 * day, (erasesAt ?? now) - now), notice.at)
  return true
}

/** “That was not me”: what the sessions have changed since is taken back, and what the mail says that follows. */
export function secure(model: Model, link: Link): string {
  if (link.kind !== 'not_me' || !isGood(model, link)) return '410 link_expired'
  takeBack(model, link.since)
  model.secured.push({ since: link.since, at: model.now })
  for (const device of model.devices) device.gone = true
  endBegun(model, null, true)
  endLinks(model)
  for (const one of model.links) if (one.kind === 'not_me' && one.since >= link.since) one.isOver = true
  model.password = 'reset_required'
  return `200 secured: ${mailLink(model, 'secured')}`
}

function takeBack(model: Model, since: number): void {
  const { account, ids } = model
  for (const change of model.changes.filter(({ at }) => at >= since).reverse()) {
    if (change.kind === 'email_changed') {
      model.email = change.email
      account.mailbox = change.mailbox
    } else if (change.kind === 'deletion') {
      if (model.erasesAt !== null)
        Object.assign(model, { disabled: change.isDisabled && model.disabled, erasesAt: null })
    } else if (change.kind === 'recovery_codes') {
      account.recoveryCodes = change.count
      ids.codes = change.setId
      model.codesMadeAt = change.madeAt
    } else {
      const field = change.method === 'totp' ? 'totp' : 'phone'
      if (change.kind === 'factor_added') {
        if (ids[change.method] === change.id) account[field] = null
      } else if (account[field] === null) {
        account[field] = change.was
        ids[change.method] = change.id
      }
    }
  }
  // Codes that came with a first factor which is gone again.
  if (model.codesMadeAt >= since) account.recoveryCodes = 0
  model.changes = model.changes.filter(({ at }) => at < since)
}

/** Time goes by, for the steps of an authenticator app (30 s each) too. */
export function pass(model: Model, seconds: number): void {
  model.now += seconds
  const steps = Math.floor(seconds / 30)
  if (model.account.totp !== null) model.account.totp -= steps
  for (const change of model.changes) {
    if (change.kind === 'factor_removed' && change.method === 'totp') change.was -= steps
  }
}

const word = (session: Session): string =>
  `${session.generation} ${session.acr} ${session.ended ? 'ended' : 'not ended'} ${session.failedProofs.length}`

/** What must be stored now; the steps of an authenticator app as they are, phones and mailboxes by their place in the lists. */
export function storedOf(model: Model, phones: readonly string[], emails: readonly string[]) {
  const { account, sessions, devices, guards, texts, mails, now } = model
  const kinds = (messages: Message[]): string[] =>
    messages
      .filter(({ at }) => at > now - day)
      .map(({ known, state }) => `${known ? 'known' : 'strangers'} ${state}`)
      .sort()
  const factors = [
    ...(account.phone === null ? [] : [`sms ${phones[account.phone]}`]),
    ...(account.totp === null ? [] : [`totp ${account.totp}`]),
  ]
  return {
    sessions: sessions.map(word),
    devices: devices
      .filter(({ gone }) => !gone)
      .map((device) => {
        const trust = device.trustedUntil > now ? 'trusted' : 'not trusted'
        return `${device.failures} ${remembered(model, device.throttle)} ${trust}`
      }),
    guards: [guards.known, guards.strangers].map(({ streak, failed }) => `${streak} ${failed.length}`),
    throttle: remembered(model, strangersOf(model)),
    waiting: model.challenges
      .filter((one) => !isDone(model, one))
      .map(({ purpose, known, method, begun, attempts, codes }) => {
        const sends = (['email', 'sms'] as const).map((it) => codes[it]?.sends ?? 0)
        return [purpose, known ? 'known' : 'strangers', method ?? '-', begun.join(), attempts, ...sends].join(' ')
      }),
    texts: kinds(texts),
    mails: kinds(mails),
    factors,
    recovery_codes: account.recoveryCodes,
    mailbox: account.mailbox,
    email: emails[model.email],
    password: model.password,
    disabled: model.disabled,
    leaves: model.erasesAt !== null,
    mail_is_no_proof: model.isMailNoProof,
    links: model.links.map((link) => `${link.kind} ${emails[link.email]} ${isGood(model, link) ? 'good' : 'over'}`),
    changes: model.changes.map(({ kind }) => kind),
  }
}
