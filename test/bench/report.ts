/** One program under one load, in one round. Milliseconds; CPU per operation. */
export type Result = {
  failed: number
  operationsPerSecond: number
  p50: number
  p95: number
  p99: number
  serverMs: number
  /** Of it, what the thread pool spent: the hash. */
  poolMs: number
  postgresMs: number | null
}

/**
 * What is asked of a figure: `atLeast` or `atMost`, and by which share noise may make it miss. A figure of null could
 * not be measured here.
 */
export type Target = { name: string; values: (number | null)[]; digits?: number; unit?: string } & (
  | { atLeast: number }
  | { atMost: number }
) & { tolerance: number }

export type Verdict = 'met' | 'close' | 'MISSED' | 'not measured'

/** The middle value; the mean of the two middle ones for an even count. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}

/** The value that `share` of the ascending `sorted` values do not exceed. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

/** Whether the median reaches the target, or misses it by no more than noise may. */
export function judge(target: Target): Verdict {
  const measured = target.values.filter((value) => value !== null)
  if (measured.length === 0) return 'not measured'
  const value = median(measured)
  const reaches = (slack: number): boolean =>
    'atLeast' in target ? value >= target.atLeast * (1 - slack) : value <= target.atMost * (1 + slack)
  if (reaches(0)) return 'met'
  return reaches(target.tolerance) ? 'close' : 'MISSED'
}

/** The medians of the rounds, one line per program and load. */
export function resultTable(results: Map<string, Map<number, Result[]>>): string {
  const rows = [...results].flatMap(([program, loads]) =>
    [...loads].map(([clients, rounds]) => {
      const of = (read: (result: Result) => number | null, digits = 1): string => {
        const values = rounds.map(read).filter((value) => value !== null)
        return values.length === 0 ? '-' : median(values).toFixed(digits)
      }
      return [
        ...[program, String(clients), of((it) => it.operationsPerSecond)],
        ...[of((it) => it.p50), of((it) => it.p95), of((it) => it.p99)],
        ...[of((it) => it.serverMs, 2), of((it) => it.poolMs, 2), of((it) => it.postgresMs, 2)],
      ]
    }),
  )
  const titles = ['', 'clients', 'ops/s', 'p50 ms', 'p95 ms', 'p99 ms', 'server CPU', 'of it hash', 'Postgres CPU']
  return table([titles, ...rows])
}

/** Every target with what was measured: the median, and between which values the rounds lie. */
export function targetTable(targets: Target[]): string {
  const rows = targets.map((target) => {
    const { name, values, digits = 2, unit = '' } = target
    const measured = values.filter((value) => value !== null)
    const show = (value: number): string => `${value.toFixed(digits)}${unit}`
    const wanted = 'atLeast' in target ? `>= ${show(target.atLeast)}` : `<= ${show(target.atMost)}`
    const spread = measured.length > 1 ? `${show(Math.min(...measured))} to ${show(Math.max(...measured))}` : ''
    return [name, measured.length > 0 ? show(median(measured)) : '-', spread, wanted, judge(target)]
  })
  return table([['', 'median', 'rounds', 'wanted', ''], ...rows])
}

/** Columns as wide as their widest cell; the first to the left, the others to the right. */
function table(rows: string[][]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)))
  return rows
    .map((row) => row.map((cell, at) => (at === 0 ? cell.padEnd(widths[at] ?? 0) : cell.padStart(widths[at] ?? 0))))
    .map((row) => `  ${row.join('  ')}`.trimEnd())
    .join('\n')
}
