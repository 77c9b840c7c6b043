import Type from 'typebox'

export const LiveSchema = Type.Object({ status: Type.Literal('ok') })

const state = {
  database: Type.Enum(['ok', 'not_migrated', 'unreachable']),
  sms: Type.Enum(['ok', 'unavailable']),
  sms_budget: Type.Enum(['ok', 'low', 'exhausted', 'unknown']),
}

export const ReadySchema = Type.Object({ status: Type.Literal('ready'), ...state })
export const NotReadySchema = Type.Object({ status: Type.Literal('not_ready'), ...state })
