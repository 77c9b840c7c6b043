import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The parts of a V8 CPU profile (`node --cpu-prof`) that are used here; times in microseconds. */
type CpuProfile = {
  startTime: number
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[]
  samples: number[]
  timeDeltas: number[]
}

/** Microseconds on the clock that profiles count by. */
export const profileClock = (): number => Number(process.hrtime.bigint() / 1_000n)

/**
 * Self time by module and by function of the one profile in `folder`, biggest first, in milliseconds per operation:
 * of `operations` that ran between `from` and `to`.
 */
export function summarizeProfile(folder: string, span: { operations: number; from: number; to: number }): string {
  const file = readdirSync(folder).find((name) => name.endsWith('.cpuprofile'))
  if (file === undefined) throw new Error('there is no profile')
  const { startTime, nodes, samples, timeDeltas }: CpuProfile = JSON.parse(readFileSync(join(folder, file), 'utf8'))
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]))
  const modules = new Map<string, number>()
  const functions = new Map<string, number>()
  let now = startTime
  samples.forEach((id, at) => {
    now += timeDeltas[at] ?? 0
    const frame = frames.get(id)
    if (frame === undefined || frame.functionName === '(idle)' || now < span.from || now > span.to) return
    const module = moduleOf(frame.url) || frame.functionName
    const ms = (timeDeltas[at] ?? 0) / 1_000 / span.operations
    modules.set(module, (modules.get(module) ?? 0) + ms)
    const name = `${frame.functionName || '(anonymous)'}  ${module}:${frame.lineNumber + 1}`
    functions.set(name, (functions.get(name) ?? 0) + ms)
  })
  return `${top(modules, 25)}\n\n${top(functions, 35)}`
}

/** `pg`, `@prisma/client`, `src/store`, `node:crypto` … */
function moduleOf(url: string): string {
  const dependency = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1]
  if (dependency !== undefined) return dependency
  const own = /\/dist\/(?:([^/]+)\/)?[^/]+$|\/dist\/(.+)\/[^/]+$/.exec(url)
  if (own) return `src/${own[1] ?? own[2] ?? ''}`
  return url
}

function top(times: Map<string, number>, count: number): string {
  const rows = [...times].sort(([, a], [, b]) => b - a).slice(0, count)
  const total = [...times.values()].reduce((sum, ms) => sum + ms, 0)
  return [...rows, ['in all', total] as const].map(([name, ms]) => `  ${ms.toFixed(3).padStart(8)}  ${name}`).join('\n')
}
