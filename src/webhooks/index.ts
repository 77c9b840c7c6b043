/** What a receiver answered, or why it did not; the words are ours, never the receiver's. */
export type Posted = { status: number; retryAfterSeconds: number } | { error: PostError }

/**
 * `refused`: the address is one that webhooks must not go to; `unreachable`: no address, no connection, no valid
 * certificate, or one that broke; `too_large`: never sent; `interrupted`: by a stop of ours.
 */
export type PostError = 'refused' | 'unreachable' | 'timeout' | 'too_large' | 'interrupted'

export type WebhookPoster = {
  /** Sends a JSON body to a URL, once, in at most 15 s. Never throws. */
  post(url: string, headers: Record<string, string>, body: string): Promise<Posted>
  /** Ends what is under way. */
  close(): void
}
