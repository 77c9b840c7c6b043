import type { paths } from './api.ts'

/** What is asked of the service; `answer` is a type alone: what a success brings. */
export type Ask<T> = { method: string; path: string; body: unknown; answer?: T }

type Verb = 'get' | 'post' | 'put' | 'patch' | 'delete'
type Json = { content: { 'application/json': unknown } }
export type BodyOf<Operation> = Operation extends { requestBody?: infer Given }
  ? NonNullable<Given> extends Json
    ? NonNullable<Given>['content']['application/json']
    : undefined
  : undefined
export type AnswerOf<Operation> = Operation extends { responses: { 200: Json } }
  ? Operation['responses'][200]['content']['application/json']
  : Operation extends { responses: { 202: Json } }
    ? Operation['responses'][202]['content']['application/json']
    : undefined

/** A call, typed by the OpenAPI document. `id` fills the place of `{id}` in its path. */
export const ask = <Path extends keyof paths, Method extends keyof paths[Path] & Verb>(
  method: Method,
  path: Path,
  body?: BodyOf<paths[Path][Method]>,
  id = '',
): Ask<AnswerOf<paths[Path][Method]>> => ({
  method: method.toUpperCase(),
  path: path.replace('{id}', encodeURIComponent(id)),
  body,
})
