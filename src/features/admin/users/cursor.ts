import { invalidField } from '../../../errors.ts'
import type { Position } from '../../../store/admin.ts'

/** Where the next page begins, as clients carry it: it says nothing that they have not seen, and is good for nothing else. */
export const cursorOf = ({ at, id }: Position): string => Buffer.from(`${at}.${id}`).toString('base64url')

/** The same back. Throws `invalid_request` for whatever was not made above. */
export function readCursor(cursor: string): Position {
  const [, at, id] = /^(-?\d{1,15}\d?)\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/.exec(
    Buffer.from(cursor, 'base64url').toString(),
  ) ?? [null, '', '']
  const position = { at: Number(at), id: String(id) }
  if (at === '' || cursorOf(position) !== cursor) throw invalidField('/cursor', 'must be the next_cursor of a page')
  return position
}
