import { Problem } from '../../errors.ts'

/** For operators and backends only: what everybody else can call never tells whether a user exists. */
export const noSuchUser = (by: 'e-mail' | 'id'): Problem =>
  new Problem('not_found', { detail: `There is no user with this ${by}.` })
