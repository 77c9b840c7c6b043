import { Counter, Gauge, Histogram, Registry } from 'prom-client'

export type Metrics = ReturnType<typeof createMetrics>

/** What operators watch (SEC-26), in Prometheus' form. Labels are few and fixed: no user, address or number among them. */
export function createMetrics() {
  const registry = new Registry()
  const registers = [registry]
  const events = new Counter({
    name: 'doorstep_events_total',
    help: 'Recorded events',
    labelNames: ['type', 'outcome'],
    registers,
  })
  const requests = new Histogram({
    name: 'doorstep_request_seconds',
    help: 'Time to answer',
    labelNames: ['route', 'status'],
    buckets: [0.005, 0.025, 0.1, 0.25, 1, 3],
    registers,
  })

  return {
    countEvent: (type: string, outcome: string): void => events.inc({ type, outcome }),
    timeRequest: (route: string, status: number, seconds: number): void => requests.observe({ route, status }, seconds),

    /** Reads gauges at every scrape. */
    watch: (sources: {
      hashing: () => { running: number; waiting: number; started: number }
      smsAvailable: () => boolean
      mailAvailable: () => boolean
    }): void => {
      const gauge = (name: string, help: string, read: () => number) =>
        new Gauge({
          name,
          help,
          registers,
          collect() {
            this.set(read())
          },
        })
      gauge('doorstep_hashes_running', 'Passwords being hashed', () => sources.hashing().running)
      gauge('doorstep_hashes_waiting', 'Logins in line for hashing', () => sources.hashing().waiting)
      gauge('doorstep_hashes_started', 'Passwords hashed since the start', () => sources.hashing().started)
      gauge('doorstep_sms_available', '1 while texts can be sent', () => Number(sources.smsAvailable()))
      gauge('doorstep_mail_available', '1 while mails can be sent', () => Number(sources.mailAvailable()))
    },

    /** Reads at every scrape how many lines of the log were lost since the start. */
    watchLog: (lost: () => number): void => {
      new Counter({
        name: 'doorstep_log_lines_lost_total',
        help: 'Lines that could not be written to standard output or standard error',
        registers,
        collect() {
          this.reset()
          this.inc(lost())
        },
      })
    },

    /** The exposition text. */
    scrape: (): Promise<string> => registry.metrics(),
  }
}
