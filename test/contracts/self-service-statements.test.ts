import { randomBytes } from 'node:crypto'
import t from 'tap'
import { createDecisions, type Player } from '../helpers/decisions.ts'
import { startDoorstep } from '../helpers/doorstep.ts'
import { type Outcome, openSessions, type Script } from '../helpers/interleave.ts'
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

// What people change about their accounts by links and sessions, played against each other in every order, as
// statements.test.ts plays logins: links that are good once, mailboxes that have one account, what ends for good.

t.setTimeout(600_000)

const doorstep = await startDoorstep(t)
const { sql, database } = doorstep
const sessions = await openSessions(database, 3)
t.teardown(() => sessions.close())
const decisions = createDecisions(doorstep)
const { join, answer, change, create, setPassword, changePassword, requestEmail, confirmEmail, leave, secure } =
  decisions
const { exportAll, forget, eraseDue, prepare, linkNotice, registerLink, resetPassword, resetFactors, rotate } =
  decisions
const { run, stateOf, states, broken, scenario, without } = createStage(doorstep, decisions, sessions)

let mailboxes = 0
const freshMailbox = (): string => `mailbox-${++mailboxes}@example.com`
const holdersOf = (email: string): Promise<{ id: string; password_hash: string | null }[]> =>
  sql('SELECT id, password_hash FROM users WHERE email = $1', [email])
/** As many accounts have the address, and nothing failed. */
const holds =
  (email: string, count: number): Judge =>
  async (outcomes) => {
    const failed = namesOf(outcomes).filter((name) => name.startsWith('failed'))
    const { length } = await holdersOf(email)
    return failed.length === 0 && length === count ? null : `${failed.join()} ${length} accounts`
  }
const idOf = (outcome: Outcome | undefined): string | null => {
  const account = outcome && 'value' in outcome ? (outcome.value as { account?: { id: string } } | null)?.account : null
  return account?.id ?? null
}
/** Somebody whose links are of no account: only the mailbox counts. */
const nobody = { identifiers: [randomBytes(32), randomBytes(32)].sort(Buffer.compare), deviceHash: randomBytes(32) }
const register = (by: Buffer): Script => setPassword({ ...(nobody as Player), link: by })
const of = (name: string, scripts: Scenario['scripts']): Scenario => ({ name, scripts })

