import Type from 'typebox'

export const LiveSchema = Type.Object({ status: Type.Literal('ok') })

export const ReadySchema = Type.Object({ status: Type.Literal('ready') })
export const NotReadySchema = Type.Object({ status: Type.Literal('not_ready') })
