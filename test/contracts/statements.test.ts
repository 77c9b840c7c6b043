import { randomUUID } from 'node:crypto'
import t from 'tap'
import { createDecisions, type Player } from '../helpers/decisions.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { thorough } from '../helpers/effort.ts'
import { type Outcome, openSessions, ordersOf, type Script } from '../helpers/interleave.ts'
import {
  be,
  beOneOf,
  createStage,
  first,
  type Judge,
  nameOf,
  namesOf,
  type Scenario,
  type Tooth,
} from '../helpers/stage.ts'

// The decisions of a login, played against each other in every order in which the transactions of two or three sessions
// can run them. Then without each of the guards that only an order needs: some order must show it.

t.setTimeout(600_000)

const doorstep = await startDoorstep(t, { env: { SMS_SPEND_DAY: '1000000' } })
const { sql, database } = doorstep
const sessions = await openSessions(database, 3)
t.teardown(() => sessions.close())
const decisions = createDecisions(doorstep)
const { run, stateOf, states, ordersFor, broken, scenario, without } = createStage(doorstep, decisions, sessions)
const { join, begin, fail, open, start, answer, resend, rotate, end, change, unlock } = decisions
const { forgetDevice, endTrust, delivered, erase } = decisions
const { answerByApp, answerByRecoveryCode, switchToApp, enrol, confirm, removeFactor } = decisions
const { enrolPhone, renewRecoveryCodes, resetFactors } = decisions
const { setPassword, changePassword, resetPassword, requestEmail, confirmEmail, setLocale } = decisions
const { leave, secure, exportAll, forget, prepare, linkNotice } = decisions

/** The known device that a login was told to come from. */
const deviceOf = (outcome: Outcome | undefined): unknown =>
  outcome && 'value' in outcome ? (outcome.value as { device?: unknown } | null)?.device : undefined
/** What a statement came to, where it says nothing by a name. */
const answerOf = (outcome: Outcome | undefined): unknown => (outcome && 'value' in outcome ? outcome.value : null)
const failedBefore = (player: Player, count: number, within: string, streak = 0) =>
  sql(
    `UPDATE factor_guards SET streak = $3, failed_at = ARRAY(
       SELECT clock_timestamp() - $4::interval * n / ($2 + 1) FROM generate_series($2, 1, -1) n) WHERE user_id = $1 AND NOT known`,
    [player.id, count, streak, within],
  )

const wrongCode = { right: false }
/** No cooldown, and budgets out of the way. */
const cheap = {
  policy: { cooldown: 0 },
  text: {
    ...{ cooldown: 0, user_hour: 99, user_day: 99, phone_day: 99, address_hour: 99, address_day: 99 },
    ...{ prefix_hour: 99, service_hour: 1_000_000, service_day: 1_000_000, spend_day: 1_000_000 },
  },
}

const lastTry = scenario('two tries when one is left: one is judged', { attempts: 4 }, (ada) => ({
  scripts: [answer(ada, wrongCode), answer(ada, wrongCode)],
  wrong: first(be('wrong', 'exhausted'), states(ada, { attempts: 5, failed: 1 })),
}))
const lastTryRight = scenario(
  'a right and a wrong code when one try is left: one is judged',
  { attempts: 4 },
  (ada) => ({
    scripts: [answer(ada), answer(ada, wrongCode)],
    wrong: first(beOneOf('completed,invalid', 'exhausted,wrong'), states(ada, { attempts: 5 })),
  }),
)
const lastOfBudget = (name: string, count: number, within: string, streak: number) =>
  scenario(`two tries when the account has one left ${name}: one is judged`, {}, async (ada) => {
    await failedBefore(ada, count, within, streak)
    return {
      scripts: [answer(ada, wrongCode), answer(ada, wrongCode)],
      wrong: first(be('wrong', 'locked'), states(ada, { attempts: 1, failed: count + 1 })),
    }
  })