const linkTwice = scenario('one link twice: one password', {}, (ada) => ({
  scripts: [setPassword(ada), setPassword(ada)],
  wrong: first(be('expired', 'set'), states(ada, { liveLinks: 0, liveSessions: 0, live: 0 })),
}))
const registerTwice = of('two links that register one address: one account, one password', async () => {
  const email = freshMailbox()
  const [one, other] = [await registerLink(email), await registerLink(email)]
  return { scripts: [register(one), register(other)], wrong: first(be('expired', 'set'), holds(email, 1)) }
})
const registerOnce = of('one link that registers twice: one account', async () => {
  const email = freshMailbox()
  const link = await registerLink(email)
  return { scripts: [register(link), register(link)], wrong: first(be('expired', 'set'), holds(email, 1)) }
})
const registerAndInvite = of('a link that registers while an operator makes the account: it is one', async () => {
  const email = freshMailbox()
  const link = await registerLink(email)
  return {
    scripts: [create(email), register(link)],
    wrong: first(beOneOf('created,set', 'email_taken,set'), holds(email, 1)),
  }
})
const linksAndInvite = of('two links that register while an operator makes the account: no deadlock', async () => {
  const email = freshMailbox()
  const [one, other] = [await registerLink(email), await registerLink(email)]
  return { scripts: [create(email), register(one), register(other)], wrong: holds(email, 1) }
})
const linkTwiceAndInvite = of('one link twice while an operator makes the account: no deadlock', async () => {
  const email = freshMailbox()
  const link = await registerLink(email)
  return {
    scripts: [create(email), register(link), register(link)],
    wrong: first(holds(email, 1), (outcomes) =>
      namesOf(outcomes).filter((name) => name === 'set').length === 1 ? null : namesOf(outcomes).join(),
    ),
  }
})
const registerAndMove = scenario(
  'a link that registers an address to which an account moves: one has it',
  {},
  async (ada) => {
    const link = await registerLink(ada.newEmail)
    return {
      scripts: [register(link), confirmEmail(ada)],
      wrong: first(beOneOf('set,expired', 'expired,changed'), holds(ada.newEmail, 1)),
    }
  },
)
/** The move stands between taking the address and ending the links to it, until another's transaction is over. */
const registerAndHeldMove = scenario('the same while the move is held up half-way: no deadlock', {}, async (ada) => {
  const link = await registerLink(ada.newEmail)
  return {
    scripts: [
      { sql: 'UPDATE devices SET name = name WHERE id = $1', values: [ada.device] },
      ...[confirmEmail(ada), register(link)],
    ],
    wrong: holds(ada.newEmail, 1),
  }
})
/** The link was mailed before there was the account, and names none. */
const moveAway = scenario(
  'a link to a mailbox that its account leaves: no password for that account',
  {},
  async (ada) => {
    const link = await registerLink(ada.email)
    await sql(`UPDATE users SET password_hash = 'of the owner' WHERE id = $1`, [ada.id])
    return {
      scripts: [confirmEmail(ada), setPassword(ada, { by: link })],
      wrong: async (outcomes) => {
        const { email, password } = await stateOf(ada)
        const isTheOwners = email === ada.newEmail && password === 'of the owner' && idOf(outcomes[1]) !== ada.id
        const isTheMailboxes = email === ada.email && password === 'by link'
        return namesOf(outcomes).every((name) => !name.startsWith('failed')) && (isTheOwners || isTheMailboxes)
          ? null
          : `${namesOf(outcomes).join()} ${email} ${password}`
      },
    }
  },
)
const twoMove = of('two accounts that move to one address: one does', async () => {
  const [ada, bob] = [await join(), await join()]
  await sql('UPDATE mail_links SET email = $1 WHERE token_hash = ANY ($2)', [
    ada.newEmail,
    [ada.confirmLink, bob.confirmLink],
  ])
  return {
    scripts: [confirmEmail(ada), confirmEmail(bob)],
    wrong: first(be('changed', 'expired'), holds(ada.newEmail, 1)),
  }
})
const setAndOperator = scenario(
  'a link while an operator sets the password: nothing lives, the link is used up',
  {},
  (ada) => ({
    scripts: [setPassword(ada), change(ada, { password_hash: 'of the operator' })],
    wrong: first(
      beOneOf('set,changed', 'expired,changed'),
      states(ada, { password: 'of the operator', liveSessions: 0, live: 0, liveLinks: 0 }),
    ),
  }),
)
const setAndLogin = scenario('a link while a right code is typed: no session of the old password lives', {}, (ada) => ({
  scripts: [answer(ada), setPassword(ada)],
  wrong: first(beOneOf('completed,set', 'invalid,set'), states(ada, { liveSessions: 0, live: 0 })),
}))
const setAndForget = scenario('a link while its user is forgotten: nobody is left', {}, (ada) => ({
  scripts: [setPassword(ada), forget(ada)],
  wrong: first(
    beOneOf('set,done', 'expired,done'),
    states(ada, { users: 0, links: 0, sessions: 0 }),
    holds(ada.email, 0),
  ),
}))
const setAndLeave = scenario('a link while its user leaves: a session that has ended leaves no more', {}, (ada) => ({
  scripts: [leave(ada), setPassword(ada)],
  wrong: async (outcomes) => {
    const { leaves, password } = await stateOf(ada)
    return (nameOf(outcomes[1]) === 'set') === (password === 'by link') && (password === 'by link') !== leaves
      ? null
      : `${namesOf(outcomes).join()} ${leaves} ${password}`
  },
}))
const setAndSecure = scenario(
  'a link while the owner takes everything back: the password is to be set anew',
  {},
  (ada) => ({
    scripts: [setPassword(ada), secure(ada)],
    wrong: first(
      beOneOf('set,secured', 'expired,secured'),
      states(ada, { passwordState: 'reset_required', liveSessions: 0, liveLinks: 0 }),
    ),
  }),
)
const changeTwice = scenario('a password changed twice at once: one goes on', {}, (ada) => ({
  scripts: [changePassword(ada), changePassword(ada)],
  wrong: first(be('changed', 'ended'), states(ada, { sessions: 2, liveSessions: 1 })),
}))
const changeAndOperator = scenario('a password changed while an operator sets it: his stays', {}, (ada) => ({
  scripts: [changePassword(ada), change(ada, { password_hash: 'of the operator' })],
  wrong: first(
    beOneOf('changed,changed', 'ended,changed'),
    states(ada, { password: 'of the operator', liveSessions: 0 }),
  ),
}))
const changeAndTheft = scenario(
  'a password changed by a session whose token comes twice: it does not go on',
  {},
  (ada) => ({
    scripts: [rotate(ada, { generation: 0 }), changePassword(ada)],
    wrong: async (outcomes) => {
      // The new session began with the end of the old one, or not at all.
      const [row] = await sql<{ follows: boolean }>(
        `SELECT coalesce(bool_and(new.created_at = old.ended_at), false) AS follows FROM sessions old
         JOIN sessions new ON new.user_id = old.user_id AND new.id <> old.id WHERE old.id = $1`,
        [ada.session],
      )
      const { sessions: made, liveSessions } = await stateOf(ada)
      const found = `${namesOf(outcomes)[1]} ${made} ${liveSessions} ${row?.follows}`
      return ['ended 1 0 false', 'changed 2 1 true'].includes(found) ? null : `${namesOf(outcomes)[0]} ${found}`
    },
  }),
)
const changeAndLogin = scenario(
  'a password changed while a right code is typed: only the new session lives',
  {},
  (ada) => ({
    scripts: [answer(ada, { trust: true }), changePassword(ada)],
    wrong: first(
      beOneOf('completed,changed', 'invalid,changed'),
      states(ada, { password: 'changed', liveSessions: 1, live: 0, trusted: 0 }),
    ),
  }),
)
const forceAndLogin = scenario(
  'a right code while an operator makes the password useless: no session lives',
  {},
  (ada) => ({
    scripts: [answer(ada), resetPassword(ada, true)],
    wrong: first(beOneOf('completed,done', 'invalid,done'), states(ada, { liveSessions: 0, live: 0 })),
  }),
)
const forceAndChange = scenario(
  'a password changed while an operator makes it useless: no session lives',
  {},
  (ada) => ({
    scripts: [changePassword(ada), resetPassword(ada, true)],
    wrong: first(
      beOneOf('changed,done', 'ended,done'),
      states(ada, { passwordState: 'reset_required', liveSessions: 0 }),
    ),
  }),
)
const forceAndMove = scenario(
  'a reset by an operator while the e-mail changes: it goes to the mailbox of then',
  {},
  async (ada) => ({
    scripts: [confirmEmail(ada), resetPassword(ada, false)],
    wrong: async (outcomes) => {
      const mails = await sql(
        `SELECT m.address = u.email AS fits FROM mails m JOIN users u ON u.id = m.user_id WHERE u.id = $1 AND m.kind = 'link'`,
        [ada.id],
      )
      // Asked for before the move, it is to the old one, and its link is none.
      const isFirst = !mails[0]?.fits && nameOf(outcomes[0]) === 'changed'
      return mails.length === 0 || mails[0]?.fits || isFirst ? null : JSON.stringify(mails)
    },
  }),
)
const thirdAsked = scenario('two changes of e-mail asked for when the day has one left: one is', {}, async (ada) => {
  await run(requestEmail(ada))
  await run(requestEmail(ada))
  return { scripts: [requestEmail(ada), requestEmail(ada)], wrong: be('queued', 'too_many') }
})
const lastExport = scenario('two exports when the day has one left: one is', {}, async (ada) => {
  for (let n = 0; n < 4; n += 1) await run(exportAll(ada))
  return { scripts: [exportAll(ada), exportAll(ada)], wrong: be('exported', 'too_many') }
})
const twoMails = scenario('two mails to one address at once: one says something', {}, async (ada) => {
  await sql(
    `INSERT INTO mails (kind, topic, address, locale, created_at, next_try_at)
     SELECT kind, topic, address, locale, now(), now() FROM mails WHERE address = $1 AND kind = 'link'`,
    [ada.email],
  )
  const [old, young] = [prepare(ada), prepare(ada)]
  young.sql = young.sql.replace('ORDER BY id', 'ORDER BY id DESC')
  await sql(`UPDATE mails SET created_at = now() WHERE address = $1 AND kind = 'link'`, [ada.email])
  return {
    scripts: [old, young],
    wrong: async (outcomes) => {
      const said = outcomes.map((it) => ('value' in it ? String((it.value as { topic?: unknown }).topic) : 'failed'))
      return said.sort().join() === 'forgot,null' ? null : said.join()
    },
  }
})
const prepareAndForce = scenario(
  'a link that is sent while an operator ends all links: none of before lives',
  {},
  (ada) => ({
    scripts: [prepare(ada), resetPassword(ada, true)],
    wrong: states(ada, { linksLeftOver: 0 }),
  }),
)
const noticeAndSecure = scenario(
  'a notice sent while the owner takes everything back: no older link of one lives',
  {},
  (ada) => ({
    scripts: [linkNotice(ada), secure(ada)],
    wrong: states(ada, { noticesLeftOver: 0 }),
  }),
)
const secureTwice = scenario('one not-me link twice: it is good once', {}, (ada) => ({
  scripts: [secure(ada), secure(ada)],
  wrong: first(be('expired', 'secured'), states(ada, { devices: 0, liveSessions: 0 })),
}))
const secureAndLogin = scenario('a right code while the owner takes everything back: no session lives', {}, (ada) => ({
  scripts: [answer(ada, { trust: true }), secure(ada)],
  wrong: first(beOneOf('completed,secured', 'invalid,secured'), states(ada, { liveSessions: 0, devices: 0, live: 0 })),
}))
const secureAndMove = scenario(
  'an e-mail confirmed while the owner takes everything back: it is the old one',
  {},
  (ada) => ({
    scripts: [confirmEmail(ada), secure(ada)],
    wrong: first(beOneOf('changed,secured', 'expired,secured'), states(ada, { email: ada.email, liveSessions: 0 })),
  }),
)
const secureAndLeave = scenario(
  'a deletion begun while the owner takes everything back: the account stays',
  {},
  (ada) => ({
    scripts: [leave(ada), secure(ada)],
    wrong: states(ada, { leaves: false, disabled: false, liveSessions: 0 }),
  }),
)
/** Ada's account has moved away: who takes her old address first has it, and she is secured all the same. */
const takenMeanwhile = (name: string, taker: (old: Player) => Promise<Script>): Scenario =>
  scenario(name, {}, async (ada) => {
    await run(confirmEmail(ada))
    return {
      scripts: [secure(ada), await taker(ada)],
      wrong: first(
        (outcomes) => (nameOf(outcomes[0]) === 'secured' ? null : nameOf(outcomes[0])),
        holds(ada.email, 1),
        states(ada, { liveSessions: 0 }),
      ),
    }
  })
