import { Problem } from '../../errors.ts'
import { publishSeconds } from '../../security/key-ring.ts'
import type { Services } from '../../services.ts'

/**
 * Puts a new signing key on its way: it is published at once and signs when every cache has it. Throws `conflict` while
 * another one is on its way.
 */
export async function rotateKeys({ keyRing }: Pick<Services, 'keyRing'>): Promise<{ id: string; active_in: number }> {
  const id = await keyRing.rotate(0, { byOperator: true })
  if (id === null) throw new Problem('conflict', { detail: 'A new key is on its way already.' })
  return { id, active_in: publishSeconds }
}
