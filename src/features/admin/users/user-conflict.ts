import { Problem } from '../../../errors.ts'

const taken = {
  email_taken: 'A user has this e-mail already: see `user_id`.',
  external_id_taken: 'A user has this external_id already: see `user_id`.',
  phone_taken: 'This phone number serves as many users as it may.',
}

/** What is taken, and by whom. */
export const userConflict = ({ outcome, user_id }: { outcome: keyof typeof taken; user_id?: string | null }): Problem =>
  new Problem('conflict', { detail: taken[outcome], ...(user_id != null && { userId: user_id }) })
