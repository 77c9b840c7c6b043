import type { Writable } from 'node:stream'

export type Outlet = ReturnType<typeof createOutlet>

/** Bytes that wait for a slow reader; what comes on top of them is lost. */
const defaultKeptBytes = 1_048_576

/**
 * Lines to standard output or standard error, for a reader that may be slow, gone, or asleep for ever: they are written
 * in order, kept up to `keptBytes`, and lost rather than waited for (SEC-84, SEC-112).
 *
 * It writes through Node's own stream, which hands the kernel what a pipe or socket takes at once and keeps the rest.
 * `fs.write` (pino's destinations) would block: the process, or else one of the threads, which the exit waits for.
 */
export function createOutlet(stream: Writable, keptBytes = defaultKeptBytes) {
  let lost = 0
  let told = 0
  let isTorn = false
  let tellLost = (_lost: number): void => {}

  // Every line hears of its own failure below; here it would only end the process.
  stream.on('error', () => {})
  // A terminal is the one stream that Node makes wait, and it can be held (Ctrl-S) or unread (`docker run --tty`).
  const { _handle: handle } = stream as { _handle?: { setBlocking?(isBlocking: boolean): void } | null }
  handle?.setBlocking?.(false)

  const settle = (error?: Error | null): void => {
    if (error) {
      lost += 1
      isTorn = true
    } else if (lost > told && stream.writableLength === 0) {
      told = lost
      tellLost(lost)
    }
  }

  return {
    /** Takes one line with its line break, or several. Never waits, never throws. */
    write(line: string): void {
      // A full disk may have taken half a line: what follows begins on a new one.
      const bytes = Buffer.from(isTorn ? `\n${line}` : line)
      if (stream.writableLength + bytes.length > keptBytes) {
        lost += 1
        return
      }
      isTorn = false
      stream.write(bytes, settle)
    },

    /** How many lines were lost since the start. */
    lost: (): number => lost,

    /** Calls `tell` with that number when lines were lost and the reader is back. */
    onceBack(tell: (lost: number) => void): void {
      tellLost = tell
    },

    /** Resolves when all of it is written, or after `ms`. Never rejects. */
    flush: (ms: number): Promise<void> =>
      new Promise((resolve) => {
        const deadline = setTimeout(resolve, ms)
        stream.write('', () => {
          clearTimeout(deadline)
          resolve()
        })
      }),
  }
}
