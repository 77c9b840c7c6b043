import type { createDecisions, Player } from './decisions.ts'
import type { Doorstep } from './doorstep.ts'
import { type Outcome, type openSessions, ordersOf, type Script } from './interleave.ts'

/** What the statements did, for a scenario to judge: the first thing that is wrong, or null. */
export type Judge = (outcomes: Outcome[]) => string | null | Promise<string | null>
export type Scenario = { name: string; scripts: () => Promise<{ scripts: Script[]; wrong: Judge }> }
export type State = Record<string, number | string | boolean | null>

/** `race`: needs transactions that are open at once, so that the embedded database cannot show it. */
export type Tooth = { guard: string; in: string; part: string; instead: string; breaks: Scenario[]; race: boolean }

export const nameOf = (outcome: Outcome | undefined): string => {
  if (outcome === undefined) return 'nothing'
  if ('failed' in outcome) return `failed ${outcome.failed}`
  const { value } = outcome
  return typeof value === 'object' && value !== null && 'outcome' in value ? String(value.outcome) : 'done'
}
export const namesOf = (outcomes: Outcome[]): string[] => outcomes.map(nameOf)

/** The outcomes are these, whoever has which. */
export const be =
  (...expected: string[]): Judge =>
  (outcomes) => {
    const found = namesOf(outcomes).sort().join()
    return found === [...expected].sort().join() ? null : found
  }
/** The outcomes, in the order of the scripts, are one of these lists. */
export const beOneOf =
  (...expected: string[]): Judge =>
  (outcomes) =>
    expected.includes(namesOf(outcomes).join()) ? null : namesOf(outcomes).join()
export const first =
  (...judges: Judge[]): Judge =>
  async (outcomes) => {
    for (const judge of judges) {
      const wrong = await judge(outcomes)
      if (wrong !== null) return wrong
    }
    return null
  }

const sequential = (orders: number[][]): number[][] =>
  orders.filter((order) =>
    order.every((session, i) => session === order[i - 1] || !order.slice(0, i).includes(session)),
  )

type Sessions = Awaited<ReturnType<typeof openSessions>>

