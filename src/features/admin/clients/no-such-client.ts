import { Problem } from '../../../errors.ts'

/** For operators. */
export const noSuchClient = (): Problem => new Problem('not_found', { detail: 'There is no client with this id.' })