const lastOfStreak = lastOfBudget('in a row', 9, '24 hours', 9)
const lastOfDay = lastOfBudget('in 24 hours', 19, '23 hours', 0)
const rightTwice = scenario('a right code twice: one session', {}, (ada) => ({
  scripts: [answer(ada), answer(ada)],
  wrong: first(be('completed', 'invalid'), states(ada, { sessions: 2, consumed: 1, failed: 0, attempts: 1 })),
}))
const stepUpTwice = scenario('a right code of a step-up twice: it is raised once', {}, (ada) => ({
  scripts: [answer(ada, { stepUp: true }), answer(ada, { stepUp: true })],
  wrong: first(be('completed', 'invalid'), states(ada, { sessions: 1, consumed: 1, acr: 'aal2' })),
}))
const twoLogins = scenario('two logins of one client: one challenge, one text', {}, async (ada) => {
  await sql('DELETE FROM challenges WHERE id = $1', [ada.challenge])
  return {
    scripts: [open(ada), open(ada)],
    wrong: first(be('joined', 'opened'), states(ada, { live: 2, texts: 3 })),
  }
})
const twoClients = scenario('two logins of two clients: one text in the cooldown', {}, (ada) => ({
  scripts: [open(ada, { client: 'one' }), open(ada, { client: 'another' })],
  wrong: first(be('opened', 'resend_too_soon'), states(ada, { live: 3, texts: 3 })),
}))
const thirdAndFourth = scenario('two more clients when two are waiting: three are', {}, async (ada) => {
  await run(open(ada, { client: 'second', ...cheap }))
  return {
    scripts: [open(ada, { client: 'third', ...cheap }), open(ada, { client: 'fourth', ...cheap })],
    wrong: first(be('opened', 'opened'), states(ada, { crowd: 3 })),
  }
})
const twoResends = scenario('two resends: one text', {}, (ada) => ({
  scripts: [resend(ada), resend(ada)],
  wrong: first(be('resend_too_soon', 'sent'), states(ada, { sends: 2, texts: 3 })),
}))
const lastText = scenario(
  'two resends when one is left, and no budget stands behind: one text',
  { sends: 2 },
  (ada) => ({
    scripts: [resend(ada, cheap), resend(ada, cheap)],
    wrong: first(be('sent', 'sms_limit_reached'), states(ada, { sends: 3, texts: 3 })),
  }),
)
const sharedPhone: Scenario = {
  name: 'two accounts with one phone: one text',
  scripts: async () => {
    const ada = await join({ ago: 4_000 })
    const bob = await join({ ago: 4_000, phone: ada.phone })
    return {
      scripts: [open(ada), open(bob)],
      wrong: first(be('opened', 'resend_too_soon'), states(ada, { phoneTexts: 5 })),
    }
  },
}
/** Two accounts that share nothing but a budget of which one text is left. */
const lastOf = (name: string, shared: 'prefix' | 'address' | 'service'): Scenario => ({
  name: `two accounts when ${name} has one text left: one text`,
  scripts: async () => {
    const [ada, bob] = [await join({ ago: 100_000 }), await join({ ago: 100_000 })]
    if (shared === 'address') bob.address = ada.address
    if (shared === 'prefix') bob.phone = `${ada.phone.slice(0, -4)}7777`
    // Faster than anybody signs in: what was counted a moment ago is far from what is there now.
    await sql(`UPDATE text_totals SET counted_at = counted_at - interval '1 minute'`)
    const [row] = await sql<{ day: number }>(
      `SELECT count(*)::integer AS day FROM sms_messages WHERE state = 'open' AND reserved_at > now() - interval '24 hours'`,
    )
    const one = {
      prefix: { prefix_hour: 1 },
      address: { address_hour: 1 },
      service: { service_day: Math.floor(((row?.day ?? 0) + 1) / 0.75) },
    }
    const asking = { client: 'new', ...cheap, text: { ...cheap.text, ...one[shared] } }
    return {
      scripts: [open(ada, asking), open(bob, asking)],
      wrong: be('opened', shared === 'service' ? 'sms_unavailable' : 'sms_limit_reached'),
    }
  },
})
const lastOfPrefix = lastOf('their block of numbers', 'prefix')
const lastOfAddress = lastOf('their address', 'address')
const thirdOnPhone: Scenario = {
  name: 'two accounts that want the last place at a phone: one gets it',
  scripts: async () => {
    const ada = await join()
    await join({ phone: ada.phone })
    const [bob, eve] = [await join(), await join()]
    return {
      scripts: [change(bob, { phone: ada.phone }), change(eve, { phone: ada.phone })],
      wrong: be('changed', 'phone_taken'),
    }
  },
}
/**
 * What texts are counted by is locked one after another: here the address, the prefix, the phone. Whoever takes a phone before them,
 * while somebody waits for the prefix, waits for that one and is waited for.
 */
