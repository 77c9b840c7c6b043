import { type DestinationStream, destination, type Logger as PinoLogger, pino } from 'pino'

export type Logger = PinoLogger

/**
 * JSON lines on standard output. What is logged is chosen field by field, never a whole request, body or error of a
 * library: what is not passed in cannot leak (SEC-81). A log that cannot be written stops nothing (SEC-84).
 */
export function createLog(level: string, stream?: DestinationStream): Logger {
  const out = stream ?? ignoringErrors()
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    out,
  )
}

/** Lines that could not be written wait for the next try; beyond this many bytes they are dropped. */
const keptBytes = 1_048_576

function ignoringErrors(): DestinationStream {
  const stdout = destination({ fd: 1, sync: true, maxLength: keptBytes })
  stdout.on('error', () => {})
  return stdout
}
