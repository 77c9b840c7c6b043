import { type DestinationStream, type Logger as PinoLogger, pino } from 'pino'
import { createOutlet } from './outlet.ts'

export type Logger = PinoLogger

/**
 * JSON lines on standard output. What is logged is chosen field by field, never a whole request, body or error of a
 * library: what is not passed in cannot leak (SEC-81). Libraries log too: of their errors, whose texts may quote what
 * they were given, only the kind and the place are kept. A log that cannot be written stops nothing (outlet.ts).
 */
export function createLog(level: string, out: DestinationStream = createOutlet(process.stdout)): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: (error) => ({ name: error?.name, code: error?.code, stack: placesOf(error) }) },
      hooks: {
        // Without words of the caller pino takes those of the error.
        logMethod(args, write) {
          const [first, ...rest] = args as unknown as [unknown, ...unknown[]]
          const error = first instanceof Error ? first : (first as { err?: unknown } | null)?.err
          const fields = first instanceof Error ? { err: first } : first
          write.apply(this, [fields, ...(error && rest.length === 0 ? ['error'] : rest)] as typeof args)
        },
      },
    },
    out,
  )
}

/** The places that an error came through, without its message. */
export function placesOf(error: Error | undefined): string | undefined {
  return error?.stack
    ?.replace(error.message, '')
    .split('\n')
    .filter((line) => /^\s+at /.test(line))
    .slice(0, 12)
    .join('\n')
}
