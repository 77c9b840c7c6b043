import type { Clock } from '../system.ts'

/** Where it is said: a terminal is drawn over, anything else is spared. */
type Output = NodeJS.WritableStream & { isTTY?: boolean }

/** Says once a second at a terminal how far a file of `size` bytes (0: not known) is, how fast it goes and how long it takes. */
export function createProgress({ clock, to, size }: { clock: Clock; to: Output; size: number }) {
  const begunMs = clock.nowMs()
  let rows = 0
  let saidMs = begunMs
  const say = (bytes: number, nowMs: number): void => {
    saidMs = nowMs
    to.write(`\r\u001b[K${progressLine({ rows, bytes, size, ms: nowMs - begunMs })}`)
  }
  return {
    /** One row more, `bytes` of the file read by now. */
    step: (bytes: number): void => {
      rows += 1
      if (to.isTTY !== true) return
      const nowMs = clock.nowMs()
      if (nowMs - saidMs >= 1_000) say(bytes, nowMs)
    },
    /** Leaves the last state where it is. */
    end: (bytes: number): void => {
      if (to.isTTY !== true) return
      say(bytes, clock.nowMs())
      to.write('\n')
    },
  }
}

/** `12,000 rows, 2,400 a second, 1:05 left`. */
export function progressLine({
  rows,
  bytes,
  size,
  ms,
}: {
  rows: number
  bytes: number
  size: number
  ms: number
}): string {
  const rate = Math.round((rows * 1_000) / Math.max(ms, 1))
  const said = `${rows.toLocaleString('en')} rows, ${rate.toLocaleString('en')} a second`
  if (size === 0 || bytes === 0) return said
  const left = Math.round((ms * (size - bytes)) / bytes / 1_000)
  return `${said}, ${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')} left`
}
