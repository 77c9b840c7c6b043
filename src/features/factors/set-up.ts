import type { Services } from '../../services.ts'
import type { SetUp } from './factor.ts'

type Sealing = Pick<Services, 'sealer'>

const boundTo = (userId: string, challengeId: string): string => `set-up|${userId}|${challengeId}`

/** A factor to be, as its challenge keeps it, in hex: readable for this user and in this challenge only. */
export function sealSetUp({ sealer }: Sealing, userId: string, challengeId: string, setUp: SetUp): string {
  return Buffer.from(sealer.seal('totp', setUp, boundTo(userId, challengeId)), 'base64url').toString('hex')
}

/** The same again; null without one. */
export function openSetUp({ sealer }: Sealing, userId: string, challengeId: string, sealed: string | null) {
  if (sealed === null) return null
  const text = Buffer.from(sealed, 'hex').toString('base64url')
  const setUp = sealer.open('totp', text, boundTo(userId, challengeId))
  if (setUp === null) throw new Error('The key of a live enrolment is not in SECRET_KEYS')
  return setUp as SetUp
}