const textsAndEnrolment: Scenario = {
  name: 'two texts while another account sets up the phone of one of them: none is lost',
  scripts: async () => {
    const [bob, eve] = [await join(), await join({ ago: 4_000 })]
    for (;;) {
      const ada = await join({ ago: 4_000 })
      const [row] = await sql<{ is_in_order: boolean }>(
        `SELECT address < prefix AND prefix < phone AS is_in_order FROM (SELECT hashtextextended('phone:' || $1, 0) AS phone,
           hashtextextended('prefix:' || left($1, -4), 0) AS prefix, hashtextextended('address:' || $2, 0) AS address) keys`,
        [ada.phone, ada.address],
      )
      if (!row?.is_in_order) continue
      eve.phone = `${ada.phone.slice(0, -4)}7777`
      return {
        scripts: [open(eve), open(ada), enrolPhone(bob, ada.phone, ada.address)],
        wrong: beOneOf('opened,opened,resend_too_soon', 'opened,opened,opened', 'opened,resend_too_soon,opened'),
      }
    }
  },
}
const staleRenewal = scenario(
  'recovery codes are renewed by what was fresh before another factor came',
  {},
  async (ada) => {
    const id = randomUUID()
    await run(enrol(ada, id))
    return {
      scripts: [confirm(ada, id), renewRecoveryCodes(ada)],
      wrong: beOneOf('completed,stale', 'completed,renewed'),
    }
  },
)
const staleEnrolment = scenario('a factor is begun by what was fresh before another factor came', {}, async (ada) => {
  const id = randomUUID()
  await run(enrol(ada, id))
  return {
    scripts: [confirm(ada, id), enrol(ada)],
    wrong: beOneOf('completed,stale', 'invalid,opened'),
  }
})
const loginAndDisable = scenario('a login while the account is disabled: nothing stays alive', {}, (ada) => ({
  scripts: [open(ada, { client: 'new' }), change(ada)],
  wrong: first(beOneOf('opened,changed', 'stale,changed'), states(ada, { live: 0, liveSessions: 0 })),
}))
const codeAndDisable = scenario('a right code while the account is disabled: nothing stays alive', {}, (ada) => ({
  scripts: [answer(ada, { trust: true }), change(ada)],
  wrong: first(beOneOf('completed,changed', 'invalid,changed'), states(ada, { live: 0, liveSessions: 0, trusted: 0 })),
}))
const passwordOnlyAndDisable = scenario('a login without a second factor while the account is disabled', {}, (ada) => ({
  scripts: [start(ada), change(ada)],
  wrong: first(beOneOf('started,changed', 'stale,changed'), states(ada, { liveSessions: 0 })),
}))
const trustedAndChange = scenario(
  'a login of a trusted device while the password changes: nothing stays alive',
  {},
  (ada) => ({
    scripts: [start(ada, { trusted: true }), change(ada, { password_hash: 'another' })],
    wrong: first(beOneOf('started,changed', 'untrusted,changed'), states(ada, { liveSessions: 0, trusted: 0 })),
  }),
)
const trustedAndForgotten = scenario(
  'a login of a trusted device while it is forgotten: no session of it lives',
  {},
  (ada) => ({
    scripts: [start(ada, { trusted: true }), forgetDevice(ada)],
    wrong: first(beOneOf('started,done', 'untrusted,done'), states(ada, { liveSessions: 0, devices: 0 })),
  }),
)
const refreshTwice = scenario('one refresh token twice: it turns once', {}, (ada) => ({
  scripts: [rotate(ada), rotate(ada)],
  wrong: first(be('rotated', 'within_grace'), states(ada, { generation: 2, ended: false })),
}))
const refreshAndEnd = scenario('a refresh while the session is ended: it does not live', {}, (ada) => ({
  scripts: [rotate(ada), end(ada, 'all')],
  wrong: first(beOneOf('rotated,done', 'ended,done'), states(ada, { ended: true, turnedAfter: false })),
}))
const theftAndProof = scenario('a copied refresh token while a step-up fails: the session has ended', {}, (ada) => ({
  scripts: [rotate(ada, { generation: 0 }), answer(ada, { stepUp: true, right: false })],
  wrong: first(beOneOf('reused,wrong', 'reused,invalid'), states(ada, { ended: true })),
}))
const theftAndRaise = scenario(
  'a copied refresh token while a step-up succeeds: nobody is told of an ended session',
  {},
  (ada) => ({
    scripts: [answer(ada, { stepUp: true }), rotate(ada, { generation: 0 })],
    // Raised first, it was ended after that; ended first, it is not raised.
    wrong: async (outcomes) => {
      const { ended, raisedAfter, consumed } = await stateOf(ada)
      const found = `${namesOf(outcomes).join()} ${ended} ${raisedAfter} ${consumed}`
      return ['completed,reused true false 1', 'invalid,reused true false 0'].includes(found) ? null : found
    },
  }),
)
const lastProof = scenario(
  'two failed step-ups when the session has one left: it ends, and one is judged',
  {},
  async (ada) => {
    await sql(`UPDATE sessions SET proofs_failed_at = array_fill(now() - interval '1 hour', ARRAY[4]) WHERE id = $1`, [
      ada.session,
    ])
    return {
      scripts: [answer(ada, { stepUp: true, right: false }), answer(ada, { stepUp: true, right: false })],
      wrong: first(be('wrong', 'invalid'), states(ada, { ended: true, stepUpAttempts: 1, failed: 1 })),
    }
  },
)
const lastPassword = scenario('two passwords when one is left before the lock: one is looked at', {}, async (ada) => {
  await sql('UPDATE login_throttles SET failures = 4 WHERE identifier = ANY ($1)', [ada.identifiers])
  return {
    scripts: [begin(ada), begin(ada)],
    wrong: first(be('charged', 'locked'), states(ada, { passwordsOfStrangers: 5 })),
  }
})
const mixedPasswords = scenario(
  'two passwords at replicas of which one has a key less: they count as one',
  {},
  async (ada) => {
    await sql('UPDATE login_throttles SET failures = 4 WHERE identifier = ANY ($1)', [ada.identifiers])
    return {
      scripts: [begin(ada), begin(ada, { keys: [ada.identifiers[1]] })],
      wrong: first(be('charged', 'locked'), states(ada, { passwordsOfSecondKey: 5 })),
    }
  },
)
const firstPassword = scenario(
  'two passwords at an e-mail that nobody has tried: both are counted',
  {},
  async (ada) => {
    await sql('DELETE FROM login_throttles WHERE identifier = ANY ($1)', [ada.identifiers])
    return {
      scripts: [begin(ada), begin(ada)],
      wrong: first(be('charged', 'charged'), states(ada, { passwordsOfStrangers: 2 })),
    }
  },
)
const lastOfDevice = scenario(
  'two passwords of a device that has one guess left: one is looked at as its own',
  {},
  async (ada) => {
    await sql('UPDATE devices SET failures = 19 WHERE id = $1', [ada.device])
    return {
      scripts: [begin(ada, { known: true }), begin(ada, { known: true })],
      wrong: first(
        async (outcomes) => {
          const asKnown = outcomes.filter((outcome) => deviceOf(outcome) != null).length
          return asKnown === 1 ? null : `${asKnown} were`
        },
        states(ada, { inARow: 20 }),
      ),
    }
  },
)
const backAndForth = scenario(
  'a right password while another is begun: its own charge goes, and no more',
  {},
  (ada) => ({
    scripts: [begin(ada), open(ada)],
    wrong: first(be('charged', 'joined'), states(ada, { passwordsOfStrangers: 2 })),
  }),
)
const receiptAndAnswer = scenario(
  "a receipt before or after the provider's answer: the text was delivered",
  {},
  async (ada) => {
    await sql(`UPDATE sms_messages SET delivery = 'queued' WHERE user_id = $1`, [ada.id])
    return {
      scripts: [delivered(ada, 'answer'), delivered(ada, 'receipt')],
      wrong: states(ada, { delivery: 'delivered' }),
    }
  },
)
const deviceAndChange = scenario('a login of a known device while the password changes: no deadlock', {}, (ada) => ({
  scripts: [begin(ada, { known: true }), change(ada, { password_hash: 'another' })],
  wrong: be('charged', 'changed'),
}))
const twoStepUps = scenario('two step-ups of one session: one challenge, one text', {}, async (ada) => {
  await sql('DELETE FROM challenges WHERE id = $1', [ada.stepUp])
  return {
    scripts: [open(ada, { stepUp: true }), open(ada, { stepUp: true })],
    wrong: first(be('joined', 'opened'), states(ada, { live: 2, texts: 3 })),
  }
})
const loginAndDelete = scenario(
  'a login while its user is deleted by a plain statement: nothing is left',
  {},
  (ada) => ({
    scripts: [open(ada, { client: 'new' }), { sql: 'DELETE FROM users WHERE id = $1', values: [ada.id] }],
    wrong: first(
      beOneOf('opened,done', 'stale,done'),
      states(ada, { users: 0, live: 0, texts: 0, sessions: 0, devices: 0 }),
    ),
  }),
)
const loginAndErase = scenario('a login while its user is erased: nothing is left', {}, (ada) => ({
  scripts: [open(ada, { client: 'new' }), erase(ada)],
  wrong: first(
    beOneOf('opened,done', 'stale,done'),
    states(ada, { users: 0, live: 0, texts: 0, sessions: 0, devices: 0 }),
  ),
}))

