import { createHash } from 'node:crypto'
import type { Event } from '../../events.ts'
import type { Services } from '../../services.ts'
import type { ImportedUser, ImportOutcome, Taken } from '../../store/imports.ts'
import type { Line } from './import-lines.ts'
import { type ReadServices, type RowFailure, readRow } from './import-row.ts'

/** What became of a line. */
export type RowResult =
  | { line: number; outcome: 'created' | 'exists' }
  | ({ line: number; outcome: 'failed' } & RowFailure)

/** `created`, `exists`, `failed`: how many, together `rows`; `failures`: the first of them, with what `codes` there were. */
export type ImportSummary = {
  dry_run: boolean
  rows: number
  created: number
  exists: number
  failed: number
  codes: Record<string, number>
  failures: RowResult[]
}

type ImportServices = ReadServices & Pick<Services, 'store' | 'events'>
type Read = { line: number; read: ImportedUser | RowFailure }

/** Users in one statement. Each takes locks in the database's memory, which has room for thousands. */
const batchSize = 200

/** Failures that the summary names one by one; `tell` hears of all. */
const mostFailures = 100

const event: Event = { type: 'user.created', outcome: 'imported', byOperator: true }

/**
 * Brings in users of another system, a line of JSON each (contract, section 7). Each stands alone: it makes a user, finds one with
 * that e-mail, who stays as he is, or fails; so what was cut short is simply done again. `dryRun`: only says what would become
 * of each. `tell` hears of every line in its turn. Whatever the file holds, only some lines at a time are in memory.
 */
export async function importUsers(
  services: ImportServices,
  lines: AsyncIterable<Line>,
  { dryRun, tell }: { dryRun: boolean; tell: (result: RowResult) => Promise<void> },
): Promise<ImportSummary> {
  const summary: ImportSummary = { dry_run: dryRun, rows: 0, created: 0, exists: 0, failed: 0, codes: {}, failures: [] }
  const outcomesOf = dryRun ? guessing(services) : storing(services)
  let batch: Read[] = []
  const flush = async (): Promise<void> => {
    for (const result of await outcomesOf(batch)) {
      count(summary, result)
      await tell(result)
    }
    batch = []
  }
  for await (const { number: line, text } of lines) {
    batch.push({ line, read: readRow(services, text) })
    if (batch.length >= batchSize) await flush()
  }
  await flush()
  return summary
}

function count(summary: ImportSummary, result: RowResult): void {
  summary.rows += 1
  summary[result.outcome] += 1
  if (result.outcome !== 'failed') return
  summary.codes[result.code] = (summary.codes[result.code] ?? 0) + 1
  if (summary.failures.length < mostFailures) summary.failures.push(result)
}

const isUser = (read: ImportedUser | RowFailure): read is ImportedUser => 'email' in read

/** The users of a batch go to the database together, and come back as one result a line, in order. */
async function settle(batch: Read[], store: (users: ImportedUser[]) => Promise<ImportOutcome[]>): Promise<RowResult[]> {
  const users = batch.map(({ read }) => read).filter(isUser)
  const outcomes = users.length === 0 ? [] : await store(users)
  return batch.map(({ line, read }) =>
    isUser(read)
      ? resultOf(line, outcomes.shift() ?? 'exists')
      : { line, outcome: 'failed', code: read.code, message: read.message },
  )
}

const taken = {
  external_id_taken: 'external_id is that of another user',
  phone_taken: 'phone serves as many users as it may',
}

const resultOf = (line: number, outcome: ImportOutcome): RowResult =>
  outcome === 'created' || outcome === 'exists'
    ? { line, outcome }
    : { line, outcome: 'failed', code: 'conflict', message: taken[outcome] }

function storing({ store, events }: ImportServices) {
  return (batch: Read[]): Promise<RowResult[]> =>
    settle(batch, async (users) => {
      const outcomes = await store.imports.add(users, event)
      for (const [at, { id }] of users.entries())
        if (outcomes[at] === 'created') events.announce({ ...event, userId: id })
      return outcomes
    })
}

/**
 * Nothing is stored, so what the users of earlier lines have is remembered here: some bytes for each e-mail, `external_id` and
 * phone. The rules are those of `import_user` (import.sql), in their order.
 */
function guessing({ store }: ImportServices) {
  const counts = new Map<number, number>()
  const markOf = (kind: string, value: string): number =>
    createHash('sha256').update(`${kind}|${value}`).digest().readUIntBE(0, 6)

  const guess = ({ email, external_id: externalId, phone }: ImportedUser, taken: Taken): ImportOutcome => {
    const marks = {
      email: markOf('email', email),
      externalId: externalId === null ? null : markOf('external_id', externalId),
      phone: phone === null ? null : markOf('phone', phone),
    }
    const earlier = (mark: number | null): number => (mark === null ? 0 : (counts.get(mark) ?? 0))
    if (taken.email || earlier(marks.email) > 0) return 'exists'
    if (taken.external_id || earlier(marks.externalId) > 0) return 'external_id_taken'
    if (phone !== null && earlier(marks.phone) >= taken.phone_places) return 'phone_taken'
    for (const mark of Object.values(marks)) if (mark !== null) counts.set(mark, earlier(mark) + 1)
    return 'created'
  }

  return (batch: Read[]): Promise<RowResult[]> =>
    settle(batch, async (users) => {
      const takens = await store.imports.foresee(users)
      return users.flatMap((user, at) => {
        const taken = takens[at]
        return taken === undefined ? [] : [guess(user, taken)]
      })
    })
}
