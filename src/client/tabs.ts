import type { DoorstepError } from './errors.ts'

/** Somebody has signed in or out. `error`: why the service ended the session. */
export type SessionEvent = { isSignedIn: boolean; error?: DoorstepError | undefined }
type Listener = (event: SessionEvent) => void

export type Tabs = ReturnType<typeof createTabs>

/** Node's keeps the process alive unless it is told not to. */
type Channel = InstanceType<typeof BroadcastChannel> & { unref?: () => void }

/**
 * Who wants to hear of signing in and out, here and (where `isShared`) in other tabs. Those are told which it is, and which
 * session has ended: a browser runs its tabs in several processes, and what one has stored the other reads a moment later.
 */
export function createTabs(name: string, isShared: boolean) {
  const listeners = new Set<Listener>()
  // A listener that throws does not make a login fail.
  const tellHere = (event: SessionEvent): void => {
    for (const listener of listeners) queueMicrotask(() => listener(event))
  }
  let over: unknown
  const canTell = isShared && typeof BroadcastChannel === 'function'
  const channel: Channel | undefined = canTell ? new BroadcastChannel(name) : undefined
  if (channel) {
    channel.onmessage = ({ data }: { data: unknown }) => {
      if (typeof data === 'string') over = data
      tellHere({ isSignedIn: data === true })
    }
    channel.unref?.()
  }
  return {
    /** `session`: the one that has ended. */
    tell: (event: SessionEvent, session?: unknown): void => {
      tellHere(event)
      channel?.postMessage(event.isSignedIn || session)
    },
    /** Whether another tab has said that this session is over. */
    isOver: (session: unknown): boolean => session !== undefined && session === over,
    /** Returns what ends it. */
    listen: (listener: Listener): (() => void) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    /** Hears no more of other tabs, and tells them all the same. */
    close: (): void => {
      if (channel) channel.onmessage = () => {}
    },
  }
}