const two: Scenario[] = [
  ...[lastTry, lastTryRight, lastOfStreak, lastOfDay, lastOfBudget('in 30 days', 99, '719 hours', 0)],
  ...[rightTwice, stepUpTwice, twoLogins, twoClients, thirdAndFourth, twoResends, lastText],
  ...[sharedPhone, lastOfPrefix, lastOfAddress, lastOf('the service', 'service'), thirdOnPhone],
  ...[staleRenewal, staleEnrolment],
  ...[loginAndDisable, codeAndDisable, passwordOnlyAndDisable, trustedAndChange, trustedAndForgotten],
  ...[refreshTwice, refreshAndEnd, theftAndProof, theftAndRaise, lastProof],
  ...[
    lastPassword,
    mixedPasswords,
    firstPassword,
    lastOfDevice,
    backAndForth,
    receiptAndAnswer,
    deviceAndChange,
    twoStepUps,
  ],
  ...[loginAndErase, loginAndDelete],
  scenario('a login and a resend: one text', {}, (ada) => ({
    scripts: [open(ada), resend(ada)],
    wrong: first(beOneOf('joined,sent', 'joined,resend_too_soon'), states(ada, { sends: 2, texts: 3 })),
  })),
  scenario('a right code and a resend: all texts are finished whichever comes first', {}, (ada) => ({
    scripts: [answer(ada), resend(ada)],
    wrong: first(beOneOf('completed,sent', 'completed,invalid'), states(ada, { sessions: 2, openTexts: 0, failed: 0 })),
  })),
  scenario("a right code and one of another class: neither is in the other's way", {}, (ada) => ({
    scripts: [answer(ada), answer(ada, { stepUp: true, right: false })],
    wrong: first(be('completed', 'wrong'), states(ada, { attempts: 1, stepUpAttempts: 1, failed: 1 })),
  })),
  scenario('a try while the password changes: the login is over', {}, (ada) => ({
    scripts: [answer(ada, wrongCode), change(ada, { password_hash: 'another' })],
    wrong: first(states(ada, { live: 0 }), async () =>
      (await run(answer(ada))).outcome === 'invalid' ? null : 'a try after the change',
    ),
  })),
  scenario('a resend while the phone changes: the login is over', {}, (ada) => ({
    scripts: [resend(ada), change(ada, { phone: `${ada.phone.slice(0, -4)}1234` })],
    wrong: first(states(ada, { live: 0 }), async ([resent]) =>
      (await stateOf(ada)).texts === (nameOf(resent) === 'sent' ? 3 : 2) ? null : 'a text that nobody asked for',
    ),
  })),
]
const unlocking = scenario('a login, an unlock and a failing password: no deadlock', {}, (ada) => ({
  scripts: [begin(ada), unlock(ada), open(ada)],
  wrong: be('charged', 'done', 'joined'),
}))
const unlockAndStepUp = scenario('a step-up, an unlock and another code: no deadlock', {}, async (ada) => {
  await sql('UPDATE factor_guards SET streak = 3 WHERE user_id = $1', [ada.id])
  return {
    scripts: [
      // One row: another session's transaction that takes no second one can be in nobody's way but for a while.
      { sql: 'UPDATE factor_guards SET streak = streak WHERE user_id = $1 AND known', values: [ada.id] },
      answer(ada, { stepUp: true }),
      unlock(ada),
    ],
    wrong: be('completed', 'done', 'done'),
  }
})
const mixedKeys = scenario(
  'replicas with two keys and with the second of them, and an unlock: no deadlock',
  {},
  (ada) => ({
    scripts: [begin(ada), begin(ada, { keys: [ada.identifiers[1]] }), unlock(ada)],
    wrong: be('charged', 'charged', 'done'),
  }),
)
const passwordsAndChange = scenario(
  'a password of a known device, one of a stranger, and a new one: no deadlock',
  {},
  (ada) => ({
    scripts: [begin(ada, { known: true }), begin(ada), change(ada, { password_hash: 'another' })],
    wrong: be('charged', 'charged', 'changed'),
  }),
)