const takenByLink = takenMeanwhile('an address taken back while somebody registers it: one has it', async (ada) =>
  register(await registerLink(ada.email)),
)
const takenByMove = takenMeanwhile(
  'an address taken back while another account moves there: one has it',
  async (ada) => {
    const bob = await join()
    await sql('UPDATE mail_links SET email = $1 WHERE token_hash = $2', [ada.email, bob.confirmLink])
    return confirmEmail(bob)
  },
)
const due = async (ada: Player): Promise<void> => {
  await run(leave(ada))
  await sql(`UPDATE users SET erases_at = now() - interval '1 minute' WHERE id = $1`, [ada.id])
}
const erased = async (): Promise<number> =>
  (await sql(`SELECT FROM audit_events WHERE type = 'user.deleted' AND outcome = 'erased'`)).length
const eraseAndEnable = scenario('an account erased while an operator takes the deletion back', {}, async (ada) => {
  await due(ada)
  const before = await erased()
  return {
    scripts: [eraseDue(), change(ada, { disabled: false })],
    wrong: async (outcomes) => {
      const { users, leaves } = await stateOf(ada)
      // Either it is there and stays, or it is gone, which is on record.
      const isWhole = (users === 1 && leaves === false) || (users === 0 && (await erased()) > before)
      return isWhole && namesOf(outcomes).every((name) => !name.startsWith('failed'))
        ? null
        : `${namesOf(outcomes).join()} ${users} ${leaves}`
    },
  }
})
const eraseTwice = scenario('two replicas erase at once: nothing is left, nothing fails', {}, async (ada) => {
  await due(ada)
  return {
    scripts: [eraseDue(), eraseDue(), setPassword(ada)],
    wrong: first(states(ada, { users: 0, links: 0, sessions: 0, devices: 0, texts: 0 }), holds(ada.email, 0)),
  }
})
const resetAndSecure = scenario(
  'factors reset by an operator while the owner takes everything back: the reset stays',
  {},
  (ada) => ({
    scripts: [resetFactors(ada), secure(ada)],
    wrong: states(ada, { factors: 0, recoveryCodes: 0, liveSessions: 0 }),
  }),
)

