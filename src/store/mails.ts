import type { Database } from './client.ts'

/** A mail that this process has taken for 30 seconds, with all that it takes to write it. */
export type ClaimedMail = {
  id: number
  user_id: string | null
  kind: 'code' | 'notice' | 'link'
  topic: string
  /** The canonical address. */
  address: string
  locale: string
  data: NoticeData
  /** Seconds since 1970, with their fraction. */
  created_at: number
  /** Which try this is, from 1; its end is reported with it. */
  tries: number
  /** Of a code: what it is derived from, and the seconds that it lives. */
  challenge_id: string | null
  key_id: string | null
  code_expires_in: number | null
}

/** What a notice tells (p_data of record_notice). Without an address it was an operator. */
export type NoticeData = {
  address?: string | null
  user_agent?: string | null
  method?: string | null
  name?: string | null
  remaining?: number | null
  /** Of a changed e-mail: whether this mailbox is the old one or the new one. */
  to?: 'old' | 'new' | null
  /** Of a deletion: when the account will be erased, in seconds since 1970. */
  erases_at?: number | null
}

/** What became of a try: accepted, refused for good, not taken this time, or without an answer. */
export type TryResult = 'sent' | 'refused' | 'later' | 'unsure'

/** What becomes of the mail: `late` when another has taken it meanwhile. */
export type MailEnd = 'sent' | 'queued' | 'failed' | 'late'

export function createMails(db: Database) {
  return {
    /** Takes one mail; null if another has it, or it is done. */
    claim: async (id: number): Promise<ClaimedMail | null> => {
      const { mails } = await db.decide<{ mails: ClaimedMail[] }>('claim_mail', id)
      return mails[0] ?? null
    },

    /** Takes up to `limit` mails that are due. */
    claimDue: async (limit: number): Promise<ClaimedMail[]> => {
      const { mails } = await db.decide<{ mails: ClaimedMail[] }>('claim_due_mails', limit)
      return mails
    },

    /** Writes down how the try ended that `mail` was taken for. */
    record: async (
      mail: Pick<ClaimedMail, 'id' | 'tries'>,
      result: TryResult,
      error: string | null,
    ): Promise<MailEnd> => {
      const { outcome } = await db.decide<{ outcome: MailEnd }>('record_mail', mail.id, mail.tries, result, error)
      return outcome
    },
  }
}