/** Plays scenarios in a database, in every order of their statements and commits, and looks at what is stored then. */
export function createStage(
  { sql, database }: Pick<Doorstep, 'sql' | 'database'>,
  { join }: Pick<ReturnType<typeof createDecisions>, 'join'>,
  sessions: Sessions,
) {
  const run = async ({ sql: text, values }: Script): Promise<Record<string, unknown>> =>
    Object.values((await sql(text, values))[0] ?? {})[0] as Record<string, unknown>

  const stateOf = async (player: Player): Promise<State> => {
    const [row] = await sql<State>(
      `SELECT
         (SELECT attempts FROM challenges WHERE id = $2) AS attempts, (SELECT attempts FROM challenges WHERE id = $3) AS "stepUpAttempts",
         (SELECT sends FROM challenge_codes WHERE challenge_id = $2) AS sends,
         (SELECT delivery FROM sms_messages WHERE id = (SELECT message_id FROM challenge_codes WHERE challenge_id = $2)) AS delivery,
         (SELECT count(*)::integer FROM challenges WHERE user_id = $1 AND consumed_at IS NOT NULL) AS consumed,
         (SELECT count(*)::integer FROM challenges WHERE user_id = $1 AND consumed_at IS NULL AND superseded_at IS NULL) AS live,
         (SELECT coalesce(max(n), 0)::integer FROM (SELECT count(*) AS n FROM challenges WHERE user_id = $1 AND purpose = 'login'
            AND consumed_at IS NULL AND superseded_at IS NULL GROUP BY known) by_class) AS crowd,
         (SELECT count(*)::integer FROM sessions WHERE user_id = $1) AS sessions,
         (SELECT count(*)::integer FROM sessions WHERE user_id = $1 AND ended_at IS NULL) AS "liveSessions",
         (SELECT count(*)::integer FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND device_id = $5) AS "ofDevice",
         (SELECT generation FROM sessions WHERE id = $4) AS generation, (SELECT ended_at IS NOT NULL FROM sessions WHERE id = $4) AS ended,
         (SELECT acr FROM sessions WHERE id = $4) AS acr, (SELECT authenticated_at > ended_at FROM sessions WHERE id = $4) AS "raisedAfter",
         (SELECT rotated_at > ended_at FROM sessions WHERE id = $4) AS "turnedAfter",
         (SELECT count(*)::integer FROM sms_messages WHERE user_id = $1) AS texts,
         (SELECT count(*)::integer FROM sms_messages WHERE phone = $8) AS "phoneTexts",
         (SELECT count(*)::integer FROM sms_messages WHERE user_id = $1 AND challenge_id = $2 AND state = 'open') AS "openTexts",
         (SELECT coalesce(sum(cardinality(failed_at)), 0)::integer FROM factor_guards WHERE user_id = $1) AS failed,
         (SELECT failures FROM login_throttles WHERE identifier = $6) AS "passwordsOfStrangers",
         (SELECT failures FROM login_throttles WHERE identifier = $9) AS "passwordsOfSecondKey",
         (SELECT failures FROM login_throttles WHERE identifier = $7) AS "passwordsOfDevice",
         (SELECT failures FROM devices WHERE id = $5) AS "inARow",
         (SELECT count(*)::integer FROM devices WHERE user_id = $1) AS devices,
         (SELECT count(*)::integer FROM devices WHERE user_id = $1 AND trusted_until > now()) AS trusted,
         (SELECT count(*)::integer FROM factors WHERE user_id = $1) AS factors,
         (SELECT count(*)::integer FROM factors WHERE user_id = $1 AND method = 'totp') AS apps,
         (SELECT count(*)::integer FROM recovery_codes WHERE user_id = $1) AS "recoveryCodes",
         (SELECT count(*)::integer FROM challenges WHERE user_id = $1 AND purpose = 'enrol' AND consumed_at IS NULL
            AND superseded_at IS NULL) AS enrolments,
         (SELECT count(*)::integer FROM mail_links WHERE user_id = $1 AND kind <> 'not_me' AND ended_at IS NULL) AS "liveLinks",
         (SELECT count(*)::integer FROM mail_links WHERE user_id = $1 AND kind = 'not_me' AND ended_at IS NULL) AS "liveNotMe",
         (SELECT count(*)::integer FROM mail_links old, mail_links ended WHERE old.user_id = $1 AND ended.user_id = $1
            AND 'not_me' NOT IN (old.kind, ended.kind) AND old.ended_at IS NULL AND old.created_at <= ended.ended_at) AS "linksLeftOver",
         (SELECT count(*)::integer FROM mail_links old, mail_links used WHERE old.user_id = $1 AND used.user_id = $1
            AND 'not_me' = ALL (ARRAY[old.kind, used.kind]) AND old.ended_at IS NULL
            AND old.created_at BETWEEN used.created_at AND used.ended_at) AS "noticesLeftOver",
         (SELECT count(*)::integer FROM mail_links WHERE user_id = $1) AS links,
         (SELECT password_hash FROM users WHERE id = $1) AS password, (SELECT password_state FROM users WHERE id = $1) AS "passwordState",
         (SELECT email FROM users WHERE id = $1) AS email, (SELECT disabled_at IS NOT NULL FROM users WHERE id = $1) AS disabled,
         (SELECT erases_at IS NOT NULL FROM users WHERE id = $1) AS leaves,
         (SELECT count(*)::integer FROM users WHERE id = $1) AS users`,
      [
        ...[player.id, player.challenge, player.stepUp, player.session, player.device],
        ...[player.identifiers[0], player.deviceHash, player.phone, player.identifiers[1]],
      ],
    )
    return row ?? {}
  }
  const states =
    (player: Player, expected: State): Judge =>
    async () => {
      const found = await stateOf(player)
      const differs = Object.entries(expected).filter(([name, value]) => found[name] !== value)
      return differs.length === 0 ? null : differs.map(([name]) => `${name} ${found[name]}`).join()
    }
  const ordersFor = (lengths: number[]): number[][] =>
    database.isReal ? ordersOf(lengths) : sequential(ordersOf(lengths))
  /** The orders after which something was wrong, as `order: what`; stops at the first if `untilFirst`. */
  const broken = async (scenario: Scenario, untilFirst = false): Promise<string[]> => {
    const found: string[] = []
    const count = (await scenario.scripts()).scripts.length
    for (const order of ordersFor(Array.from({ length: count }, () => 2))) {
      const { scripts, wrong } = await scenario.scripts()
      const what = await wrong(await sessions.play(scripts, order))
      if (what !== null) found.push(`${order.join('')}: ${what}`)
      if (untilFirst && found.length > 0) break
    }
    return found
  }

  const scenario = (
    name: string,
    beginning: Parameters<typeof join>[0],
    make: (player: Player) => { scripts: Script[]; wrong: Judge } | Promise<{ scripts: Script[]; wrong: Judge }>,
  ): Scenario => ({ name, scripts: async () => make(await join(beginning)) })

  /** Replaces a part of a function in this database while `work` runs. */
  const without = async (name: string, part: string, instead: string, work: () => Promise<void>): Promise<void> => {
    const [row] = await sql<{ definition: string }>('SELECT pg_get_functiondef($1::regproc) AS definition', [name])
    const definition = row?.definition ?? ''
    if (!definition.includes(part)) throw new Error(`${name} has no "${part}"`)
    await sql(definition.replace(part, instead))
    await work().finally(() => sql(definition))
  }

  return { run, stateOf, states, ordersFor, broken, scenario, without }
}
