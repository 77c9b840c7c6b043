import { type ChildProcess, spawn } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'

export type LogLine = { level: string; msg: string; address?: string; event?: string }

export type ServiceProcess = Awaited<ReturnType<typeof runService>>

/** Nothing of this machine's settings but what a program needs to run. */
const bareEnvironment = (): Record<string, string> => ({ PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '' })

/**
 * Runs a program of ours as a process of its own, with these settings and no others, and reads what it says, unless that
 * goes to a file of the caller's (`out`, `err`). It is killed when `t` ends, if it still runs.
 */
export function runService(
  t: { teardown(work: () => unknown): void },
  program: string[],
  options: { env: Record<string, string>; cwd: string; out?: number; err?: number },
) {
  const child: ChildProcess = spawn(process.execPath, program, {
    cwd: options.cwd,
    env: { ...bareEnvironment(), ...options.env },
    stdio: ['ignore', options.out ?? 'pipe', options.err ?? 'pipe'],
  })
  let out = ''
  let err = ''
  const waiting = new Set<() => void>()
  const woken = () => {
    for (const wake of waiting) wake()
  }
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    out += text
    woken()
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    err += text
    woken()
  })
  const exit = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.once('close', (code, signal) => {
      resolve({ code, signal })
      woken()
    })
  })
  t.teardown(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await exit
  })

  const lines = (): LogLine[] =>
    out
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line))

  /** The first value that `look` finds in what the program has said or will say. Throws when it ends, or after 150 s. */
  const until = <T>(look: () => T | undefined): Promise<T> =>
    new Promise((resolve, reject) => {
      const stop = (settle: () => void) => {
        waiting.delete(wake)
        clearTimeout(timer)
        settle()
      }
      const wake = () => {
        const found = look()
        if (found !== undefined) stop(() => resolve(found))
        else if (child.exitCode !== null || child.signalCode !== null) stop(() => reject(new Error(`it ended: ${err}`)))
      }
      const timer = setTimeout(() => stop(() => reject(new Error(`it never said so: ${out}${err}`))), 150_000)
      waiting.add(wake)
      wake()
    })

  return {
    pid: child.pid as number,
    out: () => out,
    err: () => err,
    lines,
    until,
    /** The address it listens on, once it says so. */
    address: (): Promise<string> => until(() => lines().find(({ msg }) => msg === 'listening')?.address),
    kill: (signal: NodeJS.Signals) => child.kill(signal),
    exit,
  }
}

/**
 * A port that is free, and that no other process of this run gets until this one ends: each process holds the UDP port
 * of the same number, which nobody else wants. It is below the ports that the system gives to outgoing connections:
 * a program takes seconds until it listens, and meanwhile the run connects thousands of times.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_100 + randomInt(20_000)
    if ((await isHeld(port)) && (await isFree(port))) return port
  }
}

const isHeld = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const mark = createSocket('udp4').unref()
    mark.once('error', () => resolve(false))
    mark.bind({ port, address: '127.0.0.1', exclusive: true }, () => resolve(true))
  })

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, () => server.close(() => resolve(true)))
  })