const all: Scenario[] = [
  ...[linkTwice, registerTwice, registerOnce, registerAndInvite, linksAndInvite, linkTwiceAndInvite],
  ...[registerAndMove, registerAndHeldMove, moveAway, twoMove],
  ...[setAndOperator, setAndLogin, setAndForget, setAndLeave, setAndSecure],
  ...[changeTwice, changeAndOperator, changeAndTheft, changeAndLogin, forceAndLogin, forceAndChange, forceAndMove],
  ...[thirdAsked, lastExport, twoMails, prepareAndForce, noticeAndSecure],
  ...[secureTwice, secureAndLogin, secureAndMove, secureAndLeave, takenByLink, takenByMove],
  ...[eraseAndEnable, eraseTwice, resetAndSecure],
]

t.test('every order keeps the rules', async (t) => {
  for (const one of all) t.same(await broken(one), [], one.name)
})

const lockOf = (decision: string, name: string, breaks: Scenario[], user = 'p_user'): Tooth => ({
  ...{ guard: `the lock ${name}`, in: decision, part: `lock_account(${user})`, instead: 'clock_timestamp()' },
  ...{ race: true, breaks },
})
const teeth: Tooth[] = [
  lockOf('set_password', 'before a password is set', [setAndOperator, setAndLogin, setAndSecure], 'the_user'),
  lockOf('change_password', 'before a password is changed', [changeAndLogin]),
  lockOf('reset_password', 'before a password is useless', [forceAndLogin], 'the_user'),
  lockOf('request_email_change', 'before another e-mail is asked for', [thirdAsked]),
  lockOf('confirm_email', 'before an e-mail changes', [secureAndMove]),
  lockOf('begin_deletion', 'before a user leaves', [setAndLeave, secureAndLeave]),
  lockOf('export_account', 'before an export', [lastExport]),
  lockOf(
    'secure_account',
    'before everything is taken back',
    [secureAndLogin, secureAndMove, secureAndLeave],
    'the_user',
  ),
  lockOf(
    'link_notice',
    'before a notice gets its link',
    [noticeAndSecure],
    '(SELECT user_id FROM mails WHERE id = p_mail)',
  ),
  lockOf('prepare_link', 'before a link is sent', [prepareAndForce], 'the_user'),
  {
    guard: 'the turns of mails to one address',
    in: 'prepare_link',
    part: 'PERFORM lock_links(m.address);\n  the_user := CASE WHEN is_public THEN (SELECT id FROM users WHERE email = m.address) ELSE m.user_id END;\n  t := lock_account(the_user);',
    instead: 't := clock_timestamp();',
    race: true,
    breaks: [twoMails],
  },
  {
    guard: 'the account before its links',
    in: 'set_password',
    part: 'PERFORM lock_links(the_email);',
    instead: 'PERFORM FROM mail_links WHERE token_hash = p_hash FOR UPDATE;',
    race: true,
    breaks: [registerAndHeldMove, linksAndInvite],
  },
  {
    guard: 'the mailbox that the account still has',
    in: 'set_password',
    part: 'AND email = the_email AND',
    instead: 'AND',
    race: true,
    breaks: [moveAway],
  },
  {
    guard: 'the end of a used link',
    in: 'live_link',
    part: 'AND ended_at IS NULL',
    instead: '',
    race: false,
    breaks: [linkTwice, registerOnce],
  },
  {
    guard: 'an address that is taken at the same moment',
    in: 'take_back',
    part: 'EXCEPTION WHEN unique_violation THEN',
    instead: 'EXCEPTION WHEN division_by_zero THEN',
    race: false,
    breaks: [takenByLink, takenByMove],
  },
  {
    guard: 'an address that is taken before it is confirmed',
    in: 'confirm_email',
    part: 'EXCEPTION WHEN unique_violation THEN',
    instead: 'EXCEPTION WHEN division_by_zero THEN',
    race: true,
    breaks: [twoMove, registerAndMove],
  },
  {
    guard: 'the hold on the session that changes its password',
    in: 'change_password',
    part: 'PERFORM FROM sessions WHERE id = p_session FOR UPDATE;',
    instead: '',
    race: true,
    breaks: [changeAndTheft],
  },
  {
    guard: 'the second look at who is to be erased',
    in: 'erase_due',
    part: 'DELETE FROM users WHERE id = the_user AND erases_at < p_now;',
    instead: 'DELETE FROM users WHERE id = the_user;',
    race: true,
    breaks: [eraseAndEnable],
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
  t.same(await broken(linkTwice), [], 'and with all of them back none does')
})