// Of more than one method.
const codeAndApp = scenario('a right code and one of the app at one login: one session', {}, (ada) => ({
  scripts: [answer(ada), answerByApp(ada)],
  wrong: first(be('completed', 'invalid'), states(ada, { sessions: 2, consumed: 1, attempts: 1, openTexts: 0 })),
}))
const lastOfAll = scenario('the last try by three methods at once: one is judged', { attempts: 4 }, (ada) => ({
  scripts: [answer(ada, wrongCode), answerByApp(ada, wrongCode), answerByRecoveryCode(ada, wrongCode)],
  wrong: first(be('wrong', 'exhausted', 'exhausted'), states(ada, { attempts: 5 })),
}))
const stepTwice = scenario('one code of the app at a login and at a step-up: it is good once', {}, (ada) => ({
  scripts: [answerByApp(ada), answerByApp(ada, { stepUp: true })],
  wrong: first(be('completed', 'wrong'), states(ada, { consumed: 1, failed: 1 })),
}))
const recoveryTwice = scenario('one recovery code at a login and at a step-up: it is good once', {}, (ada) => ({
  scripts: [answerByRecoveryCode(ada), answerByRecoveryCode(ada, { stepUp: true })],
  wrong: first(
    async (outcomes) =>
      namesOf(outcomes).filter((name) => name === 'completed').length === 1 ? null : namesOf(outcomes).join(),
    states(ada, { consumed: 1, recoveryCodes: 0 }),
  ),
}))
const enrolTwice = scenario('two set-ups in one session: the first has ended', {}, (ada) => ({
  scripts: [enrol(ada), enrol(ada)],
  wrong: first(be('opened', 'opened'), states(ada, { enrolments: 1 })),
}))
const lastEnrolment = scenario('two set-ups when the day has one left: one begins', {}, async (ada) => {
  for (let i = 0; i < 9; i++) await run(enrol(ada))
  return {
    scripts: [enrol(ada), enrol(ada)],
    wrong: first(be('opened', 'too_many'), states(ada, { enrolments: 1 })),
  }
})
/** A second authenticator app that is about to be proven. */
const replacing = (name: string, make: (ada: Player, id: string) => { scripts: Script[]; wrong: Judge }): Scenario =>
  scenario(name, {}, async (ada) => {
    const id = randomUUID()
    await run(enrol(ada, id))
    return make(ada, id)
  })
const confirmTwice = replacing('two proofs of one new factor: one wins', (ada, id) => ({
  scripts: [confirm(ada, id), confirm(ada, id)],
  wrong: first(be('completed', 'invalid'), states(ada, { factors: 2, apps: 1, acr: 'aal2' })),
}))
const removedMeanwhile = replacing('a factor that is removed while it is replaced', (ada, id) => ({
  scripts: [confirm(ada, id), removeFactor(ada)],
  wrong: async (outcomes) => {
    const names = namesOf(outcomes).join()
    const { apps } = await stateOf(ada)
    return (names === 'completed,unknown' && apps === 1) || (names === 'invalid,removed' && apps === 0)
      ? null
      : `${names} ${apps}`
  },
}))
const replacedDuringLogin = replacing(
  'a factor that is replaced during a login: no session of the old one lives',
  (ada, id) => ({
    scripts: [confirm(ada, id), answerByApp(ada)],
    wrong: first(
      beOneOf('completed,completed', 'completed,invalid'),
      states(ada, { liveSessions: 1, live: 0, apps: 1 }),
    ),
  }),
)
const bothRemoved = scenario('both factors removed at once where the policy wants one: one stays', {}, async (ada) => {
  const [row] = await sql<{ id: string }>("SELECT id FROM factors WHERE user_id = $1 AND method = 'sms'", [ada.id])
  const phone = { ...ada, totp: String(row?.id) }
  return {
    scripts: [removeFactor(ada), removeFactor(phone)],
    wrong: first(be('removed', 'last_factor'), states(ada, { factors: 1 })),
  }
})
const resetDuringLogin = scenario('factors reset during a login: nothing of it lives', {}, (ada) => ({
  scripts: [answerByApp(ada), resetFactors(ada)],
  wrong: first(
    beOneOf('completed,done', 'invalid,done'),
    states(ada, { factors: 0, recoveryCodes: 0, liveSessions: 0, live: 0 }),
  ),
}))
const ofFactors = [
  ...[codeAndApp, stepTwice, recoveryTwice, enrolTwice, lastEnrolment, confirmTwice, removedMeanwhile],
  ...[replacedDuringLogin, bothRemoved, resetDuringLogin],
]
const three: Scenario[] = [
  lastOfAll,
  textsAndEnrolment,
  scenario('three tries when two are left: two are judged', { attempts: 3 }, (ada) => ({
    scripts: [answer(ada, wrongCode), answer(ada, wrongCode), answer(ada, wrongCode)],
    wrong: first(be('wrong', 'wrong', 'exhausted'), states(ada, { attempts: 5, failed: 2 })),
  })),
  scenario('a right code twice while the account is disabled: at most one session, and none that lives', {}, (ada) => ({
    scripts: [answer(ada), answer(ada), change(ada)],
    wrong: first(states(ada, { live: 0, liveSessions: 0 }), async (outcomes) => {
      const completed = namesOf(outcomes).filter((name) => name === 'completed').length
      const { sessions: made, consumed } = await stateOf(ada)
      return completed <= 1 && made === 1 + completed && consumed === completed ? null : `${completed} of ${made}`
    }),
  })),
  scenario('a login, a right code and a resend of one challenge: one session, no text left open', {}, (ada) => ({
    scripts: [open(ada), answer(ada), resend(ada)],
    wrong: first(
      async (outcomes) => {
        const names = namesOf(outcomes)
        return names[1] === 'completed' ? null : names.join()
      },
      states(ada, { sessions: 2, consumed: 1, openTexts: 0 }),
    ),
  })),
  unlocking,
  unlockAndStepUp,
  mixedKeys,
  scenario('a refresh, its copy and the end of the session: it does not live', {}, (ada) => ({
    scripts: [rotate(ada), rotate(ada, { generation: 0 }), end(ada, 'local')],
    wrong: first(
      states(ada, { ended: true }),
      async (outcomes) => namesOf(outcomes).find((name) => name.startsWith('failed')) ?? null,
    ),
  })),
  passwordsAndChange,
]

