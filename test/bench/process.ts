import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const projectFolder = new URL('../../', import.meta.url)

const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

type Stat = { parent: number; ownMs: number; buriedMs: number }

/** CPU of a process so far: its own threads, and its children that have ended (proc(5): utime, stime, cutime, cstime). */
function readStat(path: string): Stat {
  const stat = readFileSync(path, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const ticks = (from: number): number => Number(fields[from]) + Number(fields[from + 1])
  const toMs = 1_000 / ticksPerSecond
  return { parent: Number(fields[1]), ownMs: ticks(11) * toMs, buriedMs: ticks(13) * toMs }
}

/** Milliseconds of CPU that all threads of a process have used. */
export const cpuMs = (pid: number): number => readStat(`/proc/${pid}/stat`).ownMs

/** Node's default UV_THREADPOOL_SIZE. */
const poolThreads = 4

/**
 * Milliseconds of CPU that the thread pool of a Node process has used: where argon2 runs, and nothing else of weight.
 * Its threads are the youngest, since Node makes its own before it runs any code.
 */
export function poolMs(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`).sort((a, b) => Number(a) - Number(b))
  return threads
    .slice(-poolThreads)
    .reduce((sum, thread) => sum + readStat(`/proc/${pid}/task/${thread}/stat`).ownMs, 0)
}

/** As `cpuMs`, with the children of the process, those that have ended too. */
export function familyCpuMs(pid: number): number {
  const { ownMs, buriedMs } = readStat(`/proc/${pid}/stat`)
  const children = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(statOfLiving)
    .filter((stat) => stat?.parent === pid)
  return children.reduce((sum, stat) => sum + (stat?.ownMs ?? 0), ownMs + buriedMs)
}

function statOfLiving(pid: string): Stat | undefined {
  try {
    return readStat(`/proc/${pid}/stat`)
  } catch {
    return undefined
  }
}

/** Resident memory of a process in MiB, now and at its highest. */
export function memoryMiB(pid: number): { now: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1_024
  return { now: field('VmRSS'), peak: field('VmHWM') }
}

export type Child = { pid: number; port: number; close(): Promise<void> }

/**
 * Runs `node <args>` in a process of its own, so that its CPU is its own, and waits until it logs the line "listening"
 * with its address. Its output goes to `logFile`, as a service's would.
 */
export async function startServer(options: {
  args: string[]
  env: Record<string, string>
  logFile: string
}): Promise<Child> {
  const { args, env, logFile } = options
  const output = openSync(logFile, 'a')
  const child = spawn(process.execPath, args, {
    cwd: projectFolder,
    env: { PATH: process.env.PATH ?? '', ...env },
    stdio: ['ignore', output, output],
  })
  const exited = once(child, 'exit')
  const close = async (): Promise<void> => {
    child.kill('SIGTERM')
    await exited
  }
  for (let tries = 0; tries < 300 && child.exitCode === null; tries += 1) {
    const port = /"address":"http:\/\/127\.0\.0\.1:(\d+)".*"listening"/.exec(readFileSync(logFile, 'utf8'))?.[1]
    if (port !== undefined && child.pid !== undefined) return { pid: child.pid, port: Number(port), close }
    await sleep(100)
  }
  await close()
  throw new Error(`node ${args.join(' ')} did not start:\n${readFileSync(logFile, 'utf8').slice(-2_000)}`)
}
