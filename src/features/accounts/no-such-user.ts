import { Problem } from '../../errors.ts'

/** For operators only: what everybody else can call never tells whether a user exists. */
export const noSuchUser = (): Problem => new Problem('not_found', { detail: 'There is no user with this e-mail.' })