t.test('every order keeps the rules', async (t) => {
  t.equal(ordersOf([2, 2]).length, 6)
  t.equal(ordersOf([2, 2, 2]).length, 90)
  for (const one of [...two, ...three, ...ofFactors]) t.same(await broken(one), [], one.name)
})

// Every decision with every other one and with itself, on one account. What must hold then follows from what they said.
t.test('every pair of decisions about one account, in every order', async (t) => {
  const all: Record<string, (player: Player) => Script> = {
    begin: (ada) => begin(ada),
    'begin (device)': (ada) => begin(ada, { known: true }),
    fail: (ada) => fail(ada),
    'fail (device)': (ada) => fail(ada, { known: true }),
    open: (ada) => open(ada),
    'open (another client)': (ada) => open(ada, { client: 'another' }),
    'open (device)': (ada) => open(ada, { known: true }),
    'open (step-up)': (ada) => open(ada, { stepUp: true }),
    start: (ada) => start(ada),
    'start (trusted)': (ada) => start(ada, { trusted: true }),
    right: (ada) => answer(ada),
    wrong: (ada) => answer(ada, wrongCode),
    app: (ada) => answerByApp(ada),
    recovery: (ada) => answerByRecoveryCode(ada),
    'app (step-up)': (ada) => answerByApp(ada, { stepUp: true }),
    switch: (ada) => switchToApp(ada),
    enrol: (ada) => enrol(ada),
    'remove factor': (ada) => removeFactor(ada),
    'renew recovery codes': (ada) => renewRecoveryCodes(ada),
    'reset factors': (ada) => resetFactors(ada),
    'right (step-up)': (ada) => answer(ada, { stepUp: true }),
    'wrong (step-up)': (ada) => answer(ada, { stepUp: true, right: false }),
    resend: (ada) => resend(ada),
    'resend (step-up)': (ada) => resend(ada, { stepUp: true }),
    rotate: (ada) => rotate(ada),
    'rotate (copy)': (ada) => rotate(ada, { generation: 0 }),
    'end (all)': (ada) => end(ada, 'all'),
    'end (others)': (ada) => end(ada, 'others'),
    disable: (ada) => change(ada),
    'new password': (ada) => change(ada, { password_hash: 'another' }),
    unlock: (ada) => unlock(ada, true),
    'forget device': (ada) => forgetDevice(ada),
    'end trust': (ada) => endTrust(ada),
    answer: (ada) => delivered(ada, 'answer'),
    receipt: (ada) => delivered(ada, 'receipt'),
    erase: (ada) => erase(ada),
    'erase by command': (ada) => forget(ada),
    'set password': (ada) => setPassword(ada),
    'change password': (ada) => changePassword(ada),
    'reset password': (ada) => resetPassword(ada, false),
    'reset password (force)': (ada) => resetPassword(ada, true),
    'ask for e-mail': (ada) => requestEmail(ada),
    'confirm e-mail': (ada) => confirmEmail(ada),
    locale: (ada) => setLocale(ada),
    leave: (ada) => leave(ada),
    secure: (ada) => secure(ada),
    export: (ada) => exportAll(ada),
    'send link': (ada) => prepare(ada),
    'send notice': (ada) => linkNotice(ada),
  }
  const names = Object.keys(all)
  const judge = async (ada: Player, pair: [string, string], outcomes: Outcome[]): Promise<string | null> => {
    // By the e-mail that was the account's a moment ago nobody is found.
    const isNobody = (outcome: Outcome | undefined): boolean =>
      outcome !== undefined && 'value' in outcome && outcome.value === null
    const was = pair.map((name, i) => `${name}: ${isNobody(outcomes[i]) ? 'nobody' : nameOf(outcomes[i])}`)
    const said = (pattern: RegExp): number => was.filter((one) => pattern.test(one)).length
    const is = await stateOf(ada)
    if (said(/failed/) > 0) return 'failed'
    if (said(/^erase/) > 0) {
      return [is.users, is.live, is.consumed, is.texts, is.sessions, is.devices, is.links].every((count) => count === 0)
        ? null
        : 'left over'
    }
    const completed = said(/^(right|app|recovery): completed/)
    const raised = said(/^(right|app) \(step-up\): completed/)
    const started = said(/: started/)
    const texts = outcomes.filter(
      (it) => 'value' in it && (it.value as { message_id?: unknown } | null)?.message_id != null,
    ).length
    const wrongs = said(/: wrong/)
    // A device that is forgotten is a stranger.
    const asStranger = pair.filter((name, i) => name === 'begin (device)' && deviceOf(outcomes[i]) === null).length
    const passwordSet = said(/^set password: set/)
    const passwordChanged = said(/^change password: changed/)
    const moved = said(/^confirm e-mail: changed/)
    const secured = said(/^secure: secured/)
    const left = pair.filter((name, i) => name === 'leave' && answerOf(outcomes[i]) !== null).length
    const changed =
      said(/^(disable|new password): changed|^reset password \(force\): done/) + passwordSet + secured + left > 0
    const isEmptied = said(/^(new password: changed|(unlock|reset factors): done)/) + passwordChanged > 0
    const ended = said(/: removed/) > 0 || said(/^reset factors: done/) + passwordChanged + moved > 0
    const rules: [string, boolean][] = [
      ['sessions', is.sessions === 1 + completed + started + passwordChanged],
      ['one success each', completed <= 1 && raised <= 1 && is.consumed === completed + raised],
      [
        'tries',
        is.attempts === said(/^(wrong|app|recovery): wrong/) + completed &&
          is.stepUpAttempts === said(/^(wrong|app) \(step-up\): wrong/) + raised,
      ],
      ['failed codes', isEmptied ? Number(is.failed) <= wrongs : is.failed === wrongs - said(/^recovery: wrong/)],
      ['texts', is.texts === 2 + texts && texts <= said(/^(open|resend)/)],
      [
        'one text to a class in its cooldown',
        said(/^(open|open \(another client\)|resend): (opened|joined|sent)/) < 2 || texts <= 1,
      ],
      ['finished texts', completed === 0 || is.openTexts === 0],
      ['nothing lives on', !changed || (is.live === 0 && is.liveSessions === 0 && is.trusted === 0)],
      [
        'nothing of the old factors lives on',
        !ended || (is.live === is.enrolments && Number(is.liveSessions) <= 1 && is.trusted === 0),
      ],
      [
        'one use of a step, one of a recovery code',
        said(/^app.*: completed/) <= 1 && said(/^recovery: completed/) <= 1,
      ],
      ['an ended session', said(/^end \(all\)|: reused/) === 0 || is.ended === true],
      ['a forgotten device', said(/^forget/) === 0 || is.ofDevice === 0],
      [
        'passwords',
        said(/^(new password|unlock): /) + passwordSet + passwordChanged > 0 ||
          is.passwordsOfStrangers ===
            Math.max(0, 2 + said(/^begin: charged/) + asStranger - said(/^(open|open \(another client\)|start): /)),
      ],
      ['passwords under each key', is.passwordsOfStrangers === is.passwordsOfSecondKey],
      ['generation', Number(is.generation) === 1 + said(/: rotated/)],
      ['trust', said(/^(end trust|forget)/) === 0 || is.trusted === 0],
      ['one use of a link', passwordSet <= 1 && moved <= 1 && secured <= 1],
      [
        'no older link',
        (!changed && passwordChanged + moved + said(/^reset factors: done/) === 0) || is.linksLeftOver === 0,
      ],
      ['no younger notice', secured === 0 || is.noticesLeftOver === 0],
      [
        'a password to be set anew',
        secured === 0 || said(/^new password/) > 0 || is.passwordState === 'reset_required',
      ],
      ['the mailbox', is.email === (moved > 0 && secured === 0 ? ada.newEmail : ada.email)],
      ['who leaves is gone', left === 0 || secured > 0 || (is.disabled === true && is.leaves === true)],
      ['who has taken it back is there', secured === 0 || is.leaves === false],
    ]
    const amiss = rules.filter(([, holds]) => !holds).map(([name]) => name)
    return amiss.length === 0 ? null : `${amiss.join()} after ${was.join(' and ')}`
  }
  // Without the time for all orders, those in which both statements run before either commits; of what people change about
  // themselves and the rest of it one of them, in turn.
  const newOnes = names.indexOf('erase by command')
  const bothOpen = [
    [0, 1, 0, 1],
    [1, 0, 1, 0],
  ]
  const ordersOfPair = (i: number, j: number): number[][] => {
    const isMixed = i < newOnes && j >= newOnes
    if (database.isReal && thorough(6, 2) !== 2) return isMixed ? bothOpen : ordersFor([2, 2])
    const orders = database.isReal ? bothOpen : ordersFor([2, 2])
    return isMixed ? orders.slice((i + j) % 2, ((i + j) % 2) + 1) : orders
  }
  const amiss: string[] = []
  let played = 0
  for (const [i, one] of names.entries()) {
    for (const [j, other] of names.entries()) {
      if (j < i) continue
      for (const order of ordersOfPair(i, j)) {
        const ada = await join()
        const scripts = [all[one]?.(ada) as Script, all[other]?.(ada) as Script]
        const what = await judge(ada, [one, other], await sessions.play(scripts, order))
        if (what !== null) amiss.push(`${one} × ${other}, ${order.join('')}: ${what}`)
        played += 1
      }
    }
  }
  t.same(amiss, [])
  t.ok(played >= (names.length * (names.length + 1)) / 2)
})

const teeth: Tooth[] = [
  {
    guard: 'the lock of the account',
    in: 'lock_account',
    part: 'PERFORM pg_advisory_xact_lock(uuid_hash_extended(p_user, 0));',
    instead: '',
    race: true,
    breaks: [
      ...[lastTry, lastTryRight, lastOfStreak, rightTwice, stepUpTwice, twoStepUps, lastText],
      ...[codeAndApp, lastOfAll, confirmTwice],
      ...[loginAndDisable, codeAndDisable, passwordOnlyAndDisable, trustedAndChange, loginAndErase],
    ],
  },
  {
    guard: 'the lock before what a user left goes',
    in: 'forget_user',
    part: 'PERFORM pg_advisory_xact_lock(uuid_hash_extended(OLD.id, 0));',
    instead: '',
    race: true,
    breaks: [loginAndDelete],
  },
  {
    guard: 'the hold on the session of a step-up',
    in: 'answer_challenge',
    part: "PERFORM FROM sessions WHERE id = (p_session->>'id')::uuid FOR UPDATE;",
    instead: '',
    race: true,
    breaks: [theftAndRaise],
  },
  {
    guard: "a device's last guess",
    in: 'begin_login',
    part: 'WHERE id = d.id AND failures < 20',
    instead: 'WHERE id = d.id',
    race: true,
    breaks: [lastOfDevice],
  },
  {
    guard: 'the order of counters and devices in a change',
    in: 'change_user',
    part: `-- Counters before devices`,
    instead: `UPDATE devices SET trusted_until = NULL WHERE user_id = the_user; -- Counters before devices`,
    race: true,
    breaks: [passwordsAndChange],
  },
  {
    guard: 'a refresh token that is good once',
    in: 'rotate_session',
    part: 'AND generation = p_generation',
    instead: '',
    race: false,
    breaks: [refreshTwice],
  },
  {
    guard: 'no refresh of an ended session',
    in: 'rotate_session',
    part: 'AND ended_at IS NULL AND expires_at > t',
    instead: 'AND expires_at > t',
    race: true,
    breaks: [refreshAndEnd],
  },
  {
    guard: 'the locks of what a text is counted by',
    in: 'lock_text',
    part: 'PERFORM pg_advisory_xact_lock(key) FROM',
    instead: 'PERFORM key FROM',
    race: true,
    breaks: [sharedPhone, lastOfPrefix, lastOfAddress],
  },
  {
    guard: 'the lock of the last texts',
    in: 'reserve_text',
    part: "PERFORM pg_advisory_xact_lock(hashtextextended('texts of the service', 0));",
    instead: '',
    race: true,
    breaks: [lastOf('the service', 'service')],
  },
  {
    guard: 'the lock of a phone that is given away',
    in: 'phone_is_taken',
    part: "PERFORM pg_advisory_xact_lock(hashtextextended('phone:' || p_phone, 0));",
    instead: '',
    race: true,
    breaks: [thirdOnPhone],
  },
  {
    guard: 'the lock before a change',
    in: 'change_user',
    part: 'lock_account(the_user)',
    instead: 'clock_timestamp()',
    race: true,
    breaks: [loginAndDisable, codeAndDisable, passwordOnlyAndDisable],
  },
  {
    guard: 'the lock before a device is forgotten',
    in: 'forget_device',
    part: 'lock_account(p_user)',
    instead: 'clock_timestamp()',
    race: true,
    breaks: [trustedAndForgotten],
  },
  {
    guard: 'the order of the locks of an unlock',
    in: 'unlock_user',
    part: `PERFORM lock_account(the_user);
  PERFORM forget_password_failures(the_user, p_identifiers);`,
    instead: `PERFORM forget_password_failures(the_user, p_identifiers);
  PERFORM lock_account(the_user);`,
    race: true,
    breaks: [unlocking],
  },
  {
    guard: 'the lock before an unlock',
    in: 'unlock_user',
    part: 'PERFORM lock_account(the_user);',
    instead: '',
    race: true,
    breaks: [unlockAndStepUp],
  },
  {
    guard: 'the order in which counters are emptied',
    in: 'forget_password_failures',
    part: 'PERFORM FROM login_throttles WHERE identifier = ANY (p_identifiers) ORDER BY identifier FOR UPDATE;',
    instead: '',
    race: true,
    breaks: [mixedKeys],
  },
  {
    guard: 'the second look at a lock that has just begun',
    in: 'charge_password',
    part: 'WHERE old.locked_until IS NULL OR old.locked_until <= clock_timestamp();',
    instead: ';',
    race: true,
    breaks: [lastPassword],
  },
  {
    guard: 'the rise of the step of an app',
    in: 'is_right_answer',
    part: "counter < (verdict->>'counter')::bigint",
    instead: 'true',
    race: false,
    breaks: [stepTwice],
  },
  {
    guard: 'the lock before a factor is removed',
    in: 'remove_factor',
    part: 'lock_account(p_user)',
    instead: 'clock_timestamp()',
    race: true,
    breaks: [bothRemoved],
  },
  {
    guard: 'the lock before factors are set up',
    in: 'begin_enrolment',
    part: 'lock_account(p_user)',
    instead: 'clock_timestamp()',
    race: true,
    breaks: [lastEnrolment],
  },
  {
    guard: 'the order of what a text is counted by, where its phone is looked at first',
    in: 'begin_enrolment',
    part: `PERFORM lock_text(p_candidate->'text') WHERE p_candidate->>'sends' = 'sms';`,
    instead: '',
    race: true,
    breaks: [textsAndEnrolment],
  },
  {
    guard: 'the epoch that a session was fresh in, before a factor is begun',
    in: 'begin_enrolment',
    part: "AND epoch = (p_parent->>'epoch')::integer",
    instead: '',
    race: false,
    breaks: [staleEnrolment],
  },
  {
    guard: 'the lock before factors are reset',
    in: 'reset_factors',
    part: 'lock_account(the_user)',
    instead: 'clock_timestamp()',
    race: true,
    breaks: [resetDuringLogin],
  },
  {
    guard: 'the end of live challenges',
    in: 'end_begun',
    part: 'SET superseded_at = p_now WHERE',
    instead: 'SET superseded_at = NULL WHERE',
    race: false,
    breaks: [loginAndDisable],
  },
]

t.test('without one of its guards some order breaks them', async (t) => {
  for (const tooth of teeth.filter(({ race }) => database.isReal || !race)) {
    await without(tooth.in, tooth.part, tooth.instead, async () => {
      for (const one of tooth.breaks) {
        const found = await broken(one, true)
        t.not(found.length, 0, `${tooth.guard} (${tooth.in}): ${one.name}${found.length > 0 ? ` (${found[0]})` : ''}`)
      }
    })
  }
  t.same(await broken(lastTry), [], 'and with all of them back none does')
})
